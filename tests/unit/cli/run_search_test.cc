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
