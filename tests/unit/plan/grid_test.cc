#include "coordinator/plan/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "common/param_count.h"
#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep::plan {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::string_view kGood = R"(sweep: good
task: {vocab: 16, seq_len: 8}
model: {heads: [1, 2], width: [8, 12]}
data: {dataset_size: 50}
train: {steps: 10}
)";

std::string With(std::string_view from, std::string_view to, std::string_view after = "") {
  std::string text(kGood);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to) + std::string(after);
}

SweepSpec Parsed(std::string_view text) {
  auto spec = ParseSweep(text, "s.yaml");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : SweepSpec();
}

std::vector<PointSpec> Points(std::string_view text) {
  auto points = EnumerateGrid(Parsed(text));
  EXPECT_TRUE(points.ok()) << points.status();
  return points.ok() ? *points : std::vector<PointSpec>();
}

// The message of a sweep that parses but has no valid grid; nothing may be visited.
std::string GridError(std::string_view text) {
  int visits = 0;
  const absl::Status status = EnumerateGrid(Parsed(text), [&visits](const PointSpec&) {
    ++visits;
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  EXPECT_EQ(visits, 0);
  return std::string(status.message());
}

TEST(GridTest, ProductComesInCanonicalOrderWithSeedsInnermost) {
  const auto points = Points(With("", "", "repeats: 2\n"));
  ASSERT_THAT(points, SizeIs(8));
  const int64_t expected[8][3] = {{1, 8, 1}, {1, 8, 2}, {1, 12, 1}, {1, 12, 2},
                                  {2, 8, 1}, {2, 8, 2}, {2, 12, 1}, {2, 12, 2}};
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(points[i].heads, expected[i][0]);
    EXPECT_EQ(points[i].width, expected[i][1]);
    EXPECT_EQ(points[i].data_seed, static_cast<uint64_t>(expected[i][2]));
    EXPECT_EQ(points[i].init_seed, static_cast<uint64_t>(expected[i][2]));
    EXPECT_EQ(points[i].steps, 10);
    EXPECT_EQ(points[i].epochs, 0);
  }
}

TEST(GridTest, OrderOfFieldsAndNumberFormatsDoNotMatter) {
  const auto a = Points(With("{steps: 10}", "{steps: 10, lr: 0.003}"));
  const auto b = Points(
      "train: {lr: 3.0e-3, steps: 1e1}\ndata: {dataset_size: 5_0}\nmodel: {width: [8.0, 12], heads: [1, 2]}\n"
      "task: {seq_len: 8, vocab: +16}\nsweep: other\n");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(PointKey(a[i]), PointKey(b[i]));
}

TEST(GridTest, GivenSeedFieldOverridesSeeds) {
  const auto points = Points(With("{dataset_size: 50}", "{dataset_size: 50, data_seed: 9}", "seeds: [4, 5]\n"));
  ASSERT_THAT(points, SizeIs(8));
  EXPECT_EQ(points[1].data_seed, 9u);
  EXPECT_EQ(points[1].init_seed, 5u);
}

TEST(GridTest, ExpressionsFollowThePointTheyStandIn) {
  const auto points = Points(R"yaml(sweep: follow
task: {mode: [label, seq], vocab: 16, seq_len: [4, 8]}
model: {heads: [1, 2], width: [8, 12], freeze_mlp: [true, false]}
data: {dataset_size: "=params_train / (2 * targets)"}
train: {batch_size: "=max(1, dataset_size / 7)", steps: "=max(30, 12 * sqrt(params_train))", lr: "=1 / (100 * heads)"}
)yaml");
  ASSERT_THAT(points, SizeIs(32));
  for (const PointSpec& p : points) {
    const auto train = static_cast<double>(CountParams(p).train);
    const double targets = p.mode == Mode::kLabel ? 1 : static_cast<double>(p.seq_len);
    EXPECT_EQ(p.dataset_size, static_cast<int64_t>(std::floor(train / (2 * targets) + 0.5)));
    EXPECT_EQ(p.batch_size,
              static_cast<int64_t>(std::floor(std::max(1.0, static_cast<double>(p.dataset_size) / 7) + 0.5)));
    EXPECT_EQ(p.steps, static_cast<int64_t>(std::floor(std::max(30.0, 12 * std::sqrt(train)) + 0.5)));
    EXPECT_EQ(p.lr, p.heads == 1 ? 0.01 : 0.005);
  }
}

TEST(GridTest, ExpressionOfTheSeedIsWorkedOutForEverySeed) {
  const auto points = Points(With("50", "=50 + data_seed", "repeats: 3\n"));
  ASSERT_THAT(points, SizeIs(12));
  for (const PointSpec& p : points) EXPECT_EQ(p.dataset_size, 50 + static_cast<int64_t>(p.data_seed));
}

TEST(GridTest, BooleanAndRealFieldsCanBeComputed) {
  const auto points = Points(With("[1, 2]", "[1, 2], freeze_mlp: =heads > 1"));
  ASSERT_THAT(points, SizeIs(4));
  for (const PointSpec& p : points) EXPECT_EQ(p.freeze_mlp, p.heads > 1);
}

TEST(GridTest, SplitDividesTheWidthAmongTheHeads) {
  const auto points = Points(With("[1, 2]", "[1, 2], head_dim: [3, split]"));
  ASSERT_THAT(points, SizeIs(8));
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].head_dim, i % 4 < 2 ? 3 : points[i].width / points[i].heads);
  }
  // 12 / 4 is the 3 of the other value: one point asked for twice.
  EXPECT_THAT(GridError(With("[1, 2]", "4, head_dim: [3, split]")),
              HasSubstr("s.yaml:3: head_dim: head_dim 3 and split make the same point"));
}

TEST(GridTest, SplitThatDoesNotDivideIsRefusedUnlessExcluded) {
  const std::string text = With("[1, 2]", "[1, 3], head_dim: split");
  EXPECT_THAT(GridError(text), HasSubstr("s.yaml:3: head_dim: split cannot share width=8 among heads=3"));
  const auto points = Points(text + "where: \"width % heads == 0\"\n");
  ASSERT_THAT(points, SizeIs(3));
  EXPECT_EQ(points[2].head_dim, 4);
}

TEST(GridTest, WhereKeepsPointsByNumbersBooleansAndWords) {
  EXPECT_THAT(Points(With("", "", "where: heads * width <= 12\n")), SizeIs(2));
  EXPECT_THAT(Points(With("[1, 2]", "[1, 2], freeze_mlp: [true, false]", "where: \"freeze_mlp || width <= 8\"\n")),
              SizeIs(6));
  const auto points =
      Points(With("vocab: 16", "vocab: 16, mode: [label, seq]", "where: mode == \"seq\" && heads > 1\n"));
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_EQ(points[0].mode, Mode::kSeq);
}

TEST(GridTest, WhereSeesComputedValues) {
  EXPECT_THAT(Points(With("50", "=heads * width", "where: dataset_size > 16\n")), SizeIs(1));
  EXPECT_THAT(Points(With("", "", "where: params_total > 1500\n")), SizeIs(2));
}

TEST(GridTest, WhereThatExcludesEverythingIsRefused) {
  EXPECT_THAT(GridError(With("", "", "where: width > 100\n")),
              HasSubstr("s.yaml:6: where: \"width > 100\" excludes all 4 points"));
}

TEST(GridTest, WhereThatIsNotANumberIsRefused) {
  EXPECT_THAT(GridError(With("", "", "where: sqrt(heads - 5)\n")),
              HasSubstr("s.yaml:6: where: \"sqrt(heads - 5)\" is neither true nor false"));
}

TEST(GridTest, BadValuesOfExpressionsNameExpressionPointAndResult) {
  EXPECT_THAT(
      GridError(With("50", "=width - 8 * heads")),
      HasSubstr("s.yaml:4: dataset_size: \"=width - 8 * heads\" gives 0 at heads=1, width=8: 0 is out of range"));
  EXPECT_THAT(GridError(With("50", "=sqrt(heads - width)")), HasSubstr("gives nan at heads=1, width=8"));
  EXPECT_THAT(GridError(With("50", "=heads / 0")), HasSubstr("gives inf at heads=1, width=8"));
  EXPECT_THAT(GridError(With("50", "=10^15")), HasSubstr("1000000000000000 is out of range"));
  EXPECT_THAT(GridError(With("50", "=10^30")), HasSubstr("gives 1e+30"));
  EXPECT_THAT(GridError(With("50", "=0 - heads")), HasSubstr("gives -1 at heads=1"));
  EXPECT_THAT(GridError(With("[1, 2]", "[1, 2], freeze_mlp: =heads")), HasSubstr("must be 0 (false) or 1 (true)"));
  EXPECT_THAT(GridError(With("[8, 12]", "=10^12 * heads", "where: params_total > 1\n")),
              HasSubstr("s.yaml:3: width: "));
}

TEST(GridTest, ExpressionOutOfRangeMayBeExcludedByWhere) {
  EXPECT_THAT(Points(With("50", "=width - 8 * heads", "where: dataset_size >= 1\n")), SizeIs(1));
}

TEST(GridTest, LibraryLargerThanTheAlphabetAllowsNamesLineFieldAndPoint) {
  const std::string error = GridError(With("vocab: 16, seq_len: 8", "vocab: [2, 16], seq_len: 4"));
  EXPECT_THAT(error, HasSubstr("s.yaml:4: dataset_size: 50 is too large for 2^4 = 16"));
  EXPECT_THAT(error, HasSubstr("(at vocab=2, heads=1, width=8)"));
  EXPECT_THAT(error, Not(HasSubstr("\n")));  // four points, one kind of error
}

TEST(GridTest, DifferentErrorsAreCappedAndCounted) {
  // 3^5 = 243 sequences allow 60 items: 30 libraries are too large, each in its own words.
  std::string text = With("vocab: 16, seq_len: 8", "vocab: 3, seq_len: 5");
  text.replace(text.find("50"), 2, "{from: 1000, to: 1029, step: 1}");
  const std::string error = GridError(text);
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 20);
  EXPECT_THAT(error, HasSubstr("dataset_size: 1019 is too large"));
  EXPECT_THAT(error, HasSubstr("\nand 10 more"));
}

TEST(GridTest, TwoPointsThatAreTheSameAreRefusedByTheAxisThatChangesNothing) {
  EXPECT_THAT(GridError(With("{steps: 10}", "{steps: 10, schedule: constant, lr_final: [0.1, 0.2]}")),
              HasSubstr("s.yaml:5: lr_final: lr_final 0.1 and 0.2 make the same point"));
  EXPECT_THAT(GridError(With("{dataset_size: 50}\ntrain: {steps: 10}",
                             "{dataset_size: 50, data_seed: 1}\ntrain: {steps: 10, init_seed: 1}", "repeats: 2\n")),
              HasSubstr("seeds 1 and 2 make the same point"));
  EXPECT_THAT(Points(With("{steps: 10}", "{steps: 10, schedule: cosine, lr_final: [0.1, 0.2]}")), SizeIs(8));
}

TEST(GridTest, CountSaturatesAndIsTheProductBeforeWhere) {
  SweepSpec spec = Parsed(With("", "", "repeats: 5\nwhere: heads > 1\n"));
  EXPECT_EQ(CountProduct(spec), 20);
  spec.axes.clear();
  for (const char* field : {"vocab", "seq_len", "heads", "width", "dataset_size"}) {
    spec.axes.push_back({field, 1, std::vector<Scalar>(100'000, Scalar(int64_t{1})), ""});
  }
  EXPECT_EQ(CountProduct(spec), std::numeric_limits<int64_t>::max());
}

TEST(GridTest, TrillionPointsAreRefusedByArithmetic) {
  const auto start = std::chrono::steady_clock::now();
  const std::string error = GridError(
      "sweep: big\ntask: {seq_len: 8}\nmodel: {heads: {from: 1, to: 1000, step: 1}, width: {from: 1, to: 10000, step: "
      "1}}\n"
      "data: {dataset_size: {from: 1, to: 100000, step: 1}}\ntrain: {steps: 10}\nwhere: heads == 1 && width == 1\n");
  EXPECT_THAT(error, HasSubstr("s.yaml:4: dataset_size: the grid has 1000000000000 points"));
  EXPECT_THAT(error, HasSubstr("limits.max_points is 2000000"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(GridTest, OwnLimitOfPointsIsKept) {
  EXPECT_THAT(GridError(With("", "", "limits: {max_points: 3}\n")), HasSubstr("the grid has 4 points"));
  EXPECT_THAT(Points(With("", "", "limits: {max_points: 4}\n")), SizeIs(4));
}

TEST(GridTest, LargeGridGivesEveryPointOnceWithItsOwnKey) {
  const SweepSpec spec = Parsed(
      "sweep: large\ntask: {seq_len: [8, 16]}\nmodel: {heads: {from: 1, to: 10, step: 1}, width: {from: 8, to: 57, "
      "step: 1}}\n"
      "data: {dataset_size: \"=params_train / (2 * targets)\"}\ntrain: {steps: \"=max(3000, 120 * "
      "sqrt(params_train))\"}\n"
      "repeats: 20\n");
  std::set<std::string> keys;
  const absl::Status status = EnumerateGrid(spec, [&keys](const PointSpec& p) {
    EXPECT_TRUE(ValidatePoint(p).ok());
    keys.insert(PointKey(p));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(keys.size(), 20000u);
}

TEST(GridTest, ErrorOfTheVisitorEndsTheEnumeration) {
  int visits = 0;
  const absl::Status status = EnumerateGrid(Parsed(kGood), [&visits](const PointSpec&) {
    return ++visits == 2 ? absl::AbortedError("enough") : absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(visits, 2);
}

TEST(GridTest, SamplesOfTheProjectHaveTheGridsTheyPromise) {
  const auto quickstart = LoadSweep(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/quickstart.yaml"));
  ASSERT_TRUE(quickstart.ok()) << quickstart.status();
  const auto points = EnumerateGrid(*quickstart);
  ASSERT_TRUE(points.ok()) << points.status();
  std::set<int64_t> heads, widths, lengths;
  std::set<uint64_t> seeds;
  for (const PointSpec& p : *points) {
    heads.insert(p.heads);
    widths.insert(p.width);
    lengths.insert(p.seq_len);
    seeds.insert(p.data_seed);
  }
  EXPECT_GE(points->size(), 60u);
  EXPECT_GE(heads.size(), 3u);
  EXPECT_GE(widths.size(), 4u);
  EXPECT_GE(lengths.size(), 2u);
  EXPECT_GE(seeds.size(), 2u);

  const auto small = LoadSweep(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/ecm-small.yaml"));
  ASSERT_TRUE(small.ok()) << small.status();
  const auto grid = EnumerateGrid(*small);
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->size(), 720u + 68);  // studies: budget 24 + 12, batch size 16 + 16
  EXPECT_EQ(std::count_if(grid->begin(), grid->end(), [](const PointSpec& p) { return p.batch_size == 100; }),
            720 + 36);

  const auto paper = LoadSweep(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/ecm-paper.yaml"));
  ASSERT_TRUE(paper.ok()) << paper.status();
  const auto large = EnumerateGrid(*paper);
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_EQ(large->size(), 5u * 5 * 5 * 2 * 3 + 72);  // studies: budget 48, batch size 12 + 12
  for (const PointSpec& p : *large) EXPECT_EQ(p.head_dim, 64);
}

TEST(GridTest, SamplesOfTheOtherStudiesHaveTheirMeasurements) {
  for (const char* name : {"bits-per-parameter", "assoc"}) {
    const auto sweep = LoadSweep(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/", name, ".yaml"));
    ASSERT_TRUE(sweep.ok()) << sweep.status();
    const auto points = EnumerateGrid(*sweep);
    ASSERT_TRUE(points.ok()) << points.status();
    std::map<int64_t, std::set<int64_t>> sizes;  // libraries by parameters
    for (const PointSpec& p : *points) {
      sizes[CountParams(p).total].insert(p.dataset_size);
      EXPECT_EQ(p.mode, Mode::kLm) << name;
      EXPECT_EQ(p.heldout_size > 0, std::string(name) == "assoc");
      EXPECT_EQ(p.family == Family::kGpt2, std::string(name) == "bits-per-parameter");
    }
    EXPECT_GE(sizes.size(), 4u) << name;
    for (const auto& [params, libraries] : sizes) EXPECT_GE(libraries.size(), 3u) << name << " " << params;
  }
}

TEST(GridTest, SearchesOfTheProjectAreValid) {
  for (const char* name : {"mls", "minnet", "minnet-xt", "minnet-random"}) {
    const auto sweep = LoadSweep(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/", name, ".yaml"));
    ASSERT_TRUE(sweep.ok()) << sweep.status();
    EXPECT_TRUE(MeasureSearches(sweep->measure)) << name;
    EXPECT_EQ(sweep->name, name);
  }
}

}  // namespace
}  // namespace capsweep::plan
