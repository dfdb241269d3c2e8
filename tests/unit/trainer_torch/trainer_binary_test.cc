// The real capsweep-trainer over its pipes: docs/trainer-protocol.md.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/subprocess.h"
#include "common/text.h"
#include "gtest/gtest.h"
#include "tests/unit/trainer/trainer_test_points.h"

namespace capsweep::trainer {
namespace {

using Json = nlohmann::json;

constexpr Duration kPatience =
    std::chrono::seconds(60);  // for a busy machine; nothing waits this long when all is well

class Trainer {
 public:
  explicit Trainer(std::vector<std::string> arguments, std::map<std::string, std::string> env = {}) {
    SubprocessOptions options;
    options.argv = {StrCat(CAPSWEEP_BIN_DIR, "/capsweep-trainer")};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.env = std::move(env);
    options.env["CAPSWEEP_LOG"] = "off";
    options.pipe_stdin = options.pipe_stdout = true;
    auto child = Subprocess::Start(options);
    EXPECT_TRUE(child.ok()) << child.status();
    child_.emplace(*std::move(child));
  }

  void Send(std::string text) {
    text += '\n';
    ASSERT_EQ(write(child_->stdin_fd(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void SendTrain(const std::string& attempt, const PointSpec& point, const std::string& more = "") {
    Send(StrCat(R"({"type":"train","attempt":")", attempt, R"(","point":)", PointToJson(point), more, "}"));
  }
  void EndInput() { child_->CloseStdin(); }
  Subprocess& child() { return *child_; }

  // The next line, or null at the end of the output.
  Json Next() {
    size_t newline;
    while ((newline = text_.find('\n')) == std::string::npos) {
      pollfd poll_fd{child_->stdout_fd(), POLLIN, 0};
      if (poll(&poll_fd, 1, 60000) <= 0) {
        ADD_FAILURE() << "the trainer is silent";
        return nullptr;
      }
      char buffer[4096];
      const ssize_t got = read(child_->stdout_fd(), buffer, sizeof buffer);
      if (got <= 0) return nullptr;
      text_.append(buffer, static_cast<size_t>(got));
    }
    const Json line = Json::parse(text_.substr(0, newline));
    text_.erase(0, newline + 1);
    return line;
  }
  // Skips lines until one of this type.
  Json Await(const std::string& type) {
    Json line = Next();
    while (!line.is_null() && line["type"] != type) line = Next();
    EXPECT_FALSE(line.is_null()) << "no line of type " << type;
    return line;
  }
  int Exit() { return child_->Wait(kPatience).value_or(-1); }

 private:
  std::optional<Subprocess> child_;
  std::string text_;
};

// Would train for hours, and alone, not in a pack.
PointSpec EndlessPoint() {
  PointSpec point = SmallPoint();
  point.width = 20;
  point.dataset_size = 2000, point.epochs = 1000000;
  return point;
}

std::string ResultBits(const Json& line) {
  const auto result = ResultFromJson(line.at("result").dump());
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? Bits(*result) : "";
}

TEST(TrainerByHandTest, PointsAreAnsweredInOrderAndTheEndOfInputFinishesThem) {
  Trainer trainer({});
  trainer.Send(PointToJson(SmallPoint()));
  trainer.Send(R"({"heads":2,"width":16,"dataset_size":64,"epochs":20})");
  trainer.EndInput();
  for (const char* attempt : {"1", "2"}) {
    const Json line = trainer.Next();
    EXPECT_EQ(line["type"], "result");
    EXPECT_EQ(line["attempt"], attempt);
    const Json& result = line["result"];
    EXPECT_EQ(result["backend"], "cpu");
    EXPECT_EQ(result["device_kind"], "cpu");
    EXPECT_EQ(result["threads"], 1);
    for (const char* field : {"device_name", "version", "torch_version", "blas"}) {
      EXPECT_NE(result[field], "") << field;
    }
  }
  EXPECT_TRUE(trainer.Next().is_null());
  EXPECT_EQ(trainer.Exit(), 0);
}

TEST(TrainerByHandTest, ThreadsOfTheEnvironmentDoNotChangeTheBits) {
  std::vector<std::string> results;
  for (const char* threads : {"1", "4"}) {
    Trainer trainer({}, {{"OMP_NUM_THREADS", threads}, {"OPENBLAS_NUM_THREADS", threads}});
    PointSpec point = SmallPoint();
    point.width = 64, point.dataset_size = 500, point.batch_size = 250, point.epochs = 4;
    trainer.Send(PointToJson(point));
    trainer.EndInput();
    results.push_back(ResultBits(trainer.Next()));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(TrainerByHandTest, BadInputIsExplainedAndEndsInExitCodeTwo) {
  Trainer trainer({});
  trainer.Send("nonsense");
  trainer.Send(std::string((1 << 20) + 1, 'x'));
  trainer.Send(R"({"heads":0,"epochs":1})");
  trainer.Send(PointToJson(SmallPoint()));
  trainer.EndInput();
  EXPECT_EQ(trainer.Next()["type"], "error");
  const Json too_long = trainer.Next();
  EXPECT_EQ(too_long["type"], "error");
  EXPECT_NE(too_long["message"].get<std::string>().find("1048576"), std::string::npos);
  const Json failed = trainer.Next();
  EXPECT_EQ(failed["cause"], "bad_point");
  EXPECT_NE(failed["message"].get<std::string>().find("heads"), std::string::npos);
  EXPECT_EQ(trainer.Next()["type"], "result");
  EXPECT_EQ(trainer.Exit(), 2);
}

TEST(TrainerByHandTest, PointForAnAbsentBackendFailsWithExitCodeOne) {
  Trainer trainer({});
  PointSpec point = SmallPoint();
  point.backend = "cuda";
  trainer.Send(PointToJson(point));
  trainer.EndInput();
  EXPECT_EQ(trainer.Next()["cause"], "unsupported");
  EXPECT_EQ(trainer.Exit(), 1);
}

TEST(TrainerByHandTest, TerminationSignalEndsItAtOnce) {
  Trainer trainer({"--progress"});
  trainer.Send(PointToJson(EndlessPoint()));
  trainer.Await("started");
  trainer.child().Signal(SIGTERM);
  EXPECT_EQ(trainer.Exit(), 143);
}

TEST(TrainerByHandTest, WrongOptionsEndInExitCodeTwo) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--device", "abacus"}, {"--backend", "abacus"}, {"--no-such-option"}}) {
    Trainer trainer(arguments);
    EXPECT_EQ(trainer.Exit(), 2) << arguments[0];
  }
}

TEST(TrainerServeTest, HelloComesFirstAndProgressWhileTraining) {
  Trainer trainer({"--serve"});
  const Json hello = trainer.Next();
  EXPECT_EQ(hello["type"], "hello");
  EXPECT_EQ(hello["protocol"], 1);
  EXPECT_EQ(hello["device"], "cpu");
  EXPECT_EQ(hello["backends"], Json::array({"cpu", "torch"}));
  EXPECT_EQ(hello["slots"], 1);
  EXPECT_GT(hello["memory_bytes"], 0);
  trainer.SendTrain("17/2", EndlessPoint());
  EXPECT_EQ(trainer.Next()["type"], "started");
  const Json progress = trainer.Next();
  EXPECT_EQ(progress["type"], "progress");
  EXPECT_EQ(progress["attempt"], "17/2");
  EXPECT_GT(progress["step"], 0);
  EXPECT_GT(trainer.Next()["step"], progress["step"]);
}

TEST(TrainerServeTest, EndOfInputEndsItInTheMiddleOfTraining) {
  Trainer trainer({"--serve"});
  trainer.SendTrain("a", EndlessPoint());
  trainer.Await("started");
  trainer.EndInput();
  EXPECT_EQ(trainer.Exit(), 0);
}

TEST(TrainerServeTest, ClosedOutputEndsIt) {
  Trainer trainer({"--serve"});
  trainer.SendTrain("a", EndlessPoint());
  trainer.Await("started");
  close(dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), trainer.child().stdout_fd()));
  EXPECT_EQ(trainer.Exit(), 1);
}

TEST(TrainerServeTest, CancelFreesTheSlotForTheNext) {
  Trainer trainer({"--serve"});
  trainer.SendTrain("a", EndlessPoint());
  trainer.SendTrain("b", EndlessPoint());
  trainer.SendTrain("c", SmallPoint());
  trainer.Await("started");
  trainer.Send(R"({"type":"cancel","attempt":"b"})");
  EXPECT_EQ(trainer.Await("cancelled")["attempt"], "b");
  trainer.Send(R"({"type":"cancel","attempt":"a"})");
  EXPECT_EQ(trainer.Await("cancelled")["attempt"], "a");
  EXPECT_EQ(trainer.Await("result")["attempt"], "c");
}

TEST(TrainerServeTest, StoppedAttemptResumesElsewhereWithTheSameBits) {
  PointSpec point = SmallPoint();
  point.width = 20;  // alone: the second point waits
  point.dataset_size = 1000, point.epochs = 1500;
  const std::string folder = StrCat(testing::TempDir(), "trainer_stop_", getpid());
  Trainer first({"--serve"});
  first.SendTrain("a", point);
  first.SendTrain("b", point);
  first.Await("started");
  first.child().Signal(SIGTERM);  // not heard: the agent decides
  first.Send(StrCat(R"({"type":"stop","folder":")", folder, R"("})"));
  const Json running = first.Await("stopped"), queued = first.Await("stopped");
  EXPECT_EQ(running["attempt"], "a");
  EXPECT_EQ(queued["attempt"], "b");
  EXPECT_EQ(queued["checkpoint"], "");
  EXPECT_EQ(first.Exit(), 0);

  Trainer second({"--serve"});
  second.SendTrain("a/2", point, StrCat(R"(,"checkpoint":)", running["checkpoint"].dump()));
  const Json result = second.Await("result");
  EXPECT_EQ(ResultBits(result), Bits(TrainPoint(point, "cpu")));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace capsweep::trainer
