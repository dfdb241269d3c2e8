// `capsweep run` with real trainers.
#include <gmock/gmock.h>

#include <random>

#include "processes.h"

namespace capsweep::integration {
namespace {

using ::testing::HasSubstr;

class RunTest : public ProcessTest {};

TEST_F(RunTest, SweepIsTrainedReportedAndThenAnsweredFromTheDatabase) {
  Write("a.yaml", SweepFile("alpha", "[1, 2]", "8", 2, 100));
  const Finished first = Call({"run", "a.yaml"});
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("bits/param"));
  EXPECT_THAT(first.out, HasSubstr("database: alpha.db"));
  EXPECT_THAT(first.err, HasSubstr("database: alpha.db"));
  EXPECT_EQ(Rows("alpha.db", "SELECT count(*) FROM v_results"), "4\n");
  const std::string counts = Counts("alpha.db", "alpha");
  const std::string attempts = Rows("alpha.db", "SELECT count(*) FROM attempts");

  const Finished second = Call({"run", "a.yaml"});
  EXPECT_EQ(second.code, 0) << second.err;
  EXPECT_THAT(second.err, HasSubstr("4 of them already measured"));
  EXPECT_EQ(second.err.find("running"), std::string::npos) << "nothing may be started: " << second.err;
  EXPECT_EQ(Counts("alpha.db", "alpha"), counts);
  EXPECT_EQ(Rows("alpha.db", "SELECT count(*) FROM attempts"), attempts);
  EXPECT_EQ(Rows("alpha.db", "SELECT count(*) FROM fits"), "1\n") << "the same fit is stored once";
}

TEST_F(RunTest, MoreRepeatsTrainOnlyTheNewSeedsAndSharedPointsAreTrainedOnce) {
  Write("a.yaml", SweepFile("alpha", "[1, 2]", "8", 1, 60));
  ASSERT_EQ(Call({"run", "a.yaml", "--no-plot", "--no-fit"}).code, 0);
  const std::string before = Counts("alpha.db", "alpha");
  Write("a.yaml", SweepFile("alpha", "[1, 2]", "8", 2, 60));
  const Finished extended = Call({"run", "a.yaml", "--no-plot", "--no-fit"});
  ASSERT_EQ(extended.code, 0) << extended.err;
  EXPECT_THAT(extended.err, HasSubstr("extended by 2 points"));
  EXPECT_EQ(Rows("alpha.db", "SELECT count(*), sum(seed = 1), sum(seed = 2) FROM v_results"), "4,2,2\n");
  EXPECT_EQ(Rows("alpha.db", "SELECT count(*), max(attempt) FROM attempts"), "4,1\n");
  for (size_t begin = 0; begin < before.size(); begin = before.find('\n', begin) + 1) {
    EXPECT_THAT(Counts("alpha.db", "alpha"), HasSubstr(before.substr(begin, before.find('\n', begin) - begin)));
  }

  // heads 2 is shared with the first sweep, heads 3 is new.
  Write("b.yaml", SweepFile("beta", "[2, 3]", "8", 2, 60));
  const Finished shared = Call({"run", "b.yaml", "--db", "alpha.db", "--no-plot", "--no-fit"});
  ASSERT_EQ(shared.code, 0) << shared.err;
  EXPECT_THAT(shared.err, HasSubstr("2 of them already measured"));
  EXPECT_EQ(Rows("alpha.db", "SELECT count(*), max(attempt) FROM attempts"), "6,1\n");
  EXPECT_EQ(Rows("alpha.db", "SELECT sweep, count(*) FROM v_results GROUP BY 1 ORDER BY 1"), "alpha,4\nbeta,4\n");
}

TEST_F(RunTest, KilledAtRandomMomentsItLeavesNothingRunningAndEndsWithTheSameCounts) {
  Write("k.yaml", SweepFile("kill", "[1, 2]", "[8, 12]", 2, kLongSteps, kLongItems));
  ASSERT_EQ(Call({"run", "k.yaml", "--db", "calm.db", "--no-plot", "--no-fit"}).code, 0);
  std::mt19937 random(7);
  for (int round = 0; round < 4; ++round) {
    auto run = Start({"run", "k.yaml", "--db", "rough.db", "--no-plot", "--no-fit"});
    std::this_thread::sleep_for(std::chrono::milliseconds(200 + random() % 2500));
    run->Signal(SIGKILL);
    run->Wait();
    EXPECT_TRUE(NothingLeftWithin(std::chrono::seconds(10))) << "round " << round;
  }
  const Finished last = Call({"run", "k.yaml", "--db", "rough.db", "--no-plot", "--no-fit"});
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_EQ(Counts("rough.db", "kill"), Counts("calm.db", "kill"));
  EXPECT_EQ(Rows("rough.db", "SELECT count(*), count(DISTINCT point_key) FROM results"), "8,8\n");
}

TEST_F(RunTest, KilledWorkerAndTrainerAreReplaced) {
  Write("k.yaml", SweepFile("kill", "[1, 2]", "[8, 12]", 2, kLongSteps, kLongItems));
  ASSERT_EQ(Call({"run", "k.yaml", "--db", "calm.db", "--no-plot", "--no-fit"}).code, 0);
  auto run = Start({"run", "k.yaml", "--db", "rough.db", "--no-plot", "--no-fit"});
  for (const char* victim : {"capsweep-trainer", "capsweep-worker"}) {
    for (int i = 0; i < 200 && FindProcess(victim) < 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    const pid_t pid = FindProcess(victim);
    ASSERT_GT(pid, 0) << victim;
    kill(pid, SIGKILL);
  }
  const Finished finished = run->Wait();
  ASSERT_EQ(finished.code, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("started again"));
  EXPECT_EQ(Counts("rough.db", "kill"), Counts("calm.db", "kill"));
}

TEST_F(RunTest, InterruptStopsCleanlySaysHowToContinueAndContinues) {
  Write("i.yaml", SweepFile("interrupt", "[1, 2]", "[8, 12]", 2, kLongSteps, kLongItems));
  auto run = Start({"run", "i.yaml", "--no-plot", "--no-fit"});
  for (int i = 0; i < 200 && FindProcess("capsweep-trainer") < 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  run->Signal(SIGINT);
  const auto start = std::chrono::steady_clock::now();
  const Finished stopped = run->Wait();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(14));
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("run the same command again to continue"));
  EXPECT_TRUE(NothingLeftWithin(std::chrono::seconds(2)));
  const Finished again = Call({"run", "i.yaml", "--no-plot", "--no-fit"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(Rows("interrupt.db", "SELECT count(*) FROM v_results"), "8\n");
  EXPECT_EQ(Rows("interrupt.db", "SELECT sum(lost), sum(failures) FROM points"), "0,0\n") << "handed back, not lost";
}

TEST_F(RunTest, SecondRunOfOneDatabaseIsRefusedWhileTheFirstWorks) {
  Write("l.yaml", SweepFile("lock", "[1, 2]", "[8, 12]", 2, kLongSteps, kLongItems));
  auto run = Start({"run", "l.yaml", "--no-plot", "--no-fit"});
  for (int i = 0; i < 200 && FindProcess("capsweep-trainer") < 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  const Finished second = Call({"run", "l.yaml", "--no-plot", "--no-fit"});
  EXPECT_EQ(second.code, 2) << second.err;
  EXPECT_THAT(second.err, HasSubstr("lock.db"));
  const Finished status = Call({"status", "--db", "lock.db", "--format", "json"});
  EXPECT_EQ(status.code, 0) << status.err;
  EXPECT_THAT(status.out, HasSubstr("\"sweep\": \"lock\", \"state\": \"running\", \"points\": 8"));
  run->Signal(SIGTERM);
  EXPECT_EQ(run->Wait().code, 143);
}

TEST_F(RunTest, ATrainerThatCannotStartEndsTheRunWithTheReason) {
  Write("t.yaml", SweepFile("broken", "1", "8", 1, 60));
  Write("trainer.sh", "#!/bin/sh\necho the card is on fire >&2\nexit 1\n");
  std::filesystem::permissions(Path("trainer.sh"), std::filesystem::perms::owner_all);
  const Finished run = Call({"run", "t.yaml", "--trainer", Path("trainer.sh"), "--no-plot", "--no-fit"});
  EXPECT_EQ(run.code, 2) << run.err;
  EXPECT_THAT(run.err, HasSubstr("no device works"));
  EXPECT_THAT(run.err, HasSubstr("the card is on fire"));
  const Finished fixed = Call({"run", "t.yaml", "--no-plot", "--no-fit"});
  EXPECT_EQ(fixed.code, 0) << fixed.err;
}

}  // namespace
}  // namespace capsweep::integration
