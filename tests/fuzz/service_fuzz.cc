// Every call of both services, in any order, into the real server over real gRPC (loopback) and a real database.
// A fresh coordinator serves every 500 inputs, so a crash may need the inputs before it: CAPSWEEP_FUZZ_FRESH=1 gives
// each input a coordinator of its own.
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <random>

#include "capsweep/v1/control.pb.h"
#include "capsweep/v1/worker.pb.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/grid.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/server.h"
#include "proto/convert.h"
#include "tests/fuzz/calls.h"
#include "tests/fuzz/message_mutator.h"
#include "tests/fuzz/target.h"

using namespace capsweep;

extern "C" __attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

constexpr double kLongestWait = 0.002;  // of a held-open Sync
constexpr int64_t kMostPoints = 2'000;  // of a submitted sweep: larger ones only cost time

class LiveCoordinator {
 public:
  LiveCoordinator() {
    static std::atomic<int> number{0};
    const std::filesystem::path root =
        std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
    folder_ = root / StrCat("capsweep-fuzz-", getpid(), "-", ++number);
    std::filesystem::create_directories(folder_);
    service::EngineOptions options;
    options.database = folder_ / "fuzz.db";
    options.tick = std::chrono::milliseconds(20);
    options.on_fatal = [](const absl::Status&) { fuzz::Require(false, "no input hurts the store"); };
    auto engine = service::Engine::Open(std::move(options));
    fuzz::Require(engine.ok(), "a database opens");
    engine_ = *std::move(engine);
    auto server = service::Server::Start(engine_.get(), {.listen = "127.0.0.1:0"});
    fuzz::Require(server.ok(), "a server starts");
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = std::make_unique<grpc::GenericStub>(
        grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  }
  LiveCoordinator(const LiveCoordinator&) = delete;
  LiveCoordinator& operator=(const LiveCoordinator&) = delete;

  ~LiveCoordinator() {
    for (const core::SweepCounts& sweep : engine_->Sweeps()) {
      fuzz::Require(sweep.done + sweep.failed <= sweep.points, "no more results than points");
    }
    stub_.reset();
    server_.reset();
    engine_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Send(fuzz::Call call) {
    if (!MakeBearable(call)) {
      return;
    }
    const auto* method = fuzz::Methods()[static_cast<size_t>(call.method)];
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(15));
    const grpc::Slice slice(call.message);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    std::promise<grpc::Status> promise;
    stub_->UnaryCall(&context, StrCat("/", method->service()->full_name(), "/", method->name()), {}, &request,
                     &response, [&promise](grpc::Status status) { promise.set_value(std::move(status)); });
    const grpc::Status status = promise.get_future().get();
    fuzz::Require(status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED || method->name() == "Query",
                  "a call is answered in 15 s");
    // What gRPC itself could not parse it answers with INTERNAL.
    fuzz::Require(status.error_code() != grpc::StatusCode::UNKNOWN, "errors have a code");
  }

 private:
  // Fills in what only this coordinator knows, and shortens what would only take time. False: not worth a call.
  bool MakeBearable(fuzz::Call& call) {
    const std::string& name = fuzz::Methods()[static_cast<size_t>(call.method)]->name();
    if (name == "Sync") {
      v1::SyncRequest request;
      if (request.ParseFromString(call.message)) {
        if (request.database_id() == "@") {
          request.set_database_id(engine_->database_id());
        }
        if (request.max_wait_seconds() > kLongestWait) {
          request.set_max_wait_seconds(kLongestWait);
        }
        call.message = request.SerializeAsString();
      }
    } else if (name == "SubmitSweep" || name == "ExtendSweep") {
      v1::SubmitSweepRequest request;
      if (request.ParseFromString(call.message)) {
        const auto sweep = ParseSweep(request.text(), "f");
        return !sweep.ok() || plan::CountProduct(*sweep) <= kMostPoints;
      }
    }
    return true;
  }

  std::filesystem::path folder_;
  std::unique_ptr<service::Engine> engine_;
  std::unique_ptr<service::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
};

std::string MutateBytes(const std::string& bytes) {
  std::string out = bytes;
  out.resize(bytes.size() + 64);
  out.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(out.data()), bytes.size(), out.size()));
  return out;
}

void MutateOneCall(std::vector<fuzz::Call>& calls, std::mt19937& random) {
  if (calls.empty()) {
    calls.push_back({static_cast<int>(random() % fuzz::Methods().size()), ""});
  }
  fuzz::Call& call = calls[random() % calls.size()];
  const auto request = fuzz::NewRequest(call.method);
  if (request->ParsePartialFromString(call.message)) {
    for (uint32_t changes = 1 + random() % 3; changes > 0; --changes) {
      fuzz::MutateMessage(*request, random, MutateBytes);
    }
    call.message = request->SerializePartialAsString();
  } else {
    call.message = MutateBytes(call.message);
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  std::mt19937 random(seed);
  if (random() % 8 == 0) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  std::vector<fuzz::Call> calls = fuzz::ReadCalls(fuzz::Text(data, size));
  const uint32_t what = random() % 8;
  if (what == 0 && !calls.empty() && calls.size() < 24) {
    calls.push_back(calls[random() % calls.size()]);
  } else if (what == 1 && calls.size() > 1) {
    calls.erase(calls.begin() + static_cast<ptrdiff_t>(random() % calls.size()));
  } else if (what == 2 && calls.size() > 1) {
    std::swap(calls[random() % calls.size()], calls[random() % calls.size()]);
  } else {
    MutateOneCall(calls, random);
  }
  const std::string out = fuzz::WriteCalls(calls);
  const size_t length = std::min(out.size(), max_size);
  std::copy_n(out.begin(), length, data);
  return length;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = google::protobuf::SetLogHandler(nullptr) != nullptr;  // it complains of every broken text
  (void)quiet;
  // Also so that the loggers are made before the coordinator and end after its threads.
  static const bool silent = (spdlog::set_level(spdlog::level::off), true);
  (void)silent;
  // The coordinator ends at exit and still draws random numbers then, after OpenSSL would have cleaned up.
  static const bool kept = OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr) == 1;
  (void)kept;
  static const bool fresh = std::getenv("CAPSWEEP_FUZZ_FRESH") != nullptr;
  static std::unique_ptr<LiveCoordinator> coordinator;
  static int inputs = 0;
  if (coordinator == nullptr || fresh || ++inputs % 500 == 0) {
    coordinator.reset();
    coordinator = std::make_unique<LiveCoordinator>();
    static const bool registered = std::atexit([] { coordinator.reset(); }) == 0;
    (void)registered;
  }
  for (fuzz::Call& call : fuzz::ReadCalls(fuzz::Text(data, size))) {
    coordinator->Send(std::move(call));
  }
  return 0;
}
