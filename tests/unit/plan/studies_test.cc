// A grid with studies: the union, each point once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/grid.h"

namespace capsweep::plan {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

SweepSpec Parsed(const std::string& studies, const std::string& rest = "") {
  auto spec = ParseSweep(StrCat("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: [1, 2], width: [8, 16]}\n"
                                "data: {dataset_size: 50}\ntrain: {steps: 10, batch_size: 50}\nrepeats: 2\n",
                                rest, "studies:\n", studies),
                         "s.yaml");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : SweepSpec();
}

TEST(StudiesTest, PointsOfSeveralStudiesCountOnceAndTheBaseComesFirst) {
  const SweepSpec spec = Parsed(
      "  - {name: budget, model: {width: 16}, train: {steps: 30}, repeats: 1}\n"
      "  - {name: batch, where: \"heads == 2\", train: {batch_size: [10, 50]}}\n"
      "  - {name: again, train: {steps: 30, batch_size: [10, 50]}, where: \"width == 16\", seeds: [1]}\n");
  const auto points = EnumerateGrid(spec);
  ASSERT_TRUE(points.ok()) << points.status();
  // Base 8; budget 2 new; batch: 8 points, of which those of batch 50 are the base's; again: 4, two are the budget's.
  ASSERT_THAT(*points, SizeIs(8 + 2 + 4 + 2));
  std::set<std::string> keys;
  for (const PointSpec& point : *points) EXPECT_TRUE(keys.insert(PointKey(point)).second);
  EXPECT_EQ((*points)[7].steps, 10);
  EXPECT_EQ((*points)[8].steps, 30);
  EXPECT_EQ(CountProduct(spec), 8 + 2 + 16 + 8);
  const auto counts = CountStudies(spec);
  ASSERT_TRUE(counts.ok()) << counts.status();
  ASSERT_THAT(*counts, SizeIs(4));
  const int64_t expected[4][2] = {{8, 8}, {2, 2}, {8, 4}, {4, 2}};
  const char* names[4] = {"", "budget", "batch", "again"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*counts)[i].name, names[i]);
    EXPECT_EQ((*counts)[i].points, expected[i][0]) << names[i];
    EXPECT_EQ((*counts)[i].added, expected[i][1]) << names[i];
  }
}

TEST(StudiesTest, WithoutStudiesThereIsOneGrid) {
  const auto counts = CountStudies(Parsed("  - {name: x, repeats: 1}\n").studies[0]);
  ASSERT_TRUE(counts.ok());
  ASSERT_THAT(*counts, SizeIs(1));
  EXPECT_EQ((*counts)[0].points, 4);
}

TEST(StudiesTest, WhatIsWrongInAStudyNamesItAndVisitsNothing) {
  const auto error = [](const SweepSpec& spec) {
    int visits = 0;
    const absl::Status status = EnumerateGrid(spec, [&visits](const PointSpec&) {
      ++visits;
      return absl::OkStatus();
    });
    EXPECT_EQ(visits, 0);
    return std::string(status.message());
  };
  EXPECT_THAT(error(Parsed("  - {name: big, task: {vocab: 2, seq_len: 4}}\n")), HasSubstr("(study big)"));
  EXPECT_THAT(error(Parsed("  - {name: none, where: \"heads > 9\"}\n")),
              HasSubstr("excludes all 8 points; loosen the condition (study none)"));
  EXPECT_THAT(error(Parsed("  - {name: a, train: {steps: 20}}\n", "limits: {max_points: 15}\n")),
              HasSubstr("studies: the grid and its studies have 16 points together"));
}

}  // namespace
}  // namespace capsweep::plan
