// The parts that bound what others can cost: rates, workers, audit rows, slow connections.
#include "coordinator/service/http/http_server.h"
#include "coordinator/service/security/audit.h"
#include "coordinator/service/security/rate_limit.h"
#include "coordinator/service/security/worker_limits.h"
#include "gmock/gmock.h"
#include "tests/support/https_client.h"

namespace capsweep::service {
namespace {

using ::testing::HasSubstr;
using testing_support::HttpConnection;

class HandClock : public Clock {
 public:
  Instant Now() const override { return now; }
  int64_t WallMillis() const override { return 0; }
  Instant now = Instant(std::chrono::hours(1));
};

TEST(RateLimiterTest, AKeyHasItsBurstAndThenItsRateAndOthersTheirs) {
  HandClock clock;
  RateLimiter limiter(2, 5, 100, &clock);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(limiter.Allow("a"));
  EXPECT_FALSE(limiter.Allow("a"));
  EXPECT_TRUE(limiter.Allow("b"));
  clock.now += std::chrono::milliseconds(500);
  EXPECT_TRUE(limiter.Allow("a"));
  EXPECT_FALSE(limiter.Allow("a"));
}

TEST(RateLimiterTest, AFloodOfKeysStaysInBoundedMemoryAndSharesABucket) {
  HandClock clock;
  RateLimiter limiter(1, 2, 100, &clock);
  int allowed = 0;
  for (int i = 0; i < 100'000; ++i) allowed += limiter.Allow(StrCat("k", i)) ? 1 : 0;
  EXPECT_LE(limiter.keys(), 101u);
  EXPECT_LE(allowed, 102);
  clock.now += std::chrono::seconds(10);  // all have rested
  EXPECT_TRUE(limiter.Allow("new"));
  EXPECT_LE(limiter.keys(), 101u);
}

TEST(WorkerLimitsTest, RatesOpenCallsAndNamesAreBoundedAndFreedAgain) {
  HandClock clock;
  WorkerLimits limits({.calls_per_second = 10,
                       .burst = 20,
                       .open_calls = 2,
                       .all_open_calls = 5,
                       .workers = 6,
                       .workers_of_address = 4,
                       .remembered = std::chrono::seconds(60)},
                      &clock);
  EXPECT_TRUE(limits.Begin("w1", "a").ok());
  EXPECT_TRUE(limits.Begin("w1", "a").ok());
  EXPECT_EQ(limits.Begin("w1", "a").code(), absl::StatusCode::kUnavailable) << "two are open";
  EXPECT_TRUE(limits.Begin("w2", "a").ok());
  EXPECT_TRUE(limits.Begin("w3", "a").ok());
  EXPECT_TRUE(limits.Begin("w4", "a").ok());
  EXPECT_THAT(std::string(limits.Begin("w5", "b").message()), HasSubstr("5 calls of workers are open"));
  for (const char* worker : {"w1", "w1", "w2", "w3", "w4"}) limits.End(worker);
  EXPECT_EQ(limits.open_calls(), 0u);
  EXPECT_THAT(std::string(limits.Begin("w5", "a").message()), HasSubstr("workers at a"));
  clock.now += std::chrono::seconds(61);
  EXPECT_TRUE(limits.Begin("w5", "a").ok()) << "the silent ones are forgotten";
  limits.End("w5");
  int refused = 0;
  for (int i = 0; i < 30; ++i) {
    const bool ok = limits.Begin("w5", "a").ok();
    refused += ok ? 0 : 1;
    if (ok) limits.End("w5");
  }
  EXPECT_EQ(refused, 11);
}

TEST(AuditTest, SuccessesHaveRowsAndRefusalsAreCounted) {
  HandClock clock;
  std::vector<core::Audit> rows;
  {
    AuditLog audit(&clock, [&](core::Audit row) { rows.push_back(std::move(row)); });
    const Caller caller{"olga", "operator", "10.0.0.7:4711"};
    audit.Called(caller, "ChangeSweep", "sweep=a verb=PAUSE", absl::OkStatus());
    audit.Called(caller, "ChangeSweep", "sweep=a verb=PAUSE", absl::OkStatus());
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0].kind, "call");
    EXPECT_EQ(rows[0].message, "operator olga at 10.0.0.7:4711: sweep=a verb=PAUSE: OK");
    for (int i = 0; i < 1000; ++i) {
      audit.Refused({"", "", StrCat("10.0.0.8:", 1000 + i)}, "/v/Query", absl::UnauthenticatedError("no\ntoken"));
    }
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_EQ(rows[2].message, "somebody at 10.0.0.8:1000: UNAUTHENTICATED: no token");
    clock.now += std::chrono::seconds(61);
    audit.WriteCounts();
    ASSERT_EQ(rows.size(), 4u);
    EXPECT_THAT(rows[3].message, HasSubstr("(999 more within a minute)"));
    for (int i = 0; i < 100'000; ++i) {
      audit.Refused({"", "", StrCat("10.", i % 200, ".", i % 251, ".8:1")}, "/v/Query",
                    absl::UnauthenticatedError("no"));
    }
    EXPECT_LE(rows.size(), 4 + AuditLog::kMaxCounted);
  }
  EXPECT_LE(rows.size(), 4 + 2 * AuditLog::kMaxCounted + 1) << "what was counted is written at the end";
  EXPECT_EQ(AddressOf("[::1]:80"), "[::1]");
  EXPECT_EQ(AddressOf("unix"), "unix");
}

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(const HttpLimits& limits) {
    HttpHandler handler;
    handler.admit = [](const HttpRequest&) { return std::nullopt; };
    handler.serve = [](const std::shared_ptr<const HttpRequest>& request, std::function<void(HttpResponse)> done) {
      done({.status = 200, .type = "text/plain", .body = request->body});
    };
    handler.answered = [](int) {};
    auto server = HttpServer::Start({.host = "127.0.0.1", .loopback = true}, {}, std::move(handler), limits);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  static constexpr char kHost[] = "Host: localhost\r\n";
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AConnectionThatDripsItsRequestIsClosedInTime) {
  Start({.request_time = std::chrono::milliseconds(100)});
  HttpConnection drips(server_->port()), silent(server_->port());
  ASSERT_TRUE(drips.Send("POST / HTTP/1.1\r\nHost: local"));
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(150)) {
    drips.Send("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  server_->CloseSlow();
  EXPECT_EQ(drips.Receive().status, 0);
  EXPECT_EQ(silent.Receive().status, 0);
  HttpConnection good(server_->port());
  EXPECT_EQ(good.Call("POST", "/", kHost, "hello").body, "hello");
}

TEST_F(HttpServerTest, ConnectionsOfAnAddressAreBoundedAndFreedAgain) {
  Start({.connections = 64, .connections_of_address = 4});
  {
    std::vector<std::unique_ptr<HttpConnection>> held;
    int served = 0;
    for (int i = 0; i < 12; ++i) {
      held.push_back(std::make_unique<HttpConnection>(server_->port()));
      served += held.back()->Call("POST", "/", kHost, "x").status == 200 ? 1 : 0;
    }
    EXPECT_EQ(served, 4);
  }
  int status = 0;
  for (int i = 0; i < 100 && status != 200; ++i) {
    HttpConnection again(server_->port());
    status = again.Call("POST", "/", kHost, "x").status;
  }
  EXPECT_EQ(status, 200);
}

TEST_F(HttpServerTest, AConnectionServesOneRequestAfterTheOtherAndEndsWithTheServer) {
  Start({});
  HttpConnection connection(server_->port());
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(connection.Call("POST", "/", kHost, StrCat("body ", i)).body, StrCat("body ", i));
  }
  server_.reset();
  EXPECT_EQ(connection.Call("POST", "/", kHost, "x").status, 0);
}

}  // namespace
}  // namespace capsweep::service
