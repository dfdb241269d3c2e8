// From results and CSV files to rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ecm/capacity.h"

namespace capsweep::ecm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Measurement Make(int64_t heads, int64_t width, uint64_t seed, int64_t items, int64_t library = 3000) {
  Measurement m;
  m.group = {{"freeze_mlp", "false"}};
  m.heads = heads;
  m.width = width;
  m.seq_len = 8;
  m.head_dim = 8;
  m.vocab = 16;
  m.dataset_size = library;
  m.budget_steps = 3000;
  m.steps = 3000;
  m.seed = seed;
  m.items_mem = items;
  m.items_corr = (static_cast<double>(items) - static_cast<double>(library) / 16) / (15.0 / 16);
  m.bits_mem = 4.0 * static_cast<double>(items);
  m.params_total = 1408;
  m.params_train = 1408;
  return m;
}

TEST(BuildGroupsTest, Repeats_AreAveragedWithTheirSpread) {
  const auto groups = BuildGroups({Make(2, 8, 1, 519), Make(2, 8, 2, 590), Make(2, 8, 3, 582)}, CapacityKind::kItems);
  ASSERT_EQ(groups.size(), 1u);
  ASSERT_EQ(groups[0].rows.size(), 1u);
  const Row& row = groups[0].rows[0];
  EXPECT_NEAR(row.capacity, 563.667, 1e-3);
  EXPECT_NEAR(row.sd, 38.889, 1e-3);
  EXPECT_EQ(row.repeats, 3);
  EXPECT_THAT(row.values, ElementsAre(519, 590, 582));
  EXPECT_EQ(row.chance, 3000.0 / 16);
}

TEST(BuildGroupsTest, CapacityKinds_CorrectForChanceAsNamed) {
  const std::vector<Measurement> one = {Make(2, 8, 1, 519)};
  EXPECT_NEAR(BuildGroups(one, CapacityKind::kItemsCorr)[0].rows[0].capacity, (519 - 187.5) / 0.9375, 1e-9);
  EXPECT_EQ(BuildGroups(one, CapacityKind::kItems)[0].rows[0].capacity, 519);
  EXPECT_EQ(BuildGroups(one, CapacityKind::kBits)[0].rows[0].capacity, 519);
}

TEST(BuildGroupsTest, SeveralLibrarySizes_TheLargestMeanStands) {
  const auto rows = BuildGroups({Make(2, 8, 1, 500, 1500), Make(2, 8, 1, 640, 3000), Make(2, 8, 1, 600, 6000)},
                                CapacityKind::kItems)[0]
                        .rows;
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].capacity, 640);
  EXPECT_EQ(rows[0].dataset_size, 3000);
}

TEST(BuildGroupsTest, FullInAllRepeats_IsCensoredInOneIsNot) {
  EXPECT_TRUE(BuildGroups({Make(2, 8, 1, 2900), Make(2, 8, 2, 2860)})[0].rows[0].censored);
  EXPECT_FALSE(BuildGroups({Make(2, 8, 1, 2900), Make(2, 8, 2, 2700)})[0].rows[0].censored);
}

TEST(BuildGroupsTest, WithinThreeSdOfGuessing_IsAtChance) {
  EXPECT_TRUE(BuildGroups({Make(2, 4, 1, 227)})[0].rows[0].at_chance);  // 187.5 + 3 · 13.26 = 227.3
  EXPECT_FALSE(BuildGroups({Make(2, 4, 1, 228)})[0].rows[0].at_chance);
}

TEST(BuildGroupsTest, BudgetsAndGroups_StayApart) {
  Measurement longer = Make(2, 8, 1, 700);
  longer.budget_steps = 9000;
  Measurement frozen = Make(2, 8, 1, 400);
  frozen.group = {{"freeze_mlp", "true"}};
  const auto groups = BuildGroups({longer, Make(2, 8, 1, 519), frozen});
  ASSERT_EQ(groups.size(), 2u);
  ASSERT_EQ(groups[0].rows.size(), 2u);
  EXPECT_EQ(groups[0].rows[0].budget_steps, 3000);
  EXPECT_EQ(groups[0].rows[1].budget_steps, 9000);
}

TEST(BuildGroupsTest, ParameterParts_AddUpToTheCount) {
  const Row row = BuildGroups({Make(2, 8, 1, 519)})[0].rows[0];
  double sum = 0;
  for (const double part : row.params_parts) sum += part;
  EXPECT_EQ(sum + 3 * 8, 1408);  // the three LayerNorm gains belong to no part
}

TEST(CsvTest, BomCrlfQuotesBlankLinesAndOrder_AreFine) {
  const auto group = ReadCapacityCsv(
      "\xEF\xBB\xBF\"width\", capacity ,heads,seq_len\r\n8,120.5,1,4\r\n\r\n \"16\" ,+2.5e2,2,8\r\n", "m.csv");
  ASSERT_TRUE(group.ok()) << group.status();
  ASSERT_EQ(group->rows.size(), 2u);
  EXPECT_EQ(group->rows[0].capacity, 120.5);
  EXPECT_EQ(group->rows[1].width, 16);
  EXPECT_EQ(group->rows[1].capacity, 250);
  EXPECT_LT(group->rows[0].sd, 0);
}

TEST(CsvTest, EqualCells_AreRepeats) {
  const auto group = ReadCapacityCsv("heads,width,seq_len,capacity\n1,8,4,100\n1,8,4,110\n1,8,4,120\n", "m.csv");
  ASSERT_TRUE(group.ok());
  ASSERT_EQ(group->rows.size(), 1u);
  EXPECT_EQ(group->rows[0].capacity, 110);
  EXPECT_EQ(group->rows[0].repeats, 3);
  EXPECT_NEAR(group->rows[0].sd, 10, 1e-12);
}

TEST(CsvTest, OptionalColumns_GiveSpreadAndCensoring) {
  const auto group = ReadCapacityCsv(
      "heads,width,seq_len,capacity,dataset_size,capacity_sd,repeats\n1,8,4,100,400,7,5\n1,16,4,390,400,3,5\n",
      "m.csv");
  ASSERT_TRUE(group.ok());
  EXPECT_EQ(group->rows[0].sd, 7);
  EXPECT_EQ(group->rows[0].repeats, 5);
  EXPECT_FALSE(group->rows[0].censored);
  EXPECT_TRUE(group->rows[1].censored);
}

TEST(CsvTest, BadValues_AllNamedWithFileLineAndColumn) {
  const auto group = ReadCapacityCsv(
      "heads,width,seq_len,capacity\n0,8,4,100\n1,8.5,4,100\n1,8,-4,nan\n1,8,4\ntwo,8,4,-1\n1,8,4,\n1,8,4,1e999\n",
      "m.csv");
  ASSERT_FALSE(group.ok());
  EXPECT_EQ(group.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string text(group.status().message());
  for (const char* part : {"m.csv:2: heads: '0'", "m.csv:3: width: '8.5'", "m.csv:4: seq_len: '-4'",
                           "m.csv:4: capacity: 'nan'", "m.csv:5: has 3 fields", "m.csv:6: heads: 'two'",
                           "m.csv:6: capacity: '-1'", "m.csv:7: capacity: is empty", "m.csv:8: capacity: '1e999'"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(CsvTest, BadHeaders_AreNamed) {
  const auto missing = ReadCapacityCsv("heads,width,capacity,colour\n1,8,100,red\n", "m.csv");
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("m.csv:1: colour: unknown column"));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("m.csv:1: seq_len: column is missing"));
  EXPECT_FALSE(ReadCapacityCsv("", "m.csv").ok());
  EXPECT_FALSE(ReadCapacityCsv("\n\n", "m.csv").ok());
  EXPECT_FALSE(ReadCapacityCsv("heads,width,seq_len,capacity\n", "m.csv").ok());
  EXPECT_FALSE(ReadCapacityCsv("heads,heads,width,seq_len,capacity\n1,1,8,4,9\n", "m.csv").ok());
  EXPECT_FALSE(ReadCapacityCsv("heads,width,seq_len,capacity\n1,8,4,\"9\n", "m.csv").ok());
}

}  // namespace
}  // namespace capsweep::ecm
