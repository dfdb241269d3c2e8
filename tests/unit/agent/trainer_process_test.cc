#include "worker/agent/trainer_process.h"

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"

namespace capsweep::agent {
namespace {

using ::testing::HasSubstr;

TrainerOptions FakeTrainer(std::map<std::string, std::string> env = {}) {
  TrainerOptions options;
  options.program = CAPSWEEP_BIN_DIR "/fake_trainer";
  options.device = "cpu";
  options.name = "cpu:0";
  options.env = std::move(env);
  options.first_backoff = std::chrono::milliseconds(20);
  return options;
}

// Runs the loop an agent would until an event fits; the others are dropped.
std::optional<TrainerEvent> PumpUntil(TrainerProcess& trainer, bool busy,
                                      const std::function<bool(const TrainerEvent&)>& wanted) {
  const Instant deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < deadline) {
    for (TrainerEvent& event : trainer.Pump(std::chrono::steady_clock::now(), busy)) {
      if (wanted(event)) return std::move(event);
    }
    std::vector<pollfd> fds;
    trainer.AddPollFds(fds);
    poll(fds.data(), fds.size(), 5);
  }
  return std::nullopt;
}

template <class T>
bool IsMessage(const TrainerEvent& event) {
  const auto* message = std::get_if<TrainerMessage>(&event);
  return message != nullptr && std::holds_alternative<T>(*message);
}
bool IsLost(const TrainerEvent& event) {
  return std::holds_alternative<TrainerLost>(event);
}
bool IsEnded(const TrainerEvent& event) {
  return std::holds_alternative<TrainerEnded>(event);
}

TEST(TrainerProcessTest, GreetsTrainsAndAnswers) {
  TrainerProcess trainer(FakeTrainer());
  EXPECT_FALSE(trainer.ready());
  ASSERT_TRUE(PumpUntil(trainer, false, IsMessage<Hello>));
  EXPECT_TRUE(trainer.ready());
  trainer.Send(TrainLine("1/1", TestPoint(1), ""));
  auto event = PumpUntil(trainer, true, IsMessage<Finished>);
  ASSERT_TRUE(event);
  const auto& result = std::get<Finished>(std::get<TrainerMessage>(*event)).result;
  EXPECT_TRUE(ValidateResult(TestPoint(1), *result).ok()) << ValidateResult(TestPoint(1), *result);
}

TEST(TrainerProcessTest, MoreLinesThanThePipeHoldsDoNotBlock) {
  TrainerProcess trainer(FakeTrainer({{"FAKE_TRAINER_MS", "0"}}));
  ASSERT_TRUE(PumpUntil(trainer, false, IsMessage<Hello>));
  kill(trainer.pid(), SIGSTOP);
  constexpr int kLines = 1000;
  for (int i = 0; i < kLines; ++i) trainer.Send(TrainLine(StrCat(i, "/1"), TestPoint(1), ""));
  kill(trainer.pid(), SIGCONT);
  int finished = 0;
  ASSERT_TRUE(PumpUntil(trainer, true, [&](const TrainerEvent& e) {
    return IsMessage<Finished>(e) && ++finished == kLines;
  })) << finished;
}

TEST(TrainerProcessTest, DeathIsReportedWithItsCauseAndHealed) {
  TempFolder folder;
  TrainerOptions options = FakeTrainer({{"FAKE_TRAINER_DIE_ON", "\"init_seed\":2"}});
  options.stderr_path = folder.path() + "/stderr";
  TrainerProcess trainer(options);
  ASSERT_TRUE(PumpUntil(trainer, false, IsMessage<Hello>));
  const pid_t first = trainer.pid();
  trainer.Send(TrainLine("2/1", TestPoint(2), ""));
  auto event = PumpUntil(trainer, true, IsLost);
  ASSERT_TRUE(event);
  const auto& lost = std::get<TrainerLost>(*event);
  EXPECT_EQ(lost.cause, FailureCause::kTrainerDied);
  EXPECT_EQ(lost.deaths_before_hello, 0);
  EXPECT_THAT(lost.message, HasSubstr("signal 9"));
  EXPECT_THAT(lost.message, HasSubstr("dying as the environment asks"));
  ASSERT_TRUE(PumpUntil(trainer, false, IsMessage<Hello>));
  EXPECT_NE(trainer.pid(), first);
}

TEST(TrainerProcessTest, SilenceWithWorkIsAHangAndSilenceWithoutIsNot) {
  TrainerOptions options = FakeTrainer({{"FAKE_TRAINER_HANG_ON", "\"init_seed\":3"}});
  options.hang_timeout = std::chrono::milliseconds(200);
  TrainerProcess trainer(options);
  ASSERT_TRUE(PumpUntil(trainer, false, IsMessage<Hello>));
  const pid_t pid = trainer.pid();
  const Instant quiet_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(400);
  while (std::chrono::steady_clock::now() < quiet_until) {
    EXPECT_TRUE(trainer.Pump(std::chrono::steady_clock::now(), false).empty());
    poll(nullptr, 0, 20);
  }
  trainer.Send(TrainLine("3/1", TestPoint(3), ""));
  auto event = PumpUntil(trainer, true, IsLost);
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<TrainerLost>(*event).cause, FailureCause::kTrainerHung);
  EXPECT_NE(kill(pid, 0), 0);
}

TEST(TrainerProcessTest, TrainerThatNeverGreetsIsCountedAndTriedMoreSlowly) {
  TrainerProcess trainer(FakeTrainer({{"FAKE_TRAINER_NO_HELLO", "1"}}));
  for (int death = 1; death <= 3; ++death) {
    Instant now{};
    std::vector<TrainerEvent> events;
    for (int i = 0; i < 2000 && events.empty(); ++i) {
      now = std::chrono::steady_clock::now();
      events = trainer.Pump(now, true);
      poll(nullptr, 0, 5);
    }
    ASSERT_EQ(events.size(), 1u);
    ASSERT_TRUE(IsLost(events[0]));
    EXPECT_EQ(std::get<TrainerLost>(events[0]).deaths_before_hello, death);
    EXPECT_THAT(std::get<TrainerLost>(events[0]).message, HasSubstr("exit code 3"));
    EXPECT_EQ(*trainer.NextDeadline(true) - now, std::chrono::milliseconds(20) * (1 << (death - 1)));
  }
}

TEST(TrainerProcessTest, MissingProgramIsALossNotACrash) {
  TrainerOptions options = FakeTrainer();
  options.program = "/nonexistent/trainer";
  TrainerProcess trainer(options);
  auto event = PumpUntil(trainer, false, IsLost);
  ASSERT_TRUE(event);
  EXPECT_THAT(std::get<TrainerLost>(*event).message, HasSubstr("/nonexistent/trainer"));
}

TEST(TrainerProcessTest, OtherProtocolIsRefusedAtOnce) {
  TempFolder folder;
  const std::string script = folder.path() + "/trainer";
  {
    std::ofstream file(script);
    file << "#!/bin/sh\necho '{\"type\":\"hello\",\"protocol\":2}'\nsleep 60\n";
  }
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  TrainerOptions options = FakeTrainer();
  options.program = script;
  TrainerProcess trainer(options);
  auto event = PumpUntil(trainer, false, IsLost);
  ASSERT_TRUE(event);
  EXPECT_THAT(std::get<TrainerLost>(*event).message, HasSubstr("protocol 2"));
}

TEST(TrainerProcessTest, EndlessLineIsCutOff) {
  TempFolder folder;
  const std::string script = folder.path() + "/trainer";
  {
    std::ofstream file(script);
    file << "#!/bin/sh\necho '{\"type\":\"hello\",\"protocol\":1}'\nexec cat /dev/zero\n";
  }
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  TrainerOptions options = FakeTrainer();
  options.program = script;
  TrainerProcess trainer(options);
  auto event = PumpUntil(trainer, false, IsLost);
  ASSERT_TRUE(event);
  EXPECT_THAT(std::get<TrainerLost>(*event).message, HasSubstr("a line of more than"));
}

TEST(TrainerProcessTest, StopCollectsCheckpointsThenEnds) {
  TempFolder folder;
  TrainerProcess trainer(FakeTrainer({{"FAKE_TRAINER_MS", "60000"}}));
  ASSERT_TRUE(PumpUntil(trainer, false, IsMessage<Hello>));
  trainer.Send(TrainLine("1/1", TestPoint(1), ""));
  ASSERT_TRUE(PumpUntil(trainer, true, IsMessage<Started>));
  const pid_t pid = trainer.pid();
  trainer.Stop(folder.path());
  auto event = PumpUntil(trainer, true, IsMessage<Stopped>);
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::filesystem::exists(std::get<Stopped>(std::get<TrainerMessage>(*event)).checkpoint));
  ASSERT_TRUE(trainer.ended() || PumpUntil(trainer, true, IsEnded));
  EXPECT_TRUE(trainer.ended());
  EXPECT_NE(kill(pid, 0), 0);
}

TEST(TrainerProcessTest, ProbeReadsHelloOrSaysWhyNot) {
  auto hello = ProbeTrainer(FakeTrainer());
  ASSERT_TRUE(hello.ok()) << hello.status();
  EXPECT_EQ(hello->backend, "fake");
  auto none = ProbeTrainer(FakeTrainer({{"FAKE_TRAINER_NO_HELLO", "1"}}));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("exit code 3"));
}

}  // namespace
}  // namespace capsweep::agent
