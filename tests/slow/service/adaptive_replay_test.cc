// Does measure: adaptive save training? Every measured point of sweeps/ecm-small.yaml is a result that the planner of
// an adaptive sweep over heads 1 to 4 may ask for (tests/slow/ecm/ecm-small.csv), and the interval of a prediction at
// heads 5 after each round is compared with that which the same fit of all these points gives (the full grid). Seconds
// are those of the cost model, and those that the runs took. Prints the figures of docs/science.md.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <sstream>
#include <tuple>

#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/adaptive.h"
#include "coordinator/plan/grid.h"
#include "coordinator/service/advise.h"

namespace capsweep::service {
namespace {

using Key = std::tuple<bool, int64_t, int64_t, int64_t, uint64_t>;  // frozen, heads, width, seq_len, seed

struct Measured {
  int64_t dataset_size = 0, steps = 0, items_mem = 0;
  double items_corr = 0, estimate = 0, seconds = 0;
};

const std::map<Key, Measured>& Results() {
  static const auto& results = *new std::map<Key, Measured>([] {
    std::ifstream file(std::string(CAPSWEEP_SOURCE_DIR) + "/tests/slow/ecm/ecm-small.csv");
    std::map<Key, Measured> all;
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::vector<double> v;
      std::stringstream fields(line);
      for (std::string field; std::getline(fields, field, ',');) v.push_back(std::stod(field));
      const auto whole = [&v](int i) { return static_cast<int64_t>(v[i]); };
      all[{v[0] != 0, whole(1), whole(2), whole(3), static_cast<uint64_t>(v[4])}] = {whole(5), whole(6), whole(7),
                                                                                     v[8],     v[11],    v[12]};
    }
    return all;
  }());
  return results;
}

struct Case {
  bool frozen = true;
  int64_t width = 0, seq_len = 0;
  std::string form;
  bool measured_seconds = false;
};

SweepSpec Spec(const Case& c, double budget_seconds) {
  // That of sweeps/ecm-small.yaml, one MLP and without the largest heads.
  auto spec = ParseSweep(
      StrCat("sweep: replay\n"
             "task: {mode: label, vocab: 16, seq_len: [4, 8, 16, 32]}\n"
             "model: {family: xt, layers: 1, heads: [1, 2, 3, 4], head_dim: 8, width: [8, 12, 16, 24, 32",
             c.frozen ? ", 48, 64" : "", "], freeze_mlp: ", c.frozen ? "true" : "false",
             "}\n"
             "data: {dataset_size: \"=params_train / (2 * targets)\"}\n"
             "train: {lr: 3.0e-3, batch_size: 100, steps: \"=max(3000, 120 * sqrt(params_train))\"}\n"
             "repeats: 3\nmeasure: adaptive\n"
             "search: {target: {heads: 5, width: ",
             c.width, ", seq_len: ", c.seq_len, "}, form: ", c.form, ", budget_seconds: ", budget_seconds, "}\n"),
      "replay.yaml");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

double SecondsOf(const Case& c, const Measured& m) {
  return c.measured_seconds ? m.seconds : m.estimate;
}

plan::Outcome OutcomeOf(const Case& c, const PointSpec& point) {
  const Measured& m = Results().at({point.freeze_mlp, point.heads, point.width, point.seq_len, point.init_seed});
  EXPECT_EQ(point.dataset_size, m.dataset_size);
  EXPECT_EQ(point.steps, m.steps);
  plan::Outcome outcome{plan::Outcome::State::kDone, m.items_mem, m.items_corr, ""};
  outcome.seconds = SecondsOf(c, m);
  return outcome;
}

// The fit of every point of the grid, and what they took.
plan::AdaptiveAnswer FullGrid(const Case& c, double& seconds) {
  const SweepSpec spec = Spec(c, 1e6);
  plan::AdaptiveQuestion question;
  question.search = &spec.search;
  question.budget = 0;
  const auto points = *plan::EnumerateGrid(spec);
  seconds = 0;
  for (const PointSpec& point : points) {
    const plan::Outcome outcome = OutcomeOf(c, point);
    seconds += outcome.seconds;
    question.cells.push_back({&point, 1, 0});
    question.samples.push_back(
        {static_cast<int>(question.cells.size()) - 1, point.init_seed, outcome.items_mem, outcome.items_corr});
  }
  auto answer = Advise(question);
  EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->unfitted, "");
  return *answer;
}

struct Replayed {
  double third = 0;  // width at a third of the seconds, that of the full grid being 1
  double narrow = std::numeric_limits<double>::infinity();  // share from which it stays within 5 % of the full grid's
  double predicted = 0;
  int64_t points = 0, rounds = 0;
};

Replayed Replay(const Case& c, const plan::AdaptiveAnswer& full, double seconds) {
  auto adaptive = plan::Adaptive::Create(Spec(c, seconds / 3));
  EXPECT_TRUE(adaptive.ok()) << adaptive.status();
  plan::Outcomes known;
  Replayed out;
  while (true) {
    const auto plan = (*adaptive)->Plan(known, Advise);
    EXPECT_TRUE(plan.ok()) << plan.status();
    const plan::Finding& found = plan->cells.at(0);
    if (found.predicted.has_value()) {
      const double share = *found.seconds / seconds;
      out.third = (*found.high - *found.low) / (full.high - full.low);
      out.predicted = *found.predicted;
      if (out.third > 1.05) out.narrow = std::numeric_limits<double>::infinity();
      if (out.third <= 1.05 && share < out.narrow) out.narrow = share;
      if (std::getenv("REPLAY_TRACE") != nullptr) {
        std::printf("    %4.1f %%, %3ld points: %.0f (%.0f to %.0f), %.2f\n", 100 * share,
                    static_cast<long>(found.probes), *found.predicted, *found.low, *found.high, out.third);
      }
    }
    out.points = found.probes;
    out.rounds = found.rounds;
    if (plan->complete) {
      EXPECT_EQ(found.reason, "budget used");
      EXPECT_LE(*found.seconds, seconds / 3 * (c.measured_seconds ? 1.2 : 1.001)) << "but for the last round's error";
      return out;
    }
    EXPECT_FALSE(plan->wanted.empty());
    for (const PointSpec& point : plan->wanted) known[PointKey(point)] = OutcomeOf(c, point);
  }
}

Replayed Compare(const Case& c) {
  double seconds = 0;
  const plan::AdaptiveAnswer full = FullGrid(c, seconds);
  const Replayed replayed = Replay(c, full, seconds);
  double held_out = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    held_out += Results().at({c.frozen, 5, c.width, c.seq_len, seed}).items_corr / 3;
  }
  std::printf(
      "%s, width %2ld, seq_len %2ld, %s, %s: measured %.0f; full grid, %.0f s: %.0f (%.0f to %.0f); a third: %.0f, "
      "%.2f "
      "times as wide, %ld points, %ld rounds; within 5 %% from %.0f %% on\n",
      c.frozen ? "frozen" : "trained", static_cast<long>(c.width), static_cast<long>(c.seq_len), c.form.c_str(),
      c.measured_seconds ? "measured seconds" : "cost model", held_out, seconds, full.predicted, full.low, full.high,
      replayed.predicted, replayed.third, static_cast<long>(replayed.points), static_cast<long>(replayed.rounds),
      100 * replayed.narrow);
  std::fflush(stdout);
  return replayed;
}

const std::vector<Case>& Targets() {
  static const auto& targets = *new std::vector<Case>{{true, 64, 32},  {true, 48, 8},   {true, 24, 16}, {true, 16, 4},
                                                      {false, 32, 32}, {false, 24, 16}, {false, 16, 8}};
  return targets;
}

TEST(AdaptiveReplayTest, LogQuadraticByTheCostModel) {
  for (Case c : Targets()) {
    c.form = "log_quadratic";
    EXPECT_LT(Compare(c).third, 1.25);
  }
}

TEST(AdaptiveReplayTest, LogQuadraticByTheSecondsTheRunsTook) {
  for (Case c : Targets()) {
    c.form = "log_quadratic";
    c.measured_seconds = true;
    EXPECT_LT(Compare(c).third, 1.5);
  }
}

TEST(AdaptiveReplayTest, SoftminByTheCostModel) {
  for (Case c : Targets()) {
    c.form = "softmin";
    EXPECT_LT(Compare(c).third, 2.2);
  }
}

}  // namespace
}  // namespace capsweep::service
