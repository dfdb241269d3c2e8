#include "cli/analysis/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "common/text.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ResultRow Row(int64_t id, const std::string& architecture, int64_t params, int64_t dataset_size) {
  ResultRow row;
  row.point_id = id;
  row.architecture = architecture;
  row.family = "xt";
  row.mode = "lm";
  row.stop_reason = "budget";
  row.vocab = 16;
  row.seq_len = 8;
  row.targets = 8;
  row.width = 1024;
  row.budget_steps = 100;
  row.dataset_size = dataset_size;
  row.params_total = row.params_train = params;
  row.heldout_loss = row.neighbour_mean = row.neighbour_median = std::nan("");
  return row;
}

TEST(BitsAnalysisTest, MeansOverSeedsAndTheLargestBudgetCount) {
  std::vector<ResultRow> rows;
  for (int seed = 0; seed < 2; ++seed) {
    ResultRow row = Row(seed, "width 8", 1000, 100);
    row.bits_mem = 900 + 200 * seed;
    rows.push_back(row);
    row.budget_steps = 300;
    row.bits_mem += 500;
    rows.push_back(row);
  }
  const BitsAnalysis analysis = AnalyzeBits(rows);
  ASSERT_EQ(analysis.architectures.size(), 1u);
  const ecm::BitsCapacity& capacity = analysis.architectures[0].second;
  ASSERT_EQ(capacity.cells.size(), 1u);
  EXPECT_DOUBLE_EQ(capacity.cells[0].bits_mem, 1500);
  EXPECT_NEAR(capacity.cells[0].bits_sd, 200 / std::sqrt(2), 1e-9);
  EXPECT_DOUBLE_EQ(capacity.cells[0].library_bits, 100 * 8 * 4);
  EXPECT_EQ(capacity.cells[0].ended_by_budget, 2);
  const auto json = nlohmann::json::parse(BitsJson(analysis));
  EXPECT_DOUBLE_EQ(json[0]["alpha_total"].get<double>(), 1.5);
  EXPECT_TRUE(json[0]["morris_alpha_fp32"].is_null());
  EXPECT_THAT(BitsText(analysis), HasSubstr("width 8"));
}

TEST(BitsAnalysisTest, PrintedFigureStandsOnlyBesideItsOwnSize) {
  ResultRow row = Row(1, "layers 2", 93'000, 100);
  row.family = "gpt2";
  row.layers = 2;
  row.width = 32;
  row.vocab = 2048;
  row.seq_len = 64;
  row.bits_mem = 1000;
  EXPECT_THAT(BitsText(AnalyzeBits({row})), HasSubstr("4.16"));
  row.family = "xt";
  EXPECT_THAT(BitsText(AnalyzeBits({row})), Not(HasSubstr("4.16")));
}

// Sizes whose gap falls below the limit at D = sqrt(params) tokens.
TEST(AssocAnalysisTest, ExponentOfABalancedSweepIsTwo) {
  std::vector<ResultRow> rows;
  std::map<int64_t, std::vector<ecm::LossPair>> curves;
  int64_t id = 0;
  for (const int64_t size : {64, 128, 256, 512}) {
    for (const int64_t items : {4, 8, 16, 32, 64, 128, 256}) {
      ResultRow row = Row(++id, StrCat("params ", size * size), size * size, items);
      row.neighbour_mean = 12.5;
      const bool balanced = items * row.seq_len >= size;
      curves[id] = {{2.8, 2.8}, {balanced ? 2.7 : 1.0, 2.9}};
      rows.push_back(row);
    }
  }
  const AssocAnalysis analysis = AnalyzeAssoc(rows, curves, {});
  ASSERT_EQ(analysis.sizes.size(), 4u);
  EXPECT_EQ(analysis.sizes[1].critical.tokens, 128);
  ASSERT_TRUE(analysis.law.ok()) << analysis.law.status();
  EXPECT_NEAR(analysis.law->exponent, 2, 1e-9);
  const std::string text = AssocText(analysis);
  EXPECT_THAT(text, HasSubstr("params ~ D*^2 "));
  EXPECT_THAT(text, HasSubstr("15.5"));  // 2 sqrt(1024 / (2 pi e))
  const auto json = nlohmann::json::parse(AssocJson(analysis));
  EXPECT_DOUBLE_EQ(json["sizes"][0]["params_per_tokens_squared"].get<double>(), 1.0);
  EXPECT_TRUE(json["sizes"][0]["neighbour_median"].is_null());
}

TEST(AssocAnalysisTest, SizesWithoutABoundAreSaidAndNotFitted) {
  const std::vector<ResultRow> rows = {Row(1, "a", 100, 10), Row(2, "a", 100, 20), Row(3, "b", 200, 10)};
  const AssocAnalysis analysis = AnalyzeAssoc(rows, {{1, {{1, 2}}}, {2, {{1, 2}}}, {3, {{2, 2}}}}, {});
  const std::string text = AssocText(analysis);
  EXPECT_THAT(text, HasSubstr("above 160"));
  EXPECT_THAT(text, HasSubstr("at most 80"));
  EXPECT_THAT(text, HasSubstr("No exponent"));
}

ResultRow Trial(int64_t params, int64_t dataset_size, bool memorized) {
  ResultRow row = Row(0, "", params, dataset_size);
  row.family = "ks";
  row.items_mem = memorized ? dataset_size : dataset_size - 1;
  row.train_loss = memorized ? 0.001 : 0.5;
  return row;
}

TEST(MinnetAnalysisTest, LeastOfThoseThatMemorized) {
  std::vector<ResultRow> rows;
  for (const int64_t items : {100, 200, 400, 800}) {
    rows.push_back(Trial(items, items, true));
    rows.push_back(Trial(items * 2, items, true));
    rows.push_back(Trial(items / 2, items, false));
    rows.push_back(Trial(items * 3, items, false));  // one unlucky trial of a larger one
  }
  rows.push_back(Trial(50, 1600, false));
  const MinnetAnalysis analysis = AnalyzeMinnet(rows);
  ASSERT_EQ(analysis.networks.size(), 5u);
  EXPECT_EQ(analysis.networks[0].params, 100);
  EXPECT_EQ(analysis.networks[0].largest_failed, 50);
  EXPECT_EQ(analysis.networks[4].params, 0);
  ASSERT_EQ(analysis.laws.size(), 1u);
  ASSERT_TRUE(analysis.laws[0].law.ok());
  EXPECT_NEAR(analysis.laws[0].law->exponent, 1, 1e-9);
  EXPECT_EQ(analysis.laws[0].overlays[0].name, "D");
  EXPECT_THAT(MinnetText(analysis), HasSubstr("ks: P_min ~ D^1 "));
  EXPECT_TRUE(nlohmann::json::parse(MinnetJson(analysis))["networks"][4]["params"].is_null());
}

TEST(ResultRowsTest, NamesWhatVaries) {
  store::Table table;
  for (const char* name :
       {"family",        "mode",           "layers",          "heads",        "head_dim",   "width",
        "mlp_width",     "freeze_mlp",     "activation",      "positions",    "dropout",    "seq_len",
        "vocab",         "tokens",         "file_hash",       "optimizer",    "lr",         "schedule",
        "warmup",        "clip_norm",      "momentum",        "loss",         "batch_size", "weight_decay",
        "lm_targets",    "point_id",       "stop_reason",     "dataset_size", "targets",    "budget_steps",
        "budget_epochs", "items_mem",      "params_total",    "params_train", "bits_mem",   "train_loss",
        "heldout_loss",  "neighbour_mean", "neighbour_median"}) {
    table.columns.emplace_back(name);
  }
  std::vector<store::Cell> row(table.columns.size(), store::Cell(int64_t{1}));
  row[0] = std::string("xt");
  row.back() = store::Cell();
  table.rows = {row, row};
  table.rows[1][5] = int64_t{8};
  table.rows[1][7] = int64_t{0};
  const auto rows = ReadResultRows(table);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0].architecture, "width 1, freeze_mlp true");
  EXPECT_EQ((*rows)[1].architecture, "width 8, freeze_mlp false");
  EXPECT_TRUE(std::isnan((*rows)[0].neighbour_median));
  table.columns[0] = "famly";
  EXPECT_FALSE(ReadResultRows(table).ok());
}

}  // namespace
}  // namespace capsweep::cli
