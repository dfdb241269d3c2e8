// Rounds and budget of adaptive sweeps, with an adviser that is no fit: restarts, order of arrival, failures, errors.
#include "coordinator/plan/adaptive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "common/cost_model.h"
#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep::plan {
namespace {

using ::testing::HasSubstr;

constexpr char kTarget[] = "form: softmin, target: {heads: 3, width: 32, seq_len: 8}";

// 24 cells of 3 repeats.
std::string Text(const std::string& search, const std::string& more = "") {
  return StrCat(
      "sweep: s\ntask: {vocab: 16, seq_len: [4, 8, 16]}\nmodel: {heads: [1, 2], width: [8, 12, 16, 24]}\n"
      "data: {dataset_size: 50}\ntrain: {steps: \"=10 * width\"}\nrepeats: 3\nmeasure: adaptive\nsearch: {",
      search, "}\n", more);
}

absl::StatusOr<std::unique_ptr<Adaptive>> Make(const std::string& text) {
  auto spec = ParseSweep(text, "s.yaml");
  EXPECT_TRUE(spec.ok()) << spec.status();
  if (!spec.ok()) return spec.status();
  return Adaptive::Create(*std::move(spec));
}

Outcome Done(const PointSpec& point) {
  Outcome outcome{Outcome::State::kDone, point.width + point.heads, 1.5 * static_cast<double>(point.width), ""};
  outcome.seconds = 0.25 * static_cast<double>(point.width);
  return outcome;
}

// Depends on all of the question, so that a question asked twice with other samples shows: cells in an order by a hash
// of the samples, and an interval that narrows with their number.
AdaptiveAnswer Shuffle(const AdaptiveQuestion& question) {
  std::vector<unsigned> hash;
  for (const auto& sample : question.samples) {
    hash.push_back(static_cast<unsigned>(sample.cell * 31 + static_cast<int>(sample.seed)));
    hash.push_back(static_cast<unsigned>(sample.items_mem));
  }
  std::seed_seq seed(hash.begin(), hash.end());
  std::mt19937 random(seed);
  std::vector<int> repeats;
  for (size_t c = 0; c < question.cells.size(); ++c) {
    for (int r = 0; r < question.cells[c].left; ++r) repeats.push_back(static_cast<int>(c));
  }
  for (size_t i = repeats.size(); i > 1; --i) std::swap(repeats[i - 1], repeats[random() % i]);
  AdaptiveAnswer answer;
  double left = question.budget;
  for (const int cell : repeats) {
    if (static_cast<int>(answer.order.size()) >= question.points || question.cells[cell].cost > left) continue;
    left -= question.cells[cell].cost;
    answer.order.push_back(cell);
  }
  answer.heads = question.search->target_heads;
  answer.width = question.search->target_width;
  answer.seq_len = question.search->target_seq_len;
  answer.predicted = 100;
  const double half = 100 / std::sqrt(static_cast<double>(question.samples.size()));
  answer.low = 100 - half;
  answer.high = 100 + half;
  return answer;
}

struct Played {
  SearchPlan last;
  Outcomes known;
  std::vector<std::string> asked;
  int questions = 0;
  double seconds = 0;
};

using World = std::function<Outcome(const PointSpec&)>;

// As long as it wants points: some of the open ones get their results, in any order. `forget`: a restart before every
// plan.
Played Play(const std::string& text, const World& world, bool forget, unsigned seed,
            const std::function<AdaptiveAnswer(const AdaptiveQuestion&)>& advise = Shuffle) {
  Played played;
  std::map<std::string, PointSpec> open;
  std::mt19937 random(seed);
  auto adaptive = *Make(text);
  for (int plans = 0; plans < 10'000; ++plans) {
    if (forget) adaptive = *Make(text);
    auto plan = adaptive->Plan(played.known, [&](const AdaptiveQuestion& question) {
      ++played.questions;
      return advise(question);
    });
    EXPECT_TRUE(plan.ok());
    played.last = *std::move(plan);
    for (const PointSpec& point : played.last.wanted) {
      const std::string key = PointKey(point);
      EXPECT_EQ(std::count(played.asked.begin(), played.asked.end(), key), 0) << "asked twice";
      played.asked.push_back(key);
      open[key] = point;
      played.known[key] = {};
    }
    if (played.last.complete) return played;
    EXPECT_FALSE(open.empty()) << "it waits for nothing";
    if (open.empty()) return played;
    for (size_t ends = 1 + random() % open.size(); ends > 0; --ends) {
      auto it = open.begin();
      std::advance(it, random() % open.size());
      played.known[it->first] = world(it->second);
      played.seconds += played.known[it->first].seconds;
      open.erase(it);
    }
  }
  ADD_FAILURE() << "no end";
  return played;
}

std::set<std::string> SetOf(const Played& played) {
  return {played.asked.begin(), played.asked.end()};
}

TEST(AdaptiveTest, ABudgetOfPointsIsUsedToTheLastOne) {
  const Played played = Play(Text(StrCat(kTarget, ", budget_points: 31, start: 9, round: 4")), Done, false, 1);
  EXPECT_EQ(played.asked.size(), 31u);
  ASSERT_EQ(played.last.cells.size(), 1u);
  const Finding& found = played.last.cells[0];
  EXPECT_EQ(found.state, CellState::kSettled);
  EXPECT_EQ(found.reason, "budget used");
  EXPECT_EQ(found.probes, 31);
  EXPECT_EQ(found.rounds, 1 + 6) << "9 points, then 22 in rounds of 4";
  EXPECT_EQ(played.questions, 7);
  EXPECT_DOUBLE_EQ(*found.seconds, played.seconds);
  EXPECT_EQ(found.target, "heads 3, width 32, seq_len 8");
  EXPECT_NEAR(*found.high - *found.low, 200 / std::sqrt(31.0), 1e-9);
}

TEST(AdaptiveTest, NeitherRestartsNorTheOrderOfResultsChangeWhatIsAsked) {
  const std::string text = Text(StrCat(kTarget, ", budget_points: 40, start: 7, round: 3"));
  const Played calm = Play(text, Done, false, 1);
  for (unsigned seed = 2; seed < 10; ++seed) {
    const Played rough = Play(text, Done, seed % 2 == 0, seed);
    EXPECT_EQ(SetOf(rough), SetOf(calm)) << seed;
    EXPECT_EQ(rough.last.cells[0].rounds, calm.last.cells[0].rounds);
    EXPECT_EQ(rough.last.cells[0].low, calm.last.cells[0].low);
  }
}

TEST(AdaptiveTest, ARoundIsChosenWhenThoseBeforeAreOver) {
  auto adaptive = *Make(Text(StrCat(kTarget, ", budget_points: 40, start: 7, round: 3")));
  Outcomes known;
  int questions = 0;
  const auto plan = [&] {
    return *adaptive->Plan(known, [&](const AdaptiveQuestion& question) {
      ++questions;
      return Shuffle(question);
    });
  };
  const std::vector<PointSpec> start = plan().wanted;
  ASSERT_EQ(start.size(), 7u);
  for (const PointSpec& point : start) known[PointKey(point)] = {};
  for (size_t i = 0; i < start.size(); ++i) {
    EXPECT_TRUE(plan().wanted.empty());
    EXPECT_EQ(questions, 0);
    known[PointKey(start[i])] = Done(start[i]);
  }
  EXPECT_EQ(plan().wanted.size(), 3u);
  EXPECT_EQ(questions, 1);
  EXPECT_EQ(plan().cells[0].state, CellState::kSearching);
  EXPECT_EQ(questions, 1) << "asked once a round";
}

TEST(AdaptiveTest, ABudgetOfSecondsCountsMeasuredOnes) {
  const Played played = Play(Text(StrCat(kTarget, ", budget_seconds: 120, start: 6")), Done, false, 1);
  const Finding& found = played.last.cells[0];
  EXPECT_EQ(found.reason, "budget used");
  EXPECT_LE(played.seconds, 120);
  EXPECT_GT(played.seconds, 120 - 0.25 * 24 - 1e-9) << "what is left is too little for the dearest cell at most";
  EXPECT_DOUBLE_EQ(*found.seconds, played.seconds);
  EXPECT_GT(found.rounds, 5);
}

TEST(AdaptiveTest, SecondsThatCostNothingEndWithTheGrid) {
  const World free = [](const PointSpec& point) {
    Outcome outcome = Done(point);
    outcome.seconds = 0;
    return outcome;
  };
  const Played played = Play(Text(StrCat(kTarget, ", budget_seconds: 120, start: 6, round: 1")), free, false, 1);
  EXPECT_EQ(played.last.cells[0].reason, "grid exhausted");
  EXPECT_EQ(played.asked.size(), 72u);
  EXPECT_EQ(played.last.cells[0].rounds, 1 + 66);
}

// 600 repeats in rounds of one would be 600 fits.
TEST(AdaptiveTest, AfterManyRoundsTheyAreLarge) {
  std::string text = Text(StrCat(kTarget, ", budget_seconds: 1e6, start: 6, round: 1"));
  text.replace(text.find("repeats: 3"), 10, "repeats: 25");
  const Played played = Play(text, Done, false, 1);
  EXPECT_EQ(played.asked.size(), 600u);
  EXPECT_LE(played.last.cells[0].rounds, 202);
}

TEST(AdaptiveTest, AnIntervalNarrowTwiceInARowEndsIt) {
  // Half of the interval is 100 / sqrt(n): within 0.25 from 16 points on.
  const Played played =
      Play(Text(StrCat(kTarget, ", budget_points: 60, start: 6, round: 5, stop_at: 0.25")), Done, false, 1);
  const Finding& found = played.last.cells[0];
  EXPECT_EQ(found.reason, "target interval reached");
  EXPECT_EQ(found.state, CellState::kSettled);
  EXPECT_EQ(found.probes, 6 + 5 + 5 + 5) << "16 points, and once more";
}

TEST(AdaptiveTest, AnIntervalNotReachedIsSaid) {
  const Played played = Play(Text(StrCat(kTarget, ", budget_points: 20, start: 6, stop_at: 0.01")), Done, false, 1);
  EXPECT_EQ(played.last.cells[0].state, CellState::kStopped);
  EXPECT_THAT(played.last.cells[0].reason, HasSubstr("budget used; the interval reached is 0.224"));
  EXPECT_THAT(played.last.cells[0].reason, HasSubstr("search.stop_at 0.01 was not reached"));
}

TEST(AdaptiveTest, AGridSmallerThanTheBudgetIsExhausted) {
  const Played played = Play(Text(StrCat(kTarget, ", budget_points: 500")), Done, true, 1);
  EXPECT_EQ(played.asked.size(), 72u);
  EXPECT_EQ(played.last.cells[0].reason, "grid exhausted");
}

TEST(AdaptiveTest, TheTargetIsNeverTrained) {
  const Played played =
      Play(Text("form: softmin, target: {heads: 2, width: 16, seq_len: 8}, budget_points: 500"), Done, false, 1);
  EXPECT_EQ(played.asked.size(), 69u);
}

TEST(AdaptiveTest, FailedPointsCountAndHangNothing) {
  const World world = [](const PointSpec& point) {
    if (point.width == 12) return Outcome{Outcome::State::kFailed, 0, 0, "out of memory"};
    return Done(point);
  };
  const std::string text = Text(StrCat(kTarget, ", budget_points: 50, start: 8, round: 5"));
  const Played played = Play(text, world, true, 1);
  EXPECT_EQ(played.asked.size(), 50u);
  EXPECT_EQ(SetOf(Play(text, world, false, 5)), SetOf(played));
  EXPECT_THAT(played.last.cells[0].reason, HasSubstr("runs failed: out of memory"));
  // No result at all: every cell is tried once, then it is over.
  const Played none = Play(
      text,
      [](const PointSpec&) {
        return Outcome{Outcome::State::kFailed, 0, 0, "no"};
      },
      false, 1,
      [](const AdaptiveQuestion& question) {
        EXPECT_TRUE(question.samples.empty());
        AdaptiveAnswer answer;
        answer.unfitted = "nothing is measured yet";
        return answer;
      });
  EXPECT_EQ(none.last.cells[0].state, CellState::kStopped);
  EXPECT_THAT(none.last.cells[0].reason, HasSubstr("no prediction: nothing is measured yet"));
  EXPECT_THAT(none.last.cells[0].reason, HasSubstr("every cell was trained once, and still nothing can be fitted"));
  EXPECT_EQ(none.asked.size(), 24u);
}

TEST(AdaptiveTest, WhileNothingCanBeFittedTheRestOfTheGridIsLookedAt) {
  const auto advise = [](const AdaptiveQuestion& question) {
    AdaptiveAnswer answer = Shuffle(question);
    if (question.samples.size() < 15) answer.unfitted = "too few rows";
    return answer;
  };
  const Played played = Play(Text(StrCat(kTarget, ", budget_points: 30, start: 6, round: 5")), Done, false, 1, advise);
  EXPECT_EQ(played.asked.size(), 30u);
  EXPECT_EQ(played.last.cells[0].reason, "budget used");
}

TEST(AdaptiveTest, TheStartSpreadsOverTheGridAndIsCheap) {
  const auto adaptive = *Make(Text(StrCat(kTarget, ", budget_points: 60, start: 10")));
  std::set<int64_t> heads, widths, lengths;
  double seconds = 0;
  const auto plan = adaptive->Plan({}, nullptr);
  ASSERT_TRUE(plan.ok());
  for (const PointSpec& point : plan->wanted) {
    heads.insert(point.heads);
    widths.insert(point.width);
    lengths.insert(point.seq_len);
    seconds += EstimateSeconds(point);
    EXPECT_EQ(point.init_seed, 1u);
  }
  EXPECT_EQ(heads.size(), 2u);
  EXPECT_GE(widths.size(), 3u);
  EXPECT_EQ(lengths.size(), 3u);
  EXPECT_DOUBLE_EQ(seconds, adaptive->start_seconds());
}

TEST(AdaptiveTest, WhatDoesNotFitTheGridIsAnErrorWithAFix) {
  const auto error = [](const std::string& text) { return std::string(Make(text).status().message()); };
  EXPECT_THAT(error(Text("form: softmin, target: {heads: 9, width: 32, seq_len: 8}, budget_points: 60")),
              HasSubstr("s.yaml:8: search.target.heads: 9 is far outside the grid, 1 to 2"));
  EXPECT_THAT(error(Text("design: {items: 100, seq_len: 64}, budget_points: 60")),
              HasSubstr("search.design.seq_len: 64 is far outside the grid, 4 to 16"));
  EXPECT_THAT(error(Text(StrCat(kTarget, ", budget_seconds: 0.001"))),
              HasSubstr("search.budget_seconds: 0.001 is too little: the 5 points before the first fit"));
  EXPECT_THAT(error(Text(StrCat(kTarget, ", budget_points: 60, start: 30"))),
              HasSubstr("search.start: 30 points are more than the 24 cells of the grid"));
  EXPECT_THAT(error(Text(StrCat(kTarget, ", budget_points: 9000, start: 6, round: 1"))),
              HasSubstr("search.round: 1 points a round cut search.budget_points into 8994 rounds"));
  EXPECT_THAT(
      error("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: [1, 2], width: [8, 12]}\ntrain: {steps: 9}\n"
            "measure: adaptive\nsearch: {target: {heads: 2, width: 16, seq_len: 8}, budget_points: 60}\n"),
      HasSubstr("the grid has 4 cells of heads, width and seq_len beside the target; a fit of log_quadratic needs 7"));
  EXPECT_THAT(error(Text("target: {heads: 3, width: 32, seq_len: 8}, budget_points: 12")),
              HasSubstr("search.budget_points: 12 points leave nothing to choose after the 12 before the first fit of "
                        "log_quadratic; use at least 13"));
  EXPECT_THAT(
      error(Text("target: {heads: 3, width: 32, seq_len: 8}, budget_points: 60, start: 11")),
      HasSubstr("search.start: 11 points are too few for a first fit of log_quadratic on this grid; use at least "
                "12"));
  EXPECT_THAT(error("sweep: s\nmodel: {heads: [1, 2, 4], width: [8, 12, 16]}\ntrain: {steps: 9}\nrepeats: 30000\n"
                    "measure: adaptive\nsearch: {target: {heads: 2, width: 16, seq_len: 8}, budget_points: 60}\n"),
              HasSubstr("s.yaml:5: measure: the grid has more than 200000 points"));
  EXPECT_THAT(error(Text(StrCat(kTarget, ", budget_points: 60, start: 1"))),
              HasSubstr("search.start: 1 point is too few"));
  EXPECT_THAT(error("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: [1, 2, 4], width: [8, 12, 16]}\n"
                    "train: {steps: 9, lr: \"=0.01 / heads\"}\nmeasure: adaptive\n"
                    "search: {target: {heads: 2, width: 16, seq_len: 8}, budget_points: 60}\n"),
              HasSubstr("lr: is 0.01 at heads 1, width 8, seq_len 8 and 0.005 at heads 2"));
}

}  // namespace
}  // namespace capsweep::plan
