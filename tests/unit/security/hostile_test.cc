// Floods, giants, odd requests: refused, written down in a few rows, and the next good call is served.
#include <cstdio>
#include <cstring>
#include <regex>

#include "gmock/gmock.h"
#include "tests/unit/security/secure_coordinator.h"

namespace capsweep::service {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using testing_support::HttpConnection;
using testing_support::ResidentMegabytes;
using testing_support::SecureCoordinator;
using testing_support::TlsFiles;

constexpr char kList[] = "/capsweep.v1.SweepService/ListSweeps";

// A sanitizer keeps what was freed for a while.
#ifdef CAPSWEEP_SANITIZED
constexpr double kKeptMegabytes = 500;
#else
constexpr double kKeptMegabytes = 0;
#endif

class HostileTest : public ::testing::Test {
 protected:
  void ExpectServing() {
    EXPECT_TRUE(SecureCoordinator::CallGrpc(coordinator_.Channel(), kList, coordinator_.Token("reader")).ok());
    EXPECT_EQ(coordinator_.Post(kList, coordinator_.Token("reader")).status, 200);
  }
  HttpConnection::Response Call(const std::string& method, const std::string& path, const std::string& headers,
                                const std::string& body = "{}") {
    const TlsFiles tls = coordinator_.Tls();
    HttpConnection connection(coordinator_.http_port, &tls);
    return connection.Call(method, path, headers, body);
  }
  std::string Good() { return SecureCoordinator::PostHeaders(coordinator_.Token("reader")); }

  SecureCoordinator coordinator_;
};

TEST_F(HostileTest, TenThousandWrongTokensAreRefusedInAFewRowsAndFlatMemory) {
  const auto channel = coordinator_.Channel();
  const TlsFiles tls = coordinator_.Tls();
  HttpConnection http(coordinator_.http_port, &tls);
  const auto flood = [&](int calls) {
    for (int i = 0; i < calls; ++i) {
      const StatusCode code = SecureCoordinator::CallGrpc(channel, kList, security::NewToken()).error_code();
      ASSERT_TRUE(code == StatusCode::UNAUTHENTICATED || code == StatusCode::RESOURCE_EXHAUSTED);
      const int status = http.Call("POST", kList, SecureCoordinator::PostHeaders(security::NewToken()), "{}").status;
      ASSERT_TRUE(status == 401 || status == 429) << status;
    }
  };
  flood(500);
  const double before = ResidentMegabytes();
  flood(4500);
  EXPECT_LT(ResidentMegabytes() - before, 30 + kKeptMegabytes);
  EXPECT_LE(coordinator_.Events("refused").size(), 2 * AuditLog::kMaxCounted);
  EXPECT_GE(coordinator_.Events("refused").size(), 1u);
  EXPECT_EQ(coordinator_.engine->metrics().refusals[static_cast<size_t>(absl::StatusCode::kUnauthenticated)].value(),
            10'000u);
  // A good token passes from the very address that floods.
  ExpectServing();
  coordinator_.clock.Move(61);
  const auto counted = ::testing::Contains(HasSubstr("more within a minute"));
  for (int i = 0; i < 200 && !::testing::Matches(counted)(coordinator_.Events("refused")); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(coordinator_.Events("refused"), counted);
}

TEST_F(HostileTest, BodiesOfAHundredMegabytesAreRefusedInFlatMemory) {
  const std::string megabyte(1 << 20, 'x');
  const double before = ResidentMegabytes();
  double peak = before;
  const TlsFiles tls = coordinator_.Tls();
  for (const bool chunked : {false, true}) {
    for (const std::string& token : {coordinator_.Token("operator"), std::string()}) {
      HttpConnection connection(coordinator_.http_port, &tls);
      connection.Send(StrCat("POST /capsweep.v1.SweepService/SubmitSweep HTTP/1.1\r\n",
                             SecureCoordinator::PostHeaders(token),
                             chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 104857600\r\n\r\n"));
      for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(connection.Send(chunked ? StrCat("100000\r\n", megabyte, "\r\n") : megabyte)) << i;
        peak = std::max(peak, ResidentMegabytes());
      }
      if (chunked) {
        connection.Send("0\r\n\r\n");
      }
      EXPECT_EQ(connection.Receive().status, token.empty() ? 401 : 413) << chunked;
    }
  }
  EXPECT_LT(peak - before, 40 + kKeptMegabytes);
  ExpectServing();
}

TEST_F(HostileTest, MessagesOfAHundredMegabytesAreRefusedAuditedAndUnlessTheCallerMayCallNotRead) {
  const std::string submit = "/capsweep.v1.SweepService/SubmitSweep", sync = "/capsweep.v1.WorkerService/Sync";
  const auto send = [&](const std::string& verb, const std::string& token) {
    return SecureCoordinator::CallGrpc(coordinator_.Channel(), verb, token, std::string(100 << 20, 'x')).error_code();
  };
  EXPECT_EQ(send(submit, coordinator_.Token("operator")), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(send(sync, coordinator_.Token("worker")), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(send(sync, coordinator_.Token("operator")), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(send(submit, ""), StatusCode::UNAUTHENTICATED);
  for (int i = 0; i < 200 && coordinator_.Events("refused").size() < 4; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(coordinator_.Events("refused"),
              ::testing::UnorderedElementsAre(
                  ::testing::AllOf(HasSubstr(submit), HasSubstr("operator"), HasSubstr("more than 4194304 bytes")),
                  ::testing::AllOf(HasSubstr(sync), HasSubstr("worker"), HasSubstr("more than 4194304 bytes")),
                  ::testing::AllOf(HasSubstr(sync), HasSubstr("PERMISSION_DENIED")),
                  ::testing::AllOf(HasSubstr(submit), HasSubstr("UNAUTHENTICATED"))));
  ExpectServing();
}

TEST_F(HostileTest, AClientThatWaitsForLeaveToSendIsToldAtOnce) {
  const TlsFiles tls = coordinator_.Tls();
  HttpConnection connection(coordinator_.http_port, &tls);
  connection.Send(
      StrCat("POST ", kList, " HTTP/1.1\r\n", Good(), "Content-Length: 536870912\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_EQ(connection.Receive().status, 413);
}

TEST_F(HostileTest, OddMethodsPathsAndHeadersAreRefused) {
  for (const char* method : {"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "post", "X"}) {
    const auto response = Call(method, kList, Good());
    EXPECT_EQ(response.status, 405) << method;
    EXPECT_THAT(response.headers, HasSubstr("Allow: POST")) << method;
  }
  coordinator_.clock.Move(600);
  EXPECT_NE(Call("CONNECT", "localhost:80", Good()).status / 100, 2);
  EXPECT_EQ(Call("POST", "/metrics", Good()).status, 405);
  EXPECT_EQ(Call("POST", "/metrics", Good(), "").status, 405);
  for (const char* path :
       {"/", "/../../etc/passwd", "/capsweep.v1.SweepService/", "/capsweep.v1.SweepService/Nothing",
        "/capsweep.v1.SweepService/ListSweeps/", "/%2e%2e/metrics", "//metrics", "/grpc.health.v1.Health/Check"}) {
    EXPECT_EQ(Call("POST", path, Good()).status, 404) << path;
  }
  coordinator_.clock.Move(600);
  const std::string token = StrCat("Authorization: Bearer ", coordinator_.Token("reader"), "\r\n");
  const std::string json = "Content-Type: application/json\r\n";
  const std::pair<std::string, int> headers[] = {
      {"Host: localhost\r\n" + token, 415},
      {"Host: localhost\r\nContent-Type: text/plain\r\n" + token, 415},
      {"Host: localhost\r\nContent-Encoding: gzip\r\n" + json + token, 501},
      {"Host: localhost\r\nConnect-Timeout-Ms: -1\r\n" + json + token, 400},
      {"Host: localhost\r\nConnect-Timeout-Ms: 99999999999\r\n" + json + token, 400},
      {"Host: localhost\r\nConnect-Protocol-Version: 2\r\n" + json + token, 400},
      {"Host: localhost\r\nHost: 127.0.0.1\r\n" + json + token, 400},
      {"Host: localhost\r\n" + json + token + token, 400},
      {"Host: localhost\r\nAuthorization: Basic b2xnYTp4\r\n" + json, 401},
      {"Host: localhost\r\nAuthorization: Bearer\r\n" + json, 401}};
  for (const auto& [lines, status] : headers) {
    EXPECT_EQ(Call("POST", kList, lines).status, status) << lines;
  }
  // Larger than what is kept of headers.
  EXPECT_NE(Call("POST", kList, StrCat(Good(), "X: ", std::string(100'000, 'x'), "\r\n")).status / 100, 2);
  for (const char* body : {"{", "[]", "nonsense", "{\"unknown\": 1}", "{\"sweep\": 5}", "\xff\xff"}) {
    EXPECT_EQ(Call("POST", kList, Good(), body).status, 400) << body;
  }
  EXPECT_EQ(Call("POST", kList, Good(), StrCat(std::string(200'000, '['), std::string(200'000, ']'))).status, 400);
  ExpectServing();
}

TEST_F(HostileTest, PagesOfOtherSitesCannotUseABrowserToCall) {
  const std::string rest =
      StrCat("Content-Type: application/json\r\nAuthorization: Bearer ", coordinator_.Token("reader"), "\r\n");
  const std::string port = StrCat(":", coordinator_.http_port);
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "evil", "[::1"}) {
    EXPECT_EQ(Call("POST", kList, StrCat("Host: ", host, port, "\r\n", rest)).status, 403) << host;
    EXPECT_EQ(Call("GET", "/metrics", StrCat("Host: ", host, port, "\r\n", rest)).status, 403) << host;
  }
  coordinator_.clock.Move(600);
  for (const char* host : {"localhost", "127.0.0.1", "[::1]", "LOCALHOST"}) {
    EXPECT_EQ(Call("POST", kList, StrCat("Host: ", host, port, "\r\n", rest)).status, 200) << host;
  }
  for (const std::string& origin : {std::string("https://evil.example"), std::string("null"),
                                    StrCat("http://localhost", port), std::string("https://localhost")}) {
    const auto response = Call("POST", kList, StrCat("Host: localhost", port, "\r\nOrigin: ", origin, "\r\n", rest));
    EXPECT_EQ(response.status, 403) << origin;
    EXPECT_THAT(response.headers, ::testing::Not(HasSubstr("Access-Control-Allow-Origin")));
  }
  EXPECT_EQ(
      Call("POST", kList, StrCat("Host: localhost", port, "\r\nOrigin: https://localhost", port, "\r\n", rest)).status,
      200);
}

TEST_F(HostileTest, AWorkerThatLiesIsToldSoAndOthersGoOn) {
  const auto channel = coordinator_.Channel();
  const std::string sync = "/capsweep.v1.WorkerService/Sync", token = coordinator_.Token("worker");
  v1::SyncRequest good;
  good.set_worker_id("w1");
  good.set_incarnation("1");
  good.set_sequence(1);
  const auto send = [&](v1::SyncRequest request) {
    return SecureCoordinator::CallGrpc(channel, sync, token, request.SerializeAsString()).error_code();
  };
  for (const char* id : {"../../etc/passwd", "a/b", "", "w 1", "w\n1", "$(reboot)", "'; DROP TABLE points; --"}) {
    v1::SyncRequest request = good;
    request.set_worker_id(id);
    EXPECT_EQ(send(request), StatusCode::INVALID_ARGUMENT) << id;
    request = good;
    request.add_devices()->set_name(id);
    EXPECT_EQ(send(request), StatusCode::INVALID_ARGUMENT) << id;
  }
  v1::SyncRequest lies = good;
  v1::DeliveredResult* result = lies.add_results();
  result->mutable_id()->set_point_id(987'654'321);
  result->mutable_id()->set_attempt(7);
  result->set_device("cpu:0");
  result->mutable_result()->set_items_mem(-5);
  EXPECT_EQ(send(lies), StatusCode::OK) << "answered with a rejection of the one report";
  EXPECT_TRUE(coordinator_.Events("point_failed").empty());
  ExpectServing();
}

TEST_F(HostileTest, MetricsAreForReadersAndPassTheirCheck) {
  EXPECT_EQ(Call("GET", "/metrics", "Host: localhost\r\n", "").status, 401);
  EXPECT_EQ(Call("GET", "/healthz", "Host: localhost\r\n", "").status, 200);
  const auto response = Call("GET", "/metrics", Good(), "");
  ASSERT_EQ(response.status, 200);
  for (const char* name :
       {"capsweep_queue_depth_points 0", "capsweep_leases 0", "capsweep_attempts_ended_total{outcome=\"accepted\"} 0",
        "capsweep_store_commit_seconds_bucket{le=\"0.0001\"}", "capsweep_store_fsync_seconds_count",
        "capsweep_sync_seconds_count 0", "capsweep_workers{state=\"lost\"} 0", "capsweep_points_per_second 0",
        "capsweep_refused_calls_total{code=\"UNAUTHENTICATED\"} 1", "capsweep_certificate_expiry_timestamp_seconds"}) {
    EXPECT_THAT(response.body, HasSubstr(name));
  }
  // Alerts and the dashboard ask for nothing that is not there.
  for (const char* file : {"/deploy/prometheus/capsweep.rules.yml", "/deploy/grafana/capsweep.json"}) {
    const std::string text = *ReadFile(StrCat(CAPSWEEP_SOURCE_DIR, file));
    const std::regex name("(capsweep|process)_[a-z_]+");
    int names = 0;
    for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it, ++names) {
      std::string family = it->str();
      for (const char* suffix : {"_bucket", "_count", "_sum"}) {
        if (family.ends_with(suffix)) family.resize(family.size() - std::strlen(suffix));
      }
      EXPECT_THAT(response.body, HasSubstr(StrCat("# TYPE ", family, " "))) << file;
    }
    EXPECT_GT(names, 10) << file;
  }
}

#ifdef CAPSWEEP_PROMTOOL
TEST_F(HostileTest, PrometheusTakesTheTextOfTheMetrics) {
  const auto response = Call("GET", "/metrics", Good(), "");
  const std::string path = coordinator_.folder.Path("metrics.txt");
  std::ofstream(path) << response.body;
  EXPECT_EQ(std::system(StrCat(CAPSWEEP_PROMTOOL " check metrics < ", path, " > ", path, ".log 2>&1").c_str()), 0)
      << *ReadFile(path + ".log");
}
#endif

TEST_F(HostileTest, CurlIsServedOverTls) {
  const std::string out = coordinator_.folder.Path("curl.txt");
  const std::string command = StrCat(
      "curl -sS --max-time 30 --cacert ", coordinator_.Path("ca.crt"),
      " -H 'Content-Type: application/json' -H \"Authorization: Bearer $(cat ", coordinator_.Path("reader.token"),
      ")\" -d '{\"sql\": \"SELECT 1 AS one, NULL AS none\"}' https://localhost:", coordinator_.http_port,
      "/capsweep.v1.SweepService/Query > ", out, " 2>&1");
  EXPECT_EQ(std::system(command.c_str()), 0) << *ReadFile(out);
  EXPECT_EQ(
      *ReadFile(out),
      R"({"columns":["one","none"],"rows":[{"values":[{"integer":"1"},{"null":true}]}],"nextPageToken":"","truncated":false})");
}

TEST_F(HostileTest, NothingIsServedToOthersWithoutTlsOrWithoutAWayToKnowCallers) {
  const auto refused = [&](ServerOptions options, const std::string& said) {
    options.listen = options.listen == "127.0.0.1:7171" ? "127.0.0.1:0" : options.listen;
    const auto server = Server::Start(coordinator_.engine.get(), options);
    EXPECT_FALSE(server.ok()) << said;
    EXPECT_THAT(std::string(server.status().message()), HasSubstr(said));
  };
  const TransportOptions all{.tls_cert = coordinator_.Path("server.crt"),
                             .tls_key = coordinator_.Path("server.key"),
                             .tokens = coordinator_.Path("tokens")};
  refused({.http = "0.0.0.0:0"}, "--http '0.0.0.0:0' can be reached from other machines");
  refused({.transport = {.tokens = all.tokens}}, "--tokens needs --tls-cert");
  refused({.transport = {.tls_cert = all.tls_cert}}, "belong together");
  refused({.transport = {.tls_cert = all.tls_cert, .tls_key = all.tls_key}}, "let anybody in");
  refused({.transport = {.tls_cert = coordinator_.Path("ca.crt"), .tls_key = all.tls_key, .tokens = all.tokens}},
          "is not the key of");
  std::filesystem::permissions(all.tokens, std::filesystem::perms(0644));
  refused({.transport = all}, "chmod 600");
  std::filesystem::permissions(all.tokens, std::filesystem::perms(0600));
  std::filesystem::permissions(all.tls_key, std::filesystem::perms(0640));
  refused({.transport = all}, "chmod 600");
  std::filesystem::permissions(all.tls_key, std::filesystem::perms(0600));
  const int64_t now = Clock::Real().WallMillis() / 1000;
  const auto old =
      security::MakeServerCertificate({*ReadFile(coordinator_.Path("ca.crt")), *ReadFile(coordinator_.Path("ca.key"))},
                                      {"localhost"}, {now - 864000, now - 60});
  ASSERT_TRUE(security::WriteSecretFile(coordinator_.Path("old.crt"), old->certificate).ok());
  ASSERT_TRUE(security::WriteSecretFile(coordinator_.Path("old.key"), old->key).ok());
  refused({.transport = {.tls_cert = coordinator_.Path("old.crt"),
                         .tls_key = coordinator_.Path("old.key"),
                         .tokens = all.tokens}},
          "not now");
  const auto open = Server::Start(coordinator_.engine.get(), {.listen = "0.0.0.0:0", .transport = all});
  EXPECT_TRUE(open.ok()) << open.status();
}

}  // namespace
}  // namespace capsweep::service
