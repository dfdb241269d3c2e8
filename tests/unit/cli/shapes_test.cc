// The stable shapes: status and workers as JSON, rows to measurements, the capacity table and the plot script.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/fit_options.h"
#include "cli/measurements.h"
#include "cli/status_table.h"
#include "cli/summary.h"
#include "cli/workers_table.h"
#include "common/text.h"
#include "nlohmann/json.hpp"

namespace capsweep::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

store::SweepProgress Progress(const std::string& state, double rate, double eta) {
  return {.sweep = "quick",
          .state = state,
          .reason = "",
          .points = 10,
          .done = 4,
          .failed = 1,
          .running = 2,
          .pending = 3,
          .rate_per_second = rate,
          .eta_seconds = eta};
}

TEST(StatusJsonTest, HasTheDocumentedKeysAndNullForWhatIsUnknown) {
  const auto json = nlohmann::json::parse(StatusToJson({Progress("running", 2, 2.5)}).at(0));
  EXPECT_EQ(json, (nlohmann::json{{"sweep", "quick"},
                                  {"state", "running"},
                                  {"points", 10},
                                  {"done", 4},
                                  {"failed", 1},
                                  {"running", 2},
                                  {"pending", 3},
                                  {"rate_per_second", 2.0},
                                  {"eta_seconds", 2.5},
                                  {"reason", ""},
                                  {"architectures", nullptr},
                                  {"architectures_settled", nullptr}}));
  const auto unknown = nlohmann::json::parse(StatusToJson({Progress("running", 0, -1)}).at(0));
  EXPECT_TRUE(unknown["rate_per_second"].is_null());
  EXPECT_TRUE(unknown["eta_seconds"].is_null());
}

TEST(StatusJsonTest, AFinishedSweepHasNeitherRateNorTimeLeft) {
  const auto json = nlohmann::json::parse(StatusToJson({Progress("finished", 3, 0)}).at(0));
  EXPECT_TRUE(json["rate_per_second"].is_null());
  EXPECT_TRUE(json["eta_seconds"].is_null());
}

TEST(WorkersJsonTest, DevicesAreNestedAndSurviveTheWayThroughTheView) {
  store::Table table;
  table.columns = {"worker", "host", "state", "reason", "last_seen_ms", "devices_json"};
  table.rows = {{std::string("node \"7\""), std::string("h"), std::string("quarantined"), std::string("all failed"),
                 Clock::Real().WallMillis() - 5000,
                 std::string(R"([{"device":"cpu:0","kind":"cpu","state":"busy","slots":1,"running":2,)"
                             R"("points_done":17,"reason":""}])")}};
  const auto workers = WorkersFromTable(table);
  ASSERT_TRUE(workers.ok()) << workers.status().message();
  const auto json = nlohmann::json::parse(WorkersToJson(*workers).at(0));
  EXPECT_EQ(json["worker"], "node \"7\"");
  EXPECT_EQ(json["state"], "quarantined");
  EXPECT_EQ(json["reason"], "all failed");
  EXPECT_NEAR(json["last_seen_seconds"].get<double>(), 5, 2);
  EXPECT_EQ(json["devices"], (nlohmann::json::array({{{"device", "cpu:0"},
                                                      {"kind", "cpu"},
                                                      {"state", "busy"},
                                                      {"slots", 1},
                                                      {"running", 2},
                                                      {"points_done", 17},
                                                      {"reason", ""}}})));
}

TEST(WorkersJsonTest, BrokenDevicesAreAnErrorAndNoWorkersAreNone) {
  store::Table table;
  table.columns = {"worker", "host", "state", "reason", "last_seen_ms", "devices_json"};
  EXPECT_TRUE(WorkersFromTable(table)->empty());
  table.rows = {
      {std::string("w"), std::string("h"), std::string("idle"), std::string(), int64_t{1}, std::string("[{")}};
  EXPECT_EQ(WorkersFromTable(table).status().code(), absl::StatusCode::kDataLoss);
}

// Rows of v_results with the columns that fits need.
class MeasurementsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"mode",         "vocab",      "family",       "layers",        "head_dim",    "optimizer",
                             "lr",           "schedule",   "batch_size",   "eval_every",    "patience",    "backend",
                             "heads",        "width",      "seq_len",      "freeze_mlp",    "lm_targets",  "lr_final",
                             "dataset_size", "targets",    "budget_steps", "budget_epochs", "steps",       "init_seed",
                             "items_mem",    "items_corr", "bits_mem",     "params_total",  "params_train"}) {
      table_.columns.emplace_back(name);
    }
  }
  void AddRow(int64_t heads, int64_t head_dim, int64_t width, bool freeze = false) {
    const std::string word = "label";
    table_.rows.push_back({word,
                           int64_t{16},
                           std::string("xt"),
                           int64_t{1},
                           head_dim,
                           std::string("adam"),
                           0.003,
                           std::string("cosine"),
                           int64_t{100},
                           int64_t{10},
                           int64_t{200},
                           std::string("torch"),
                           heads,
                           width,
                           int64_t{8},
                           int64_t{freeze},
                           std::string("determined"),
                           0.02,
                           int64_t{500},
                           int64_t{1},
                           int64_t{3000},
                           int64_t{0},
                           int64_t{2900},
                           int64_t{4},
                           int64_t{120},
                           95.5,
                           400.25,
                           int64_t{1152},
                           int64_t{1000}});
  }
  store::Table table_;
};

TEST_F(MeasurementsTest, GroupHoldsTheRecipeButNotArchitectureLibraryBudgetOrSeed) {
  AddRow(2, 8, 16, true);
  std::vector<ecm::Measurement> out;
  ASSERT_TRUE(AppendMeasurements(table_, out).ok());
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].heads, 2);
  EXPECT_EQ(out[0].items_corr, 95.5);
  EXPECT_EQ(out[0].budget_steps, 3000);
  EXPECT_EQ(out[0].seed, 4U);
  EXPECT_TRUE(out[0].freeze_mlp);
  std::vector<std::string> keys;
  for (const auto& [key, value] : out[0].group) {
    keys.push_back(key);
  }
  EXPECT_THAT(keys, ElementsAre("backend", "batch_size", "eval_every", "family", "freeze_mlp", "head_dim", "layers",
                                "lr", "lr_final", "mode", "optimizer", "patience", "schedule", "vocab"));
  EXPECT_EQ(out[0].group["freeze_mlp"], "true");
  EXPECT_EQ(out[0].group["lr"], "0.003");
}

TEST_F(MeasurementsTest, SplitHeadsAreOneGroupAndFixedHeadsKeepTheirs) {
  AddRow(1, 16, 16);
  AddRow(2, 8, 16);
  std::vector<ecm::Measurement> split;
  ASSERT_TRUE(AppendMeasurements(table_, split).ok());
  MergeSplitHeads(split);
  EXPECT_EQ(split[0].group, split[1].group);
  EXPECT_EQ(split[0].group["head_dim"], "split");

  AddRow(3, 8, 16);  // 3 heads of 8 are not a split of 16
  std::vector<ecm::Measurement> fixed;
  ASSERT_TRUE(AppendMeasurements(table_, fixed).ok());
  MergeSplitHeads(fixed);
  EXPECT_EQ(fixed[0].group["head_dim"], "16");
  EXPECT_EQ(fixed[1].group["head_dim"], "8");
}

TEST_F(MeasurementsTest, AMissingColumnIsNamed) {
  table_.columns[0] = "mood";
  std::vector<ecm::Measurement> out;
  EXPECT_THAT(std::string(AppendMeasurements(table_, out).message()), HasSubstr("mode"));
}

ecm::Row Cell(double heads, double width, double seq_len, double capacity) {
  ecm::Row row;
  row.heads = heads;
  row.width = width;
  row.seq_len = seq_len;
  row.capacity = capacity;
  row.sd = 3;
  row.repeats = 2;
  row.params_total = 1200;
  row.params_train = 1000;
  row.bits_per_item = 4;
  return row;
}

std::vector<ecm::Group> TwoGroups() {
  ecm::Group frozen{{{"freeze_mlp", "true"}, {"mode", "label"}}, {Cell(1, 8, 4, 50), Cell(1, 16, 4, 250)}};
  ecm::Group trained{{{"freeze_mlp", "false"}, {"mode", "label"}}, {Cell(2, 8, 4, 75), Cell(1, 8, 8, 500)}};
  return {frozen, trained};
}

TEST(CapacityTextTest, ShowsMeanSpreadParametersAndBitsPerTrainedParameter) {
  const std::string text = CapacityText(TwoGroups(), 10, "capsweep results");
  EXPECT_THAT(text, HasSubstr("label, frozen MLP"));
  EXPECT_THAT(text, HasSubstr("250 ± 3.0"));
  EXPECT_THAT(text, HasSubstr("1,200"));
  EXPECT_THAT(text, HasSubstr("1.00\n"));  // 250 items of 4 bits in 1000 trained parameters
  EXPECT_THAT(text, Not(HasSubstr("more rows")));
}

TEST(CapacityTextTest, FullLibrariesAndGuessesAreMarkedAndLongTablesCut) {
  auto groups = TwoGroups();
  groups[0].rows[0].at_chance = true;
  groups[0].rows[1].censored = true;
  const std::string text = CapacityText(groups, 10, "");
  EXPECT_THAT(text, HasSubstr("≥ 250"));
  EXPECT_THAT(text, HasSubstr("~ 50.0"));
  EXPECT_THAT(text, HasSubstr("larger dataset_size"));
  EXPECT_THAT(CapacityText(groups, 1, "capsweep results x"), HasSubstr("1 more rows: capsweep results x"));
}

TEST(CapacityTextTest, BudgetsTellTheRowsOfARepeatedCellApart) {
  auto groups = TwoGroups();
  EXPECT_THAT(CapacityText(groups, 10, ""), Not(HasSubstr("steps")));
  ecm::Row longer = Cell(1, 8, 4, 66);
  longer.budget = 9000;
  groups[0].rows[0].budget = groups[0].rows[1].budget = 3000;
  groups[0].rows.push_back(longer);
  const std::string text = CapacityText(groups, 10, "");
  EXPECT_THAT(text, HasSubstr("bits/param  steps"));
  EXPECT_THAT(text, HasSubstr("3,000"));
  EXPECT_LT(text.find("50.0"), text.find("66.0")) << text;  // by budget within the cell
  EXPECT_LT(text.find("66.0"), text.find("250")) << text;
  EXPECT_THAT(text, HasSubstr("9,000"));
}

TEST(GroupTitleTest, ShortTitleNamesOnlyWhatDiffers) {
  const auto groups = TwoGroups();
  EXPECT_EQ(ShortGroupTitle(groups[0].key, groups), "frozen MLP");
  EXPECT_EQ(ShortGroupTitle(groups[1].key, groups), "trained MLP");
  EXPECT_EQ(ShortGroupTitle(groups[0].key, {groups[0]}), "");
}

TEST(FitOptionsTest, HoldoutWordsBecomeSettings) {
  FitOptions options;
  EXPECT_EQ(ToSettings(options)->holdout_field, "heads");
  EXPECT_EQ(ToSettings(options)->holdout_value, 0);
  options.holdout = "width=64";
  EXPECT_EQ(ToSettings(options)->holdout_field, "width");
  EXPECT_EQ(ToSettings(options)->holdout_value, 64);
  options.holdout = "none";
  EXPECT_EQ(ToSettings(options)->holdout_field, "");
  options.form = "softmin";
  EXPECT_THAT(ToSettings(options)->forms, ElementsAre("softmin"));
  for (const char* bad : {"heads=", "heads=-3", "lr=2", "", "heads=5x"}) {
    options.holdout = bad;
    EXPECT_EQ(ToSettings(options).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_TRUE(nlohmann::json::accept(SettingsToJson(options)));
}

}  // namespace
}  // namespace capsweep::cli
