#include "cli/analysis/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/analysis/rows.h"
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
  EXPECT_THAT(MinnetText(analysis), HasSubstr("difference to the best in brackets: 1 D (0)"));
  EXPECT_TRUE(analysis.lengths.empty());
  EXPECT_TRUE(nlohmann::json::parse(MinnetJson(analysis))["networks"][4]["params"].is_null());
}

// The random data of Kajitsuka and Sato: one library size, several lengths.
TEST(MinnetAnalysisTest, LengthsAreComparedWithTheShortest) {
  std::vector<ResultRow> rows;
  for (const auto& [length, layers] : {std::pair<int64_t, int64_t>{10, 4}, {100, 5}, {1000, 8}}) {
    ResultRow row = Trial(100 * layers, 500, true);
    row.seq_len = length;
    row.layers = layers;
    rows.push_back(row);
  }
  rows.push_back(Trial(300, 500, false));
  rows.back().seq_len = 10'000;  // none memorized: not compared
  const MinnetAnalysis analysis = AnalyzeMinnet(rows);
  ASSERT_EQ(analysis.lengths.size(), 3u);
  EXPECT_TRUE(analysis.lengths[1].alike);  // one block more
  EXPECT_FALSE(analysis.lengths[2].alike);
  EXPECT_EQ(analysis.lengths[2].shortest.seq_len, 10);
  const std::string text = MinnetText(analysis);
  EXPECT_THAT(text, HasSubstr("at seq_len 100 500 parameters (5 layers), at seq_len 10 400 (4): alike"));
  EXPECT_THAT(text, HasSubstr("no slope: three library sizes or more are needed, there are 1"));
  EXPECT_EQ(nlohmann::json::parse(MinnetJson(analysis))["lengths"][2]["alike"], false);
}

ResultRow FamilyRow(const std::string& family, int64_t length, int64_t params, double items, int64_t library = 1000) {
  ResultRow row = Row(0, "", params, library);
  row.family = family;
  row.mode = "label";
  row.seq_len = length;
  row.items_corr = items;
  row.items_mem = static_cast<int64_t>(items);
  return row;
}

TEST(FamiliesAnalysisTest, MeansAtEachLengthAndWhetherSizesAreEqual) {
  std::vector<ResultRow> rows;
  for (const double off : {-10.0, 10.0}) {
    rows.push_back(FamilyRow("xt", 4, 5000, 400 + off));
    rows.push_back(FamilyRow("mlp", 4, 5100, 600 + off));
    rows.push_back(FamilyRow("xt", 8, 5000, 500 + off));
    rows.push_back(FamilyRow("xt", 8, 5000, 200 + off, 9000));  // of two libraries the one that gives more counts
    rows.push_back(FamilyRow("mlp", 8, 5200, 300 + off));
  }
  const FamiliesAnalysis analysis = AnalyzeFamilies(rows);
  ASSERT_EQ(analysis.cells.size(), 4u);
  EXPECT_THAT(analysis.families, ::testing::ElementsAre("mlp", "xt"));
  EXPECT_EQ(analysis.cells[3].family, "xt");
  EXPECT_EQ(analysis.cells[3].dataset_size, 1000);
  EXPECT_DOUBLE_EQ(analysis.cells[3].capacity, 500);
  EXPECT_NEAR(analysis.cells[3].capacity_sd, std::sqrt(200), 1e-9);
  EXPECT_NEAR(analysis.cells[3].error, 0.5, 1e-12);
  EXPECT_NEAR(analysis.largest_ratio, 1.04, 1e-12);
  EXPECT_THAT(FamiliesText(analysis), HasSubstr("agree within 4 %"));
  EXPECT_EQ(nlohmann::json::parse(FamiliesJson(analysis))["cells"].size(), 4u);
  rows.push_back(FamilyRow("mlp", 16, 5000, 300));
  rows.push_back(FamilyRow("xt", 16, 9000, 1000));
  const FamiliesAnalysis uneven = AnalyzeFamilies(rows);
  EXPECT_TRUE(uneven.cells.back().full);
  EXPECT_THAT(FamiliesText(uneven), HasSubstr("factor of 1.8: read this as no comparison"));
  EXPECT_TRUE(nlohmann::json::parse(FamiliesJson(uneven))["cells"][5]["capacity_sd"].is_null());
}

AdaptiveAnalysis TwoRounds() {
  AdaptiveAnalysis analysis{.target = "heads 4, width 24, seq_len 8", .budget = 20, .stop_at = 0.05};
  analysis.rounds = {{.spent = 6, .points = 6, .cells = 5, .unfitted = "two lengths are missing"},
                     {.spent = 10, .points = 9, .cells = 6, .predicted = 1000, .low = 800, .high = 1200},
                     {.spent = 20, .points = 19, .cells = 8, .predicted = 1100, .low = 1045, .high = 1155}};
  analysis.cells = {{1, 8, 8, 2, 0}, {2, 8, 8, 0, 3}, {3, 8, 8, 0, 0}};
  return analysis;
}

TEST(AdaptiveAnalysisTest, SaysHowTheIntervalShrankAndWhatItTook) {
  AdaptiveAnalysis analysis = TwoRounds();
  analysis.why_ended = "budget used";
  const AnalysisView view = AdaptiveView(analysis);
  ASSERT_EQ(view.rows.size(), 3U);
  EXPECT_EQ(view.rows[0][4], "no fit");
  EXPECT_EQ(view.rows[2].back(), "5.0 %");
  const std::string text = AdaptiveText(analysis);
  EXPECT_THAT(text, HasSubstr("1100 items, 95 % interval 1045 to 1155"));
  std::string findings;
  for (const std::string& sentence : view.findings) findings += sentence + "\n";
  EXPECT_THAT(findings, HasSubstr("The first prediction, after 10 points, was 1000 items, 20.0 % to either side; the "
                                  "rounds since took 10 points."));
  EXPECT_THAT(findings, HasSubstr("Spent: 20 points of 20 points, on 2 of the grid's 3 cells."));
  EXPECT_THAT(findings, HasSubstr("It ended: budget used."));
  const auto json = nlohmann::json::parse(AdaptiveJson(analysis));
  EXPECT_EQ(json["rounds"][0]["unfitted"], "two lengths are missing");
  EXPECT_FALSE(json["rounds"][0].contains("predicted"));
  EXPECT_EQ(json["cells"].size(), 2U);
  EXPECT_THAT(AdaptiveText({.target = "it", .budget = 3}), HasSubstr("The first round is not measured yet"));
}

TEST(TopicsTest, WhatASweepHoldsDecides) {
  using ::testing::ElementsAre;
  const std::vector<ResultRow> one = {FamilyRow("xt", 8, 100, 10)};
  EXPECT_THAT(TopicsOf("grid", one, 1), ElementsAre(Topic::kCapacity));  // never nothing
  EXPECT_THAT(TopicsOf("minnet", one, 9), ElementsAre(Topic::kMinnet));
  EXPECT_THAT(TopicsOf("adaptive", one, 1), ElementsAre(Topic::kAdaptive, Topic::kCapacity));
  std::vector<ResultRow> rows = one;
  rows.push_back(FamilyRow("mlp", 8, 100, 10));
  EXPECT_THAT(TopicsOf("grid", rows, 1), ElementsAre(Topic::kFamilies));
  EXPECT_THAT(TopicsOf("grid", rows, 3), ElementsAre(Topic::kCapacity, Topic::kFamilies));
  rows = {FamilyRow("xt", 8, 100, 10, 100), FamilyRow("xt", 8, 100, 10, 200), FamilyRow("xt", 8, 100, 10, 400)};
  EXPECT_THAT(TopicsOf("grid", rows, 2), ElementsAre(Topic::kBits));
  EXPECT_THAT(TopicsOf("mls", rows, 2), ElementsAre(Topic::kCapacity, Topic::kBits));
  rows[0].heldout_loss = 2.5;
  EXPECT_THAT(TopicsOf("grid", rows, 2), ElementsAre(Topic::kBits));  // labels never shown cannot be known
  rows[0].mode = "lm";
  EXPECT_THAT(TopicsOf("assoc", rows, 9), ElementsAre(Topic::kAssoc, Topic::kBits));
}

TEST(ResultRowsTest, NamesWhatVaries) {
  store::Table table;
  for (const char* name : {"family",        "mode",        "layers",       "heads",          "head_dim",
                           "width",         "mlp_width",   "freeze_mlp",   "activation",     "positions",
                           "dropout",       "seq_len",     "vocab",        "tokens",         "file_hash",
                           "optimizer",     "lr",          "schedule",     "warmup",         "clip_norm",
                           "momentum",      "loss",        "batch_size",   "weight_decay",   "lm_targets",
                           "point_id",      "stop_reason", "dataset_size", "targets",        "budget_steps",
                           "budget_epochs", "items_mem",   "items_corr",   "params_total",   "params_train",
                           "bits_mem",      "train_loss",  "heldout_loss", "neighbour_mean", "neighbour_median"}) {
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
  store::Table split = table;  // heads 1, width = head_dim: it need not be said
  split.rows[1][4] = int64_t{8};
  EXPECT_EQ((*ReadResultRows(split))[1].architecture, "width 8, freeze_mlp false");
  split.rows[1][4] = int64_t{4};
  EXPECT_EQ((*ReadResultRows(split))[1].architecture, "head_dim 4, width 8, freeze_mlp false");
  split.rows[1][0] = std::string("mlp");
  EXPECT_EQ((*ReadResultRows(split))[1].variant, "head_dim 4, width 8, freeze_mlp false");
  table.columns[0] = "famly";
  EXPECT_FALSE(ReadResultRows(table).ok());
}

}  // namespace
}  // namespace capsweep::cli
