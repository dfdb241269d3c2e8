#include "worker/trainer/runner.h"

#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/file.h"
#include "common/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capsweep::trainer {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;

class FakeClock : public Clock {
 public:
  Instant Now() const override { return now; }
  int64_t WallMillis() const override { return 0; }
  Instant now = Instant() + std::chrono::hours(1);
};

// A back end that counts: every Run is one step of every slot.
class CountingBackend : public Backend {
 public:
  explicit CountingBackend(int slots) : slots_(slots) {}

  std::string_view name() const override { return "torch"; }
  absl::Status CanTrain(const PointSpec& point) const override {
    return point.layers > 8 ? absl::UnimplementedError("more than 8 layers") : absl::OkStatus();
  }
  int Slots(const PointSpec&) const override { return slots_; }
  bool Takes(const PointSpec&, std::string_view shape) const override {
    return held_.empty() || (static_cast<int>(held_.size()) < slots_ && shape == ShapeKey(held_.begin()->second.first));
  }
  absl::Status Load(int slot, const PointSpec& point, const Checkpoint* checkpoint) override {
    if (point.width == 999) return absl::ResourceExhaustedError("too wide");
    if (static_cast<int>(held_.size()) >= memory) return absl::ResourceExhaustedError("out of memory");
    int64_t step = 0;
    if (checkpoint != nullptr) {
      if (checkpoint->bytes.rfind("step ", 0) != 0) return absl::DataLossError("no checkpoint");
      step = std::stoll(checkpoint->bytes.substr(5));
    }
    held_[slot] = {point, step};
    return absl::OkStatus();
  }
  absl::Status Health() const override { return health; }
  void Run(Duration) override {
    for (auto& [slot, held] : held_) {
      if (held.second < BudgetSteps(held.first)) ++held.second;
    }
  }
  SlotView Look(int slot) const override {
    const auto& [point, step] = held_.at(slot);
    SlotView view;
    view.step = step;
    view.budget_steps = BudgetSteps(point);
    view.finished = step == view.budget_steps;
    if (point.lr == 66) {
      view.failure = absl::InvalidArgumentError("the loss became NaN");
      view.cause = FailureCause::kNanLoss;
    }
    return view;
  }
  absl::StatusOr<PointResult> Result(int slot) const override {
    PointResult result;
    result.steps = Look(slot).step;
    return result;
  }
  absl::StatusOr<Checkpoint> Save(int slot) override {
    return Checkpoint{"torch", StrCat("step ", held_.at(slot).second)};
  }
  void Unload(int slot) override { held_.erase(slot); }

  int memory = 1000;  // slots that fit
  absl::Status health;

 private:
  int slots_;
  std::map<int, std::pair<PointSpec, int64_t>> held_;
};

class RunnerTest : public testing::Test {
 protected:
  void Make(int slots, bool report_all = true) {
    std::vector<std::unique_ptr<Backend>> backends;
    backends.push_back(std::make_unique<CountingBackend>(slots));
    backend_ = static_cast<CountingBackend*>(backends.back().get());
    DeviceFacts facts;
    facts.kind = "test device";
    runner_ = std::make_unique<Runner>(
        std::move(backends), facts, report_all,
        [this](const std::string& line) { lines_.push_back(Json::parse(line)); }, clock_);
  }
  void Train(const std::string& attempt, int steps, const std::string& more = "", const std::string& outside = "") {
    runner_->Handle(
        StrCat(R"({"type":"train","attempt":")", attempt, R"(","point":{"steps":)", steps, more, "}", outside, "}"));
  }
  // "started a", "result a", … since the last call.
  std::vector<std::string> Said() {
    std::vector<std::string> said;
    for (const Json& line : lines_) said.push_back(StrCat(line.value("type", ""), " ", line.value("attempt", "")));
    seen_ = std::exchange(lines_, {});
    return said;
  }
  void Advance(int times = 1) {
    for (int i = 0; i < times; ++i) EXPECT_TRUE(runner_->Advance(std::chrono::milliseconds(1)).ok());
  }
  CountingBackend* backend_ = nullptr;
  static std::string Folder() { return StrCat(testing::TempDir(), "runner_test_", getpid()); }

  FakeClock clock_;
  std::unique_ptr<Runner> runner_;
  std::vector<Json> lines_;
  std::vector<Json> seen_;
};

TEST_F(RunnerTest, FinishedSlotIsTakenOverWhileNeighboursGoOn) {
  Make(2);
  Train("a", 2);
  Train("b", 5);
  Train("c", 2);
  Advance(2);
  EXPECT_THAT(Said(), ElementsAre("started a", "started b", "result a"));
  Advance();
  EXPECT_THAT(Said(), ElementsAre("started c"));
  Advance(2);
  EXPECT_THAT(Said(), ElementsAre("result c", "result b"));
  EXPECT_FALSE(runner_->busy());
}

TEST_F(RunnerTest, OtherShapeWaitsUntilThePackIsEmpty) {
  Make(2);
  Train("a", 3);
  Train("wide", 1, R"(,"width":16)");
  Train("b", 1);
  Advance();
  EXPECT_THAT(Said(), ElementsAre("started a", "started b", "result b"));
  Advance(2);
  EXPECT_THAT(Said(), ElementsAre("result a"));
  Advance();
  EXPECT_THAT(Said(), ElementsAre("started wide", "result wide"));
}

TEST_F(RunnerTest, CancelForgetsQueuedRunningAndUnknownAttemptsAlike) {
  Make(1);
  Train("running", 100);
  Train("queued", 100);
  Advance();
  Said();
  for (const char* attempt : {"queued", "running", "never seen"}) {
    runner_->Handle(StrCat(R"({"type":"cancel","attempt":")", attempt, R"("})"));
  }
  EXPECT_THAT(Said(), ElementsAre("cancelled queued", "cancelled running", "cancelled never seen"));
  EXPECT_FALSE(runner_->busy());
}

TEST_F(RunnerTest, StopSavesRunningAttemptsAndHandsBackQueuedOnesWhichResume) {
  Make(1);
  Train("17/2", 100);
  Train("18/1", 100);
  Advance(7);
  Said();
  runner_->Handle(StrCat(R"({"type":"stop","folder":")", Folder(), R"("})"));
  EXPECT_THAT(Said(), ElementsAre("stopped 17/2", "stopped 18/1"));
  EXPECT_TRUE(runner_->stopped());
  const std::string file = seen_[0]["checkpoint"];
  EXPECT_EQ(ReadFile(file).value(), "step 7");
  EXPECT_EQ(seen_[1]["checkpoint"], "");

  Make(1);
  Train("17/3", 100, "", StrCat(R"(,"checkpoint":")", file, R"(")"));
  Advance();
  Said();
  EXPECT_EQ(seen_[0]["resumed_from_step"], 7);
  std::filesystem::remove_all(Folder());
}

TEST_F(RunnerTest, UnusableCheckpointStartsOver) {
  Make(1);
  ASSERT_TRUE(MakeFolders(Folder()).ok());
  ASSERT_TRUE(WriteFileAtomic(Folder() + "/bad", "rubbish").ok());
  Train("bad", 1, "", StrCat(R"(,"checkpoint":")", Folder(), R"(/bad")"));
  Train("absent", 1, "", StrCat(R"(,"checkpoint":")", Folder(), R"(/absent")"));
  Advance(2);
  EXPECT_THAT(Said(), ElementsAre("started bad", "result bad", "started absent", "result absent"));
  EXPECT_EQ(seen_[0]["resumed_from_step"], 0);
  std::filesystem::remove_all(Folder());
}

TEST_F(RunnerTest, FailuresNameTheirCause) {
  Make(2);
  Train("nan", 10, R"(,"lr":66)");
  Train("good", 1);
  Train("wide", 1, R"(,"width":999)");
  Train("deep", 1, R"(,"layers":9)");
  Train("pinned", 1, R"(,"backend":"cuda")");
  Train("rule", 1, R"(,"heads":0)");
  Advance(3);
  std::map<std::string, std::string> causes;
  std::map<std::string, int> packs;
  for (const Json& line : lines_) {
    if (line["type"] == "failed") {
      causes[line["attempt"]] = line["cause"];
      packs[line["attempt"]] = line["pack_size"];
      EXPECT_FALSE(line["message"].get<std::string>().empty());
    }
  }
  const std::map<std::string, std::string> wanted = {{"nan", "nan_loss"},
                                                     {"wide", "out_of_memory"},
                                                     {"deep", "unsupported"},
                                                     {"pinned", "unsupported"},
                                                     {"rule", "bad_point"}};
  EXPECT_EQ(causes, wanted);
  EXPECT_EQ(packs["nan"], 1);
  EXPECT_EQ(packs["wide"], 1);
  EXPECT_TRUE(runner_->any_failed());
}

TEST_F(RunnerTest, ProgressComesOnceASecondPerAttempt) {
  Make(2);
  Train("a", 1000);
  Train("b", 1000);
  Advance();
  Said();
  for (int i = 0; i < 20; ++i) {
    clock_.now += std::chrono::milliseconds(100);
    Advance();
  }
  EXPECT_THAT(Said(), ElementsAre("progress a", "progress b", "progress a", "progress b"));
  EXPECT_EQ(seen_[0]["step"], 11);
  EXPECT_EQ(seen_[0]["budget_steps"], 1000);
}

TEST_F(RunnerTest, LinesThatAreNoCommandsAreAnsweredByErrorAndChangeNothing) {
  Make(1);
  Train("a", 5);
  Advance();
  Said();
  for (const char* line : {"{", "[]", "7", "\xff\xfe", R"({"type":"dance"})", R"({"type":"train","point":{}})",
                           R"({"type":"train","attempt":"x","point":3})", R"({"type":"cancel"})", R"({"type":1})",
                           R"({"type":"train","attempt":"a","point":{"steps":1}})"}) {
    runner_->Handle(line);
    EXPECT_THAT(Said(), ElementsAre("error ")) << line;
  }
  runner_->Handle("");
  runner_->Handle("  \r");
  EXPECT_THAT(Said(), ElementsAre());
  EXPECT_TRUE(runner_->any_bad_input());
  Advance(4);
  EXPECT_THAT(Said(), ElementsAre("result a"));
}

TEST_F(RunnerTest, BarePointsAreNumberedAndOnlyOutcomesAreReportedByHand) {
  Make(1, /*report_all=*/false);
  runner_->Handle(R"({"steps":2})");
  runner_->Handle(R"({"steps":1,"colour":"red"})");
  runner_->Handle(R"({"steps":1})");
  Advance(3);
  EXPECT_THAT(Said(), ElementsAre("failed 2", "result 1", "result 3"));
  EXPECT_EQ(seen_[1]["result"]["device_kind"], "test device");
  EXPECT_TRUE(runner_->any_bad_input());
}

TEST_F(RunnerTest, WhenMemoryRunsOutFewerTrainAtOnceAndNothingFails) {
  Make(8);
  backend_->memory = 4;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) Train(name, 2);
  Advance();
  EXPECT_EQ(Said(), (std::vector<std::string>{"started a", "started b", "started c", "started d"}));
  Advance();  // the four end; from now on two at once
  EXPECT_EQ(Said(), (std::vector<std::string>{"result a", "result b", "result c", "result d"}));
  Advance();
  EXPECT_EQ(Said(), (std::vector<std::string>{"started e", "started f"}));
  Advance();
  EXPECT_EQ(Said(), (std::vector<std::string>{"result e", "result f"}));
  EXPECT_FALSE(runner_->any_failed());
}

TEST_F(RunnerTest, TwoAtOnceStayTwoWhileThePackLasts) {
  Make(8);
  backend_->memory = 4;
  Train("long", 9);
  for (const char* name : {"b", "c", "d", "e", "f"}) Train(name, 2);
  Advance(2);
  Said();
  Advance();
  EXPECT_EQ(Said(), (std::vector<std::string>{"started e"}));
}

TEST_F(RunnerTest, SickDeviceEndsEverythingAndFailsNobody) {
  Make(2);
  Train("a", 5);
  Advance();
  Said();
  backend_->health = absl::InternalError("cuda:0: an illegal memory access was encountered");
  EXPECT_EQ(runner_->Advance(std::chrono::milliseconds(1)), backend_->health);
  EXPECT_TRUE(Said().empty());  // whoever gave the attempt here gets it back when this process ends
}

// The reference behind a back end that cannot train everything.
class Reference : public CountingBackend {
 public:
  using CountingBackend::CountingBackend;
  std::string_view name() const override { return "reference"; }
  absl::Status CanTrain(const PointSpec&) const override { return absl::OkStatus(); }
};

TEST(RunnerFallbackTest, WhatTheFirstBackendCannotTrainGoesToTheNext) {
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(std::make_unique<CountingBackend>(2));
  backends.push_back(std::make_unique<Reference>(2));
  std::vector<std::string> results;
  Runner runner(std::move(backends), {}, false, [&](const std::string& line) { results.push_back(line); });
  for (const char* layers : {"9", "1", "9"}) {
    runner.Handle(StrCat(R"({"steps":2,"layers":)", layers, "}"));
  }
  for (int i = 0; i < 20 && runner.busy(); ++i) EXPECT_TRUE(runner.Advance(std::chrono::milliseconds(1)).ok());
  EXPECT_EQ(results.size(), 3u);
  EXPECT_FALSE(runner.any_failed());
}

}  // namespace
}  // namespace capsweep::trainer
