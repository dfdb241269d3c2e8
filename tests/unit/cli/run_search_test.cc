// What people see of a search.
#include "cli/run_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cli/progress.h"
#include "cli/status_table.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Answers the one query of SearchText.
class FakeSource : public Source {
 public:
  explicit FakeSource(store::Table table) : table_(std::move(table)) {}
  std::string Name() const override { return "fake"; }
  std::string Flag() const override { return "--db fake"; }
  absl::StatusOr<std::vector<store::SweepProgress>> Sweeps(const std::string&) override { return Unused(); }
  absl::StatusOr<std::vector<core::WorkerView>> Workers() override { return Unused(); }
  absl::StatusOr<store::Table> Query(const std::string&, const store::QueryLimits&) override { return table_; }
  absl::Status Results(const std::string&, const std::string&, const Page&) override { return Unused(); }
  absl::StatusOr<store::Table> Cells(const std::string&) override { return Unused(); }
  absl::StatusOr<std::string> Fit(int64_t) override { return Unused(); }
  absl::StatusOr<int64_t> StoreFit(const std::string&, const std::string&, const std::string&) override {
    return Unused();
  }

 private:
  static absl::Status Unused() { return absl::InternalError("not asked for here"); }
  store::Table table_;
};

store::Table Searches() {
  store::Table table;
  table.columns = {"measure",      "state",        "reason",     "mac",       "mac_unsettled", "mls",      "size",
                   "params_total", "dataset_size", "lr",         "warmup",    "data_seed",     "mode",     "vocab",
                   "seq_len",      "lm_targets",   "family",     "layers",    "heads",         "head_dim", "width",
                   "freeze_mlp",   "mlp_width",    "activation", "positions", "dropout",       "tokens",   "vector_dim",
                   "optimizer",    "schedule",     "loss",       "batch_size"};
  return table;
}

std::vector<store::Cell> Row(const std::string& measure, const std::string& state, const std::string& reason,
                             store::Cell mac, int64_t unsettled, store::Cell mls, store::Cell size, int64_t width) {
  const std::string label = "label";
  return {measure,     state,      reason,     mac,        unsettled, mls,         size,       int64_t{1000},
          int64_t{50}, 0.01,       0.1,        int64_t{1}, label,     int64_t{16}, int64_t{8}, label,
          label,       int64_t{1}, int64_t{2}, int64_t{8}, width,     int64_t{0},  int64_t{0}, label,
          label,       0.0,        label,      int64_t{6}, label,     label,       label,      int64_t{100}};
}

TEST(SearchTextTest, ShowsRatiosBoundsReasonsAndTheCorrelation) {
  store::Table table = Searches();
  table.rows = {Row("mls", "settled", "", 100.0, 0, 90.0, {}, 8), Row("mls", "settled", "", 200.0, 1, 150.0, {}, 16),
                Row("mls", "stopped", "MLS: too small an alphabet", 300.0, 0, 330.0, {}, 32)};
  FakeSource source(table);
  const auto text = SearchText(source, "s");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("heads  width  parameters    MAC  MLS    MLS/MAC"));
  EXPECT_THAT(*text, HasSubstr("~ 200  150       0.75"));
  EXPECT_THAT(*text, HasSubstr("≥ 330      1.1"));
  EXPECT_THAT(*text, HasSubstr("heads 2, width 32: MLS: too small an alphabet"));
  EXPECT_THAT(*text, HasSubstr("correlation of MAC and MLS over 3 architectures: 0.961"));
  EXPECT_THAT(*text, Not(HasSubstr("seq_len"))) << "the same everywhere";
}

TEST(SearchTextTest, MinnetShowsTheLeastNetworkOrNothing) {
  store::Table table = Searches();
  table.rows = {Row("minnet", "settled", "", {}, 0, {}, int64_t{12}, 12),
                Row("minnet", "stopped", "none of 3 trials", {}, 0, {}, {}, 40)};
  FakeSource source(table);
  const auto text = SearchText(source, "s");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("P_min"));
  EXPECT_THAT(*text, HasSubstr("12   1000  0.01     0.1"));
  EXPECT_THAT(*text, HasSubstr("width 40: none of 3 trials"));
  FakeSource none(Searches());
  EXPECT_EQ(*SearchText(none, "s"), "");
}

std::vector<store::Cell> Prediction(const std::string& state, const std::string& reason, bool fitted) {
  std::vector<store::Cell> row = Row("adaptive", state, reason, {}, 0, {}, {}, 8);
  row.insert(row.end(), {std::string("heads 5, width 64, seq_len 32"), int64_t{9}, int64_t{132}, 204.25});
  if (fitted) {
    row.insert(row.end(), {2727.0, 2480.0, 2925.0});
  } else {
    row.insert(row.end(), {store::Cell(), store::Cell(), store::Cell()});
  }
  return row;
}

TEST(SearchTextTest, AdaptiveEndsWithThePredictionItsIntervalAndTheReason) {
  store::Table table = Searches();
  table.columns.insert(table.columns.end(), {"target", "rounds", "probes", "seconds", "predicted", "low", "high"});
  table.rows = {Prediction("stopped", "budget used; search.stop_at 0.05 was not reached", true)};
  FakeSource source(table);
  const auto text = SearchText(source, "s");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(
      *text,
      "Predicted for heads 5, width 64, seq_len 32: 2727 items, 95 % interval 2480 to 2925 (half of it is 8.16 % "
      "of the prediction)\nafter 9 rounds: 132 points, 204 s of training; budget used; search.stop_at 0.05 was not "
      "reached\n");
  table.rows = {Prediction("stopped", "budget used; no prediction: too few rows", false)};
  FakeSource none(table);
  EXPECT_THAT(*SearchText(none, "s"), HasSubstr("Predicted for heads 5, width 64, seq_len 32: nothing"));
}

TEST(SearchTextTest, StatusShowsTheRoundOfAnAdaptiveSweepAndThenWhyItEnded) {
  std::vector<store::Cell> row = {std::string("s"),
                                  std::string("searching"),
                                  std::string(),
                                  std::string("heads 5, width 64, seq_len 32"),
                                  int64_t{3},
                                  int64_t{35},
                                  41.0,
                                  2730.0,
                                  2480.0,
                                  2925.0};
  EXPECT_EQ(AdaptiveProgressText(row),
            "round 4, 35 points, 41 s of training; heads 5, width 64, seq_len 32: 2730 items (2480 to 2925)");
  store::SweepProgress progress{.sweep = "s", .state = "finished", .points = 35, .done = 35};
  progress.architectures = progress.architectures_settled = 1;
  row[1] = std::string("settled");
  row[2] = std::string("budget used");
  EXPECT_THAT(StatusText({progress}, {{"s", AdaptiveProgressText(row)}}), HasSubstr("s: budget used, 35 points, 41 s"));
  ProgressFrame frame{.sweep = "s", .points = 35, .architectures = 1, .search = "round 4, 35 points"};
  EXPECT_THAT(RenderLine(frame), HasSubstr("s: round 4, 35 points, 0 of 35 points done"));
}

TEST(SearchTextTest, CorrelationOfPearson) {
  EXPECT_DOUBLE_EQ(PearsonCorrelation({1, 2, 3}, {10, 20, 30}), 1);
  EXPECT_DOUBLE_EQ(PearsonCorrelation({1, 2, 3}, {3, 2, 1}), -1);
  EXPECT_NEAR(PearsonCorrelation({1, 2, 3, 4}, {2, 1, 4, 3}), 0.6, 1e-12);
  EXPECT_TRUE(std::isnan(PearsonCorrelation({1, 2}, {1, 2})));
  EXPECT_TRUE(std::isnan(PearsonCorrelation({1, 2, 3}, {5, 5, 5})));
}

TEST(SearchTextTest, ProgressCountsArchitecturesAndPromisesNoTime) {
  store::SweepProgress progress{.sweep = "s", .state = "running", .points = 85, .done = 80, .running = 5};
  progress.architectures = 12;
  progress.architectures_settled = 7;
  EXPECT_THAT(StatusText({progress}), HasSubstr("s: searching: 7 of 12 architectures settled, 85 probes\n"));
  ProgressFrame frame{
      .sweep = "s", .points = 85, .done = 80, .running = 5, .architectures = 12, .architectures_settled = 7};
  EXPECT_THAT(RenderLine(frame), HasSubstr("s: searching: 7 of 12 architectures settled, 85 probes, 80 of 85 points"));
  const std::string bar = RenderBar(frame, 120, false, false);
  EXPECT_THAT(bar, HasSubstr("7 of 12 architectures settled"));
  EXPECT_THAT(bar, Not(HasSubstr("ETA")));
}

}  // namespace
}  // namespace capsweep::cli
