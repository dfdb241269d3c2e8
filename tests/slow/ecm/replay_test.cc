// Does `suggest` save training? The measured sweep sweeps/ecm-small.yaml is played again: from a few cells on, suggest
// picks the next among the measured repeats, the form is fitted again, and the bootstrap interval of a held-out
// prediction is compared with that of the full grid. ecm-small.csv holds every measured point of that sweep on the cpu
// back end; cost_seconds is the cost model's estimate. Prints the figures of docs/science.md.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
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
    if (v.size() != 12 || (v[0] != 0) != freeze_mlp) continue;
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
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.starts = 64;
  settings.threads = 2;
  Outcome out;
  out.fit = FitGroups(groups, settings).groups.at(0);
  if (!out.fit.error.empty()) return out;
  for (const PredictedRow& point : out.fit.points) {
    if (point.used) out.rows.push_back(point.row);
  }
  std::vector<double> sample;
  for (const auto& draw : out.fit.draws) {
    sample.push_back(Predict("min", draw, target.heads, target.width, target.seq_len));
  }
  out.low = Quantile(sample, 0.025);
  out.high = Quantile(sample, 0.975);
  out.predicted = Predict("min", out.fit.forms.at("min").parameters, target.heads, target.width, target.seq_len);
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

struct Replay {
  double share = 1;      // of the full grid's seconds when the interval was as narrow and stayed so twice more
  double predicted = 0;  // then
  double low = 0, high = 0;
  int points = 0;
};

enum class Order { kSuggest, kRandom };

// From one repeat of every cell in `seed_widths` × heads 1, 2, 4 × seq_len 4, 32 on.
Replay Play(const std::vector<Measured>& all, const Target& target, double goal, Order order, uint64_t seed) {
  Pool pool(all);
  std::vector<Measured> design;
  for (const SuggestCell& cell : pool.Cells()) {
    const bool corner = (cell.heads == 1 || cell.heads == 2 || cell.heads == 4) &&
                        (cell.seq_len == 4 || cell.seq_len == 32) &&
                        (cell.width == 8 || cell.width == 16 || cell.width == 32);
    if (corner) pool.Take({cell.heads, cell.width, cell.seq_len}, design);
  }
  Random random(seed, 0x4e);
  const double full = Seconds(all);
  constexpr int kBatch = 6;
  std::vector<std::pair<double, Outcome>> trace;
  int narrow = 0;
  while (true) {
    trace.emplace_back(Seconds(design) / full, FitTo(design, target));
    const Outcome& now = trace.back().second;
    narrow = now.fit.error.empty() && now.width() <= goal ? narrow + 1 : 0;
    if (std::getenv("REPLAY_TRACE") != nullptr) {
      std::printf("    %5.1f %% of the seconds, %3zu points: %.0f [%.0f, %.0f]\n", 100 * trace.back().first,
                  design.size(), now.predicted, now.low, now.high);
    }
    if (narrow == 3 || pool.empty()) break;
    const std::vector<SuggestCell> cells = pool.Cells();
    if (order == Order::kSuggest) {
      SuggestRequest request{.heads = target.heads, .width = target.width, .seq_len = target.seq_len};
      request.points = kBatch;
      const auto plan = Suggest(now.fit, now.rows, cells, request);
      EXPECT_TRUE(plan.ok()) << plan.status();
      if (!plan.ok() || plan->order.empty()) break;
      for (const Suggestion& step : plan->order) {
        const SuggestCell& cell = cells[step.cell];
        pool.Take({cell.heads, cell.width, cell.seq_len}, design);
      }
    } else {
      for (int i = 0; i < kBatch && !pool.empty(); ++i) {
        const std::vector<SuggestCell> left = pool.Cells();
        const SuggestCell& cell = left[random.Below(static_cast<int>(left.size()))];
        pool.Take({cell.heads, cell.width, cell.seq_len}, design);
      }
    }
  }
  Replay out;
  const size_t first = narrow == 3 ? trace.size() - 3 : trace.size() - 1;
  out.share = narrow == 3 ? trace[first].first : 1;
  out.predicted = trace[first].second.predicted;
  out.low = trace[first].second.low;
  out.high = trace[first].second.high;
  return out;
}

void Compare(bool freeze_mlp, const Target& target) {
  std::vector<Measured> all, held_out;
  for (const Measured& m : ReadSweep(freeze_mlp)) {
    (static_cast<double>(m.point.heads) < target.heads ? all : held_out).push_back(m);
  }
  ASSERT_GT(all.size(), 200u);
  double measured = 0;
  int repeats = 0;
  for (const Measured& m : held_out) {
    if (CellOf(m.point) != Cell{target.heads, target.width, target.seq_len}) continue;
    measured += m.point.items_corr;
    ++repeats;
  }
  ASSERT_GT(repeats, 0);
  const Outcome full = FitTo(all, target);
  ASSERT_TRUE(full.fit.error.empty()) << full.fit.error;
  std::printf(
      "%s MLP, heads %g, width %g, seq_len %g: measured %.0f; full grid (%zu points, %.0f s): %.0f [%.0f, %.0f]\n",
      freeze_mlp ? "frozen" : "trainable", target.heads, target.width, target.seq_len, measured / repeats, all.size(),
      Seconds(all), full.predicted, full.low, full.high);
  const Replay suggested = Play(all, target, full.width(), Order::kSuggest, 1);
  std::printf("  suggest: as narrow at %.0f %% of the seconds: %.0f [%.0f, %.0f]\n", 100 * suggested.share,
              suggested.predicted, suggested.low, suggested.high);
  double random_share = 0;
  constexpr int kRandomRuns = 3;
  for (int run = 1; run <= kRandomRuns; ++run) {
    random_share += Play(all, target, full.width(), Order::kRandom, run).share / kRandomRuns;
  }
  std::printf("  at random: %.0f %% on average of %d\n", 100 * random_share, kRandomRuns);
  EXPECT_LT(suggested.share, 1) << "the full grid was needed";
}

TEST(ReplayTest, Frozen_HeldOutHeadsAtTheLargestWidth) {
  Compare(true, {5, 64, 32});
}
TEST(ReplayTest, Frozen_HeldOutHeadsAtAMiddleWidth) {
  Compare(true, {5, 24, 16});
}
TEST(ReplayTest, Trainable_HeldOutHeadsAtTheLargestWidth) {
  Compare(false, {5, 32, 32});
}

}  // namespace
}  // namespace capsweep::ecm
