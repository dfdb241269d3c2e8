// Does `suggest` save training? The measured sweep sweeps/ecm-small.yaml is played again: from a few cells on, suggest
// picks the next among the measured repeats, the form is fitted again, and the bootstrap interval of a held-out
// prediction is compared with that of the full grid. ecm-small.csv holds every measured point of that sweep on the cpu
// back end; cost_seconds is the cost model's estimate, seconds what it took. Prints the figures of docs/science.md.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "ecm/random.h"
#include "ecm/report.h"
#include "ecm/statistics.h"
#include "ecm/suggest.h"

namespace capsweep::ecm {
namespace {

using Cell = std::tuple<double, double, double>;  // heads, width, seq_len

struct Measured {
  Measurement point;
  double seconds = 0;
};

// Columns: freeze_mlp,heads,width,seq_len,seed,dataset_size,steps,items_mem,items_corr,params_total,params_train,
// cost_seconds.
std::vector<Measured> ReadSweep(bool freeze_mlp) {
  std::ifstream file(std::string(CAPSWEEP_SOURCE_DIR) + "/tests/slow/ecm/ecm-small.csv");
  std::vector<Measured> out;
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::vector<double> v;
    std::stringstream fields(line);
    for (std::string field; std::getline(fields, field, ',');) v.push_back(std::stod(field));
    if (v.size() != 13 || (v[0] != 0) != freeze_mlp) continue;
    Measured m;
    m.point.group = {{"freeze_mlp", freeze_mlp ? "true" : "false"}};
    m.point.freeze_mlp = freeze_mlp;
    m.point.heads = static_cast<int64_t>(v[1]);
    m.point.width = static_cast<int64_t>(v[2]);
    m.point.seq_len = static_cast<int64_t>(v[3]);
    m.point.head_dim = 8;
    m.point.vocab = 16;
    m.point.seed = static_cast<uint64_t>(v[4]);
    m.point.dataset_size = static_cast<int64_t>(v[5]);
    m.point.budget_steps = m.point.steps = static_cast<int64_t>(v[6]);
    m.point.items_mem = static_cast<int64_t>(v[7]);
    m.point.items_corr = v[8];
    m.point.params_total = static_cast<int64_t>(v[9]);
    m.point.params_train = static_cast<int64_t>(v[10]);
    m.seconds = v[11];
    out.push_back(m);
  }
  return out;
}

Cell CellOf(const Measurement& m) {
  return {static_cast<double>(m.heads), static_cast<double>(m.width), static_cast<double>(m.seq_len)};
}

constexpr char kForm[] = "softmin";  // min without its corner, where bootstrap draws jump between two optima
constexpr double kAsNarrow = 1.05;   // of the full grid's width: 200 draws tell widths no better
constexpr uint64_t kRandomRuns = 2;
constexpr double kMostShare = 0.5;    // of the full grid's seconds that a replay spends
constexpr double kBatchShare = 0.04;  // of the full grid's seconds

struct Target {
  double heads, width, seq_len;
};

struct Outcome {
  GroupFit fit;
  std::vector<Row> rows;
  double low = 0, high = 0, predicted = 0;
  double width() const { return high - low; }
};

Outcome FitTo(const std::vector<Measured>& points, const Target& target) {
  std::vector<Measurement> measurements;
  for (const Measured& m : points) measurements.push_back(m.point);
  const std::vector<Group> groups = BuildGroups(measurements);
  FitSettings settings;
  settings.forms = {kForm};
  settings.holdout_field = "";
  settings.starts = 64;
  settings.bootstrap = 200;
  settings.threads = 2;
  Outcome out;
  out.fit = FitGroups(groups, settings).groups.at(0);
  if (!out.fit.error.empty()) return out;
  for (const PredictedRow& point : out.fit.points) {
    if (point.used) out.rows.push_back(point.row);
  }
  std::vector<double> sample;
  for (const auto& draw : out.fit.draws) {
    sample.push_back(Predict(kForm, draw, target.heads, target.width, target.seq_len));
  }
  out.low = Quantile(sample, 0.025);
  out.high = Quantile(sample, 0.975);
  out.predicted = Predict(kForm, out.fit.forms.at(kForm).parameters, target.heads, target.width, target.seq_len);
  return out;
}

double Seconds(const std::vector<Measured>& points) {
  double sum = 0;
  for (const Measured& m : points) sum += m.seconds;
  return sum;
}

// The measured repeats that are not in the design yet, a list per cell.
class Pool {
 public:
  explicit Pool(const std::vector<Measured>& points) {
    for (const Measured& m : points) left_[CellOf(m.point)].push_back(m);
  }
  std::vector<SuggestCell> Cells() const {
    std::vector<SuggestCell> cells;
    for (const auto& [cell, points] : left_) {
      if (points.empty()) continue;
      cells.push_back({.heads = std::get<0>(cell),
                       .width = std::get<1>(cell),
                       .seq_len = std::get<2>(cell),
                       .seconds = points.back().seconds,
                       .most_repeats = static_cast<int>(points.size())});
    }
    return cells;
  }
  void Take(const Cell& cell, std::vector<Measured>& design) {
    auto& points = left_[cell];
    ASSERT_FALSE(points.empty());
    design.push_back(points.back());
    points.pop_back();
  }
  bool empty() const { return Cells().empty(); }

 private:
  std::map<Cell, std::vector<Measured>> left_;
};

// When a bootstrap interval was as narrow as the full grid's for the first of three batches in a row, and when it also
// held what the full grid predicts: a narrow interval around another number saves nothing. Shares of the full grid's
// seconds; infinite = not within kMostShare.
struct Replay {
  double narrow = std::numeric_limits<double>::infinity(), agrees = std::numeric_limits<double>::infinity();
  double third = 0;  // width over that of the full grid at a third of the seconds
  bool third_agrees = false;
};

enum class Order { kSuggest, kRandom };

// The first design: one repeat of heads 1, 2, 4 × seq_len 4, 32 × width 8, 16, 32, which costs little.
void TakeCorner(Pool& pool, std::vector<Measured>& design) {
  for (const SuggestCell& cell : pool.Cells()) {
    const bool corner = (cell.heads == 1 || cell.heads == 2 || cell.heads == 4) &&
                        (cell.seq_len == 4 || cell.seq_len == 32) &&
                        (cell.width == 8 || cell.width == 16 || cell.width == 32);
    if (corner) pool.Take({cell.heads, cell.width, cell.seq_len}, design);
  }
}

// Adds measured repeats worth about `seconds`.
void AddBatch(Pool& pool, std::vector<Measured>& design, const Outcome& now, const Target& target, double seconds,
              Order order, Random& random) {
  if (order == Order::kRandom) {
    const double until = Seconds(design) + seconds;
    while (!pool.empty() && Seconds(design) < until) {
      const std::vector<SuggestCell> left = pool.Cells();
      const SuggestCell& cell = left[random.Below(static_cast<int>(left.size()))];
      pool.Take({cell.heads, cell.width, cell.seq_len}, design);
    }
    return;
  }
  SuggestRequest request{.heads = target.heads, .width = target.width, .seq_len = target.seq_len};
  request.points = 1000;
  request.seconds = seconds;
  const std::vector<SuggestCell> cells = pool.Cells();
  if (cells.empty()) return;
  const auto plan = Suggest(now.fit, now.rows, cells, request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (const Suggestion& step : plan->order) {
    const SuggestCell& cell = cells[step.cell];
    pool.Take({cell.heads, cell.width, cell.seq_len}, design);
  }
}

Replay Play(const std::vector<Measured>& all, const Target& target, const Outcome& full, Order order, uint64_t seed) {
  Pool pool(all);
  std::vector<Measured> design;
  TakeCorner(pool, design);
  Random random(seed, 0x4e);
  const double seconds = Seconds(all);
  std::vector<Outcome> trace;
  std::vector<double> shares;
  Replay out;
  int narrow = 0, agrees = 0;
  while (agrees < 3 || shares.back() < 1.0 / 3) {
    trace.push_back(FitTo(design, target));
    shares.push_back(Seconds(design) / seconds);
    const Outcome& now = trace.back();
    const bool is_narrow = now.fit.error.empty() && now.width() <= kAsNarrow * full.width();
    narrow = is_narrow ? narrow + 1 : 0;
    agrees = is_narrow && now.low <= full.predicted && full.predicted <= now.high ? agrees + 1 : 0;
    if (std::getenv("REPLAY_TRACE") != nullptr) {
      std::printf("    %s %5.1f %% of the seconds, %3zu points: %.0f [%.0f, %.0f]\n",
                  order == Order::kSuggest ? "suggest" : "random ", 100 * shares.back(), design.size(), now.predicted,
                  now.low, now.high);
    }
    const size_t first = trace.size() >= 3 ? trace.size() - 3 : 0;
    if (narrow >= 3 && std::isinf(out.narrow)) out.narrow = shares[first];
    if (shares.back() < 1.0 / 3) {
      out.third = now.width() / full.width();
      out.third_agrees = now.low <= full.predicted && full.predicted <= now.high;
    }
    if (agrees >= 3 && std::isinf(out.agrees)) out.agrees = shares[first];
    if (shares.back() >= kMostShare) break;
    const size_t before = design.size();
    AddBatch(pool, design, now, target, kBatchShare * seconds, order, random);
    if (design.size() == before) break;
  }
  return out;
}

void Print(const char* name, const Replay& replay) {
  std::printf(
      "  %s: as narrow (within 5 %%) at %.0f %% of the seconds, and around the full grid's prediction at %.0f %%; at a "
      "third of them %.2f times as wide, %s it\n",
      name, 100 * replay.narrow, 100 * replay.agrees, replay.third, replay.third_agrees ? "around" : "not around");
  std::fflush(stdout);
}

// The sweep with capacities that follow the form fitted to it, scattered by their root and 2 %.
std::vector<Measured> FollowTheForm(std::vector<Measured> points, const Target& target) {
  const Outcome fit = FitTo(points, target);
  Random random(1, 0x5ca7);
  for (Measured& m : points) {
    const double c = Predict(kForm, fit.fit.forms.at(kForm).parameters, static_cast<double>(m.point.heads),
                             static_cast<double>(m.point.width), static_cast<double>(m.point.seq_len));
    double normal = -6;
    for (int i = 0; i < 12; ++i) normal += random.Uniform();
    m.point.items_corr = c + normal * std::sqrt(c + 0.0004 * c * c);
  }
  return points;
}

void Compare(const std::vector<Measured>& sweep, const char* name, const Target& target, double widest) {
  std::vector<Measured> all;
  double measured = 0;
  int repeats = 0;
  for (const Measured& m : sweep) {
    if (static_cast<double>(m.point.heads) < target.heads) all.push_back(m);
    if (CellOf(m.point) != Cell{target.heads, target.width, target.seq_len}) continue;
    measured += m.point.items_corr;
    ++repeats;
  }
  ASSERT_GT(all.size(), 100u);
  ASSERT_GT(repeats, 0);
  const Outcome full = FitTo(all, target);
  ASSERT_TRUE(full.fit.error.empty()) << full.fit.error;
  std::printf("%s, heads %g, width %g, seq_len %g: measured %.0f; full grid (%zu points, %.0f s): %.0f [%.0f, %.0f]\n",
              name, target.heads, target.width, target.seq_len, measured / repeats, all.size(), Seconds(all),
              full.predicted, full.low, full.high);
  const Replay suggested = Play(all, target, full, Order::kSuggest, 1);
  Print("suggest  ", suggested);
  for (uint64_t seed = 1; seed <= kRandomRuns; ++seed)
    Print("at random", Play(all, target, full, Order::kRandom, seed));
  // What docs/science.md says.
  EXPECT_LT(suggested.third, widest);
  EXPECT_TRUE(suggested.third_agrees);
}

TEST(ReplayTest, Frozen_HeldOutHeadsAtTheLargestWidth) {
  Compare(ReadSweep(true), "frozen MLP", {5, 64, 32}, 1.5);
}
TEST(ReplayTest, Frozen_HeldOutHeadsAtAMiddleWidth) {
  Compare(ReadSweep(true), "frozen MLP", {5, 24, 16}, 1.5);
}
TEST(ReplayTest, Trainable_HeldOutHeadsAtTheLargestWidth) {
  Compare(ReadSweep(false), "trained MLP", {5, 32, 32}, 2.2);
}
TEST(ReplayTest, DataOfTheFormItself) {
  Compare(FollowTheForm(ReadSweep(true), {5, 64, 32}), "data of the form", {5, 64, 32}, 1.5);
}

}  // namespace
}  // namespace capsweep::ecm
