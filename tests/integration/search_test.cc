// `capsweep run` of sweeps that search, with real trainers.
#include <gmock/gmock.h>

#include <random>

#include "processes.h"

namespace capsweep::integration {
namespace {

using ::testing::HasSubstr;

class SearchRunTest : public ProcessTest {
 protected:
  static std::string Mls(const std::string& name, int steps) {
    return StrCat("sweep: ", name,
                  "\ntask: {mode: label, vocab: 16, seq_len: 4}\nmodel: {heads: 1, head_dim: 4, width: [4, 6]}\n"
                  "train: {lr: 1.0e-2, batch_size: 16, steps: ",
                  steps, ", patience: 0}\nmeasure: mls\nsearch: {restarts: 2, tolerance: 0.1}\n");
  }
  std::string Found(const std::string& database) {
    return Rows(database, "SELECT cell, state, mac, mac_unsettled, mls, reason FROM v_searches ORDER BY cell");
  }
};

TEST_F(SearchRunTest, KilledAtRandomMomentsItFindsTheSameAndTrainsNoProbeTwice) {
  Write("m.yaml", Mls("mls", 400));
  const Finished calm = Call({"run", "m.yaml", "--db", "calm.db", "--no-plot", "--no-fit"});
  ASSERT_EQ(calm.code, 0) << calm.err;
  EXPECT_THAT(calm.out, HasSubstr("MLS/MAC"));
  EXPECT_THAT(calm.err, HasSubstr("searching: 2 of 2 architectures settled"));
  EXPECT_EQ(Rows("calm.db", "SELECT count(*) FROM searches WHERE state = 'settled' AND mls > 0 AND mac > 0"), "2\n");
  std::mt19937 random(11);
  for (int round = 0; round < 4; ++round) {
    auto run = Start({"run", "m.yaml", "--db", "rough.db", "--no-plot", "--no-fit"});
    std::this_thread::sleep_for(std::chrono::milliseconds(600 + random() % 2500));
    run->Signal(SIGKILL);
    run->Wait();
    EXPECT_TRUE(NothingLeftWithin(std::chrono::seconds(10))) << "round " << round;
  }
  const Finished last = Call({"run", "m.yaml", "--db", "rough.db", "--no-plot", "--no-fit"});
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_EQ(Found("rough.db"), Found("calm.db"));
  EXPECT_EQ(Rows("rough.db", "SELECT count(*) - count(DISTINCT point_key) FROM points"), "0\n");
  EXPECT_EQ(Rows("rough.db", "SELECT count(*) - count(DISTINCT point_key) FROM results"), "0\n");
  EXPECT_EQ(Rows("rough.db", "SELECT count(*) FROM attempts GROUP BY point_id HAVING sum(outcome = 'accepted') > 1"),
            "");
  EXPECT_EQ(Rows("rough.db", "SELECT state FROM sweeps"), "finished\n");
  // What the finished search has found is answered from the database.
  const std::string attempts = Rows("rough.db", "SELECT count(*) FROM attempts");
  const Finished again = Call({"run", "m.yaml", "--db", "rough.db", "--no-plot", "--no-fit"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(Rows("rough.db", "SELECT count(*) FROM attempts"), attempts);
}

TEST_F(SearchRunTest, AnotherSweepTakesOverWhatIsMeasured) {
  Write("m.yaml", Mls("mls", 100));
  ASSERT_EQ(Call({"run", "m.yaml", "--db", "a.db", "--no-plot", "--no-fit"}).code, 0);
  const std::string results = Rows("a.db", "SELECT count(*) FROM results");
  Write("n.yaml", Mls("again", 100));
  const Finished second = Call({"run", "n.yaml", "--db", "a.db", "--no-plot", "--no-fit"});
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(Rows("a.db", "SELECT count(*) FROM results"), results);
  EXPECT_EQ(Rows("a.db", "SELECT count(DISTINCT mls), count(DISTINCT mac) FROM v_searches WHERE width = 4"), "1,1\n");
}

TEST_F(SearchRunTest, MinnetFindsASizeThatMemorizes) {
  Write("w.yaml",
        "sweep: net\ntask: {vocab: 16, seq_len: 4}\nmodel: {heads: 1, head_dim: 4}\ndata: {dataset_size: 20}\n"
        "train: {batch_size: 16, steps: 300, patience: 0}\nmeasure: minnet\n"
        "search: {knob: width, from: 2, to: 24, step: 2, trials: 3, warmup: [0, 0]}\n");
  const Finished run = Call({"run", "w.yaml"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("P_min"));
  EXPECT_EQ(Rows("net.db",
                 "SELECT count(*) FROM v_minnet m JOIN v_results r ON r.width = m.size AND r.lr = m.lr "
                 "AND r.items_mem = m.dataset_size AND r.params_total = m.params_total"),
            "1\n");
  // The next smaller size was tried and no trial of it succeeded. (Further below nothing is promised: chance decides.)
  EXPECT_EQ(
      Rows("net.db", "SELECT count(*), max(r.items_mem) < 20 FROM v_results r, v_minnet m WHERE r.width = m.size - 2"),
      "3,1\n");
}

}  // namespace
}  // namespace capsweep::integration
