// The server around the services: addresses, health, reflection and limits, over the wire.
#include "coordinator/service/server.h"

#include <sqlite3.h>

#include <future>

#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using testing_support::Coordinator;
using testing_support::ScriptedWorker;
using testing_support::TempFolder;

// A call by name with bytes, so that no other project's generated code is needed for the standard services.
grpc::Status CallBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& request, std::string* response) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::CompletionQueue queue;
  grpc::Slice slice(request);
  grpc::ByteBuffer in(&slice, 1), out;
  // Streaming form: it fits unary methods as well as reflection's.
  auto call = stub.PrepareCall(&context, method, &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  grpc::Status status;
  call->StartCall(nullptr);
  bool going = next();
  if (going) {
    call->WriteLast(in, grpc::WriteOptions(), nullptr);
    going = next();
  }
  if (going) {
    call->Read(&out, nullptr);
    going = next();
  }
  if (going) {
    std::vector<grpc::Slice> slices;
    out.Dump(&slices);
    for (const grpc::Slice& part : slices) {
      response->append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  call->Finish(&status, nullptr);
  next();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return status;
}

class ServerTest : public ::testing::Test {
 protected:
  absl::Status StartAt(const std::string& listen, bool insecure = false) {
    auto server = Server::Start(coordinator_.engine.get(), {.listen = listen, .allow_insecure_network = insecure});
    if (server.ok()) {
      started_port_ = (*server)->port();
      started_address_ = (*server)->address();
    }
    return server.status();
  }

  TempFolder folder_;
  Coordinator coordinator_{folder_.Path("a.db")};
  int started_port_ = 0;
  std::string started_address_;
};

TEST_F(ServerTest, APortInUseIsRefusedWithTheFix) {
  const absl::Status status = StartAt(coordinator_.server->address());
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("port in use"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--listen"));
}

TEST_F(ServerTest, OnlyLoopbackIsServedWithoutTheFlag) {
  for (const char* listen : {"0.0.0.0:0", "[::]:0", "192.0.2.1:7171", "example.com:7171"}) {
    const absl::Status status = StartAt(listen);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << listen;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--i-know-this-is-insecure")) << listen;
  }
  EXPECT_TRUE(StartAt("127.0.0.2:0").ok());
  EXPECT_GT(started_port_, 0);
  EXPECT_EQ(started_address_, StrCat("127.0.0.2:", started_port_));
}

TEST_F(ServerTest, AUnixSocketIsServedAndNotTakenOver) {
  const std::string listen = StrCat("unix:", folder_.Path("s"));
  auto server = Server::Start(coordinator_.engine.get(), {.listen = listen});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(StartAt(listen).code(), absl::StatusCode::kAlreadyExists);
  auto stub = v1::SweepService::NewStub(grpc::CreateChannel(listen, grpc::InsecureChannelCredentials()));
  v1::GetServerInfoResponse info;
  grpc::ClientContext context;
  EXPECT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
}

TEST_F(ServerTest, HealthAnswersServing) {
  std::string response;
  const grpc::Status status = CallBytes(coordinator_.NewChannel(), "/grpc.health.v1.Health/Check", "", &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response, std::string("\x08\x01", 2)) << "field 1, SERVING";
}

TEST_F(ServerTest, HealthFollowsWhetherTheDatabaseCanBeWrittenAndWorkGoesOnByItself) {
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_TRUE(coordinator_.Submit(testing_support::SweepText("blocked", 1, 1)).ok());
  // Another process that holds the write lock for longer than the store waits for it.
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(folder_.Path("a.db").c_str(), &other), SQLITE_OK);
  sqlite3_busy_timeout(other, 5000);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  auto call = std::async(std::launch::async, [&] { return worker.Sync(nullptr, 0); });
  const auto health = [&] {
    std::string response;
    CallBytes(coordinator_.NewChannel(), "/grpc.health.v1.Health/Check", "", &response);
    return response;
  };
  const std::string kServing("\x08\x01", 2), kNotServing("\x08\x02", 2);
  const auto becomes = [&](const std::string& wanted) {
    for (int i = 0; i < 150 && health() != wanted; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return health() == wanted;
  };
  EXPECT_TRUE(becomes(kNotServing));
  EXPECT_EQ(coordinator_.engine->StoreHealth().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(coordinator_.Submit(testing_support::SweepText("refused", 1, 1)).ok());
  sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  EXPECT_TRUE(becomes(kServing));
  EXPECT_TRUE(coordinator_.engine->StoreHealth().ok());
  call.wait();
  EXPECT_TRUE(worker.WorkUntil([&] { return coordinator_.Status("blocked").done() == 2; }));
}

TEST(FatalStoreTest, ADatabaseDeletedInUseIsToldOnceAndEveryCallIsRefused) {
  const TempFolder folder;
  std::atomic<int> told{0};
  EngineOptions options;
  options.database = folder.Path("a.db");
  options.on_fatal = [&told](const absl::Status& status) {
    EXPECT_THAT(std::string(status.message()), HasSubstr("a.db"));
    ++told;
  };
  auto engine = Engine::Open(std::move(options));
  ASSERT_TRUE(engine.ok()) << engine.status();
  std::filesystem::remove(folder.Path("a.db"));
  const auto submitted = (*engine)->Submit(testing_support::SweepText("gone"), "gone.yaml", 0, false, false);
  EXPECT_FALSE(submitted.ok());
  for (int i = 0; i < 100 && told == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(told, 1);
  EXPECT_FALSE((*engine)->StoreHealth().ok());
  absl::Status answer;
  (*engine)->Sync({.worker = WorkerId("w"), .incarnation = Incarnation("i"), .sequence = 1},
                  [&answer](const absl::StatusOr<SyncAnswer>& a) { answer = a.status(); });
  EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable);
  engine->reset();
  EXPECT_EQ(told, 1);
}

TEST_F(ServerTest, ReflectionListsBothServices) {
  // ServerReflectionRequest{list_services: ""}: field 7, empty.
  std::string response;
  const grpc::Status status =
      CallBytes(coordinator_.NewChannel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                std::string("\x3a\x00", 2), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(response, HasSubstr("capsweep.v1.SweepService"));
  EXPECT_THAT(response, HasSubstr("capsweep.v1.WorkerService"));
}

TEST_F(ServerTest, AMessageAboveTheLimitIsRefusedAndTheNextIsServed) {
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  v1::SyncRequest request = worker.Request();
  v1::HandedBack* back = request.add_handed_back();
  back->mutable_id()->set_point_id(1);
  back->mutable_id()->set_attempt(1);
  back->set_checkpoint(std::string(kMaxMessageBytes, 'x'));
  back->set_checkpoint_backend("torch");
  v1::SyncResponse response;
  EXPECT_EQ(worker.Send(request, &response).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(worker.Sync().ok());
}

TEST_F(ServerTest, AnInvalidMessageIsRefusedByFieldAndTheNextIsServed) {
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  v1::SyncRequest request = worker.Request();
  request.mutable_devices(0)->set_slots(-1);
  v1::SyncResponse response;
  const grpc::Status status = worker.Send(request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("devices[0].slots"));
  EXPECT_TRUE(worker.Sync().ok());
}

TEST_F(ServerTest, BytesThatAreNoMessageAreRefusedAndTheNextIsServed) {
  std::string response;
  for (const std::string& bytes : {std::string("\xff\xff\xff\xff"), std::string("\x0a\x02\xc3\x28", 4)}) {
    EXPECT_FALSE(CallBytes(coordinator_.NewChannel(), "/capsweep.v1.WorkerService/Sync", bytes, &response).ok());
  }
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  EXPECT_TRUE(worker.Sync().ok());
}

}  // namespace
}  // namespace capsweep::service
