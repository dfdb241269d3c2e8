// Searches over real points: cells, probes, restarts in the middle, and any number of workers.
#include "coordinator/plan/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "common/param_count.h"
#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep::plan {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

SweepSpec Parsed(const std::string& text) {
  auto spec = ParseSweep(text, "s.yaml");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : SweepSpec();
}

std::string Text(const std::string& measure, const std::string& rest = "", const std::string& heads = "[1, 2]") {
  return StrCat("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: ", heads,
                ", width: [8, 12]}\ntrain: {steps: 100}\nmeasure: ", measure, "\n", rest);
}

std::unique_ptr<Search> Made(const std::string& text) {
  auto search = Search::Create(Parsed(text));
  EXPECT_TRUE(search.ok()) << search.status();
  return search.ok() ? *std::move(search) : nullptr;
}

// What training would give: a pure function of the point.
using World = std::function<Outcome(const PointSpec&)>;

Outcome Memorized(const PointSpec& point, int64_t items) {
  return {Outcome::State::kDone, std::min(items, point.dataset_size),
          static_cast<double>(std::min(items, point.dataset_size)), ""};
}

// Capacity follows from the parameters; near it success depends on the seed.
Outcome Noisy(const PointSpec& point) {
  const double capacity = 0.15 * static_cast<double>(CountParams(point).train);
  std::seed_seq seed{static_cast<unsigned>(point.init_seed * 13 + point.data_seed),
                     static_cast<unsigned>(point.dataset_size), static_cast<unsigned>(CountParams(point).train)};
  std::mt19937 random(seed);
  return Memorized(point, static_cast<int64_t>(capacity * (0.9 + 0.2 * static_cast<double>(random() % 1000) / 1000)));
}

struct Played {
  SearchPlan last;
  Outcomes known;
  int64_t rounds = 0;
  std::set<std::string> asked;
};

// Plays a sweep to its end with k workers: each round the planner is asked, then a random share of the open points
// gets its result. `forget`: the planner is dropped before every round, as by a restart.
Played Play(const std::string& text, const World& world, int64_t workers, bool forget, unsigned seed = 1) {
  Played played;
  std::map<std::string, PointSpec> open;
  std::mt19937 random(seed);
  auto search = Made(text);
  for (; played.rounds < 100'000; ++played.rounds) {
    if (forget) search = Made(text);
    played.last = search->Plan(played.known, workers);
    EXPECT_LE(played.last.wanted.size(), static_cast<size_t>(workers) + 200);
    for (const PointSpec& point : played.last.wanted) {
      EXPECT_TRUE(ValidatePoint(point).ok());
      const std::string key = PointKey(point);
      EXPECT_TRUE(played.asked.insert(key).second) << "asked twice: " << CanonicalText(point);
      open[key] = point;
      played.known[key] = {};
    }
    if (played.last.complete) break;
    if (open.empty()) {
      ADD_FAILURE() << "neither complete nor anything open";
      break;
    }
    bool any = false;
    while (!any) {
      for (auto it = open.begin(); it != open.end();) {
        if (random() % 3 != 0) {
          ++it;
          continue;
        }
        played.known[it->first] = world(it->second);
        it = open.erase(it);
        any = true;
      }
    }
  }
  return played;
}

TEST(SearchTest, TheAnswerDependsNeitherOnWorkersNorOnOrderNorOnRestarts) {
  const std::string text = Text("mls", "repeats: 2\n");
  const Played one = Play(text, Noisy, 1, false);
  ASSERT_TRUE(one.last.complete);
  ASSERT_THAT(one.last.cells, SizeIs(4));
  for (const int64_t workers : {2, 5, 40}) {
    for (unsigned seed = 2; seed < 5; ++seed) {
      const Played other = Play(text, Noisy, workers, true, seed);
      ASSERT_TRUE(other.last.complete);
      for (size_t c = 0; c < 4; ++c) {
        EXPECT_EQ(other.last.cells[c].mls, one.last.cells[c].mls);
        EXPECT_EQ(other.last.cells[c].mac, one.last.cells[c].mac);
        EXPECT_EQ(other.last.cells[c].mac_unsettled, one.last.cells[c].mac_unsettled);
        EXPECT_EQ(other.last.cells[c].reason, one.last.cells[c].reason);
      }
    }
  }
}

TEST(SearchTest, BisectionEqualsAScanForOneTwoAndFiveWorkers) {
  std::mt19937 random(3);
  for (int i = 0; i < 25; ++i) {
    const auto limit = static_cast<int64_t>(random() % 900);
    int64_t scan = 0;
    for (int64_t size = 1; size < 2000; ++size) {
      PointSpec point;
      point.dataset_size = size;
      if (Memorized(point, limit).items_mem == size) scan = size;
    }
    for (const int64_t workers : {1, 2, 5}) {
      const Played played = Play(
          StrCat("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {width: 8}\ntrain: {steps: 100}\nmeasure: mls\n",
                 "search: {tolerance: 0, restarts: 2}\n"),
          [limit](const PointSpec& p) { return Memorized(p, limit); }, workers, i % 2 == 0);
      ASSERT_THAT(played.last.cells, SizeIs(1));
      EXPECT_EQ(played.last.cells[0].mls, static_cast<double>(scan));
      EXPECT_EQ(played.last.cells[0].state, CellState::kSettled);
    }
  }
}

TEST(SearchTest, MoreWorkersNeedFewerRounds) {
  const std::string text =
      "sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {width: 8}\ntrain: {steps: 9}\nmeasure: mls\n";
  const World world = [](const PointSpec& p) { return Memorized(p, 301); };
  const int64_t alone = Play(text, world, 1, false).rounds;
  EXPECT_LT(Play(text, world, 8, false).rounds, alone);
}

TEST(SearchTest, AWaitingWorkerGetsTheLikelyNextRunAndABusyOneDoesNot) {
  const std::string text =
      "sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {width: 8}\ntrain: {steps: 9}\nmeasure: mls\n";
  auto search = Made(text);
  const auto first = search->Plan({}, 1).wanted;
  ASSERT_THAT(first, SizeIs(3)) << "two libraries of MAC, one of MLS";
  const auto more = search->Plan({}, 5).wanted;
  ASSERT_THAT(more, SizeIs(5));
  EXPECT_EQ(more[3].dataset_size, 2 * more[2].dataset_size) << "if it succeeds";
  EXPECT_EQ(more[4].dataset_size, more[2].dataset_size) << "if it fails: the next restart";
  EXPECT_EQ(more[4].init_seed, more[2].init_seed + 1);
  EXPECT_EQ(more[4].data_seed, more[2].data_seed);
}

TEST(SearchTest, MacTakesMeansOverTheSeedsAndStartsFromTheParameters) {
  const Played played = Play(Text("mac", "repeats: 3\n"), Noisy, 1, true);
  ASSERT_THAT(played.last.cells, SizeIs(4));
  for (const Finding& cell : played.last.cells) {
    EXPECT_EQ(cell.state, CellState::kSettled) << cell.reason;
    EXPECT_FALSE(cell.mls.has_value());
    EXPECT_EQ(cell.probes, 6) << "two libraries of three seeds: the first is not full";
  }
  // Width 8, heads 1: 1152 parameters, 4 bits per item.
  const auto wanted = Made(Text("mac", "", "1"))->Plan({}, 1).wanted;
  PointSpec point = wanted.at(0);
  EXPECT_EQ(point.dataset_size, static_cast<int64_t>(4 * CountParams(point).train / 4));
}

TEST(SearchTest, FailedRunsCountAsFailedRestartsAndAreNamed) {
  const World world = [](const PointSpec& p) {
    if (p.init_seed == 1 && p.dataset_size == 288) return Outcome{Outcome::State::kFailed, 0, 0, "nan_loss: too hot"};
    return Memorized(p, 300);
  };
  const Played played = Play(
      "sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {width: 8}\ntrain: {steps: 9}\nmeasure: mls\n"
      "search: {start: 288, tolerance: 0}\n",
      world, 1, true);
  EXPECT_EQ(played.last.cells[0].mls, 300);
  EXPECT_EQ(played.last.cells[0].reason, "1 run failed and counts as not memorized: nan_loss: too hot");
}

TEST(SearchTest, ALibraryThatTheAlphabetDoesNotAllowEndsTheSearchWithThatReason) {
  const Played played = Play(
      "sweep: s\ntask: {vocab: 4, seq_len: 4}\nmodel: {width: 32}\ntrain: {steps: 9}\nmeasure: mls\n",
      [](const PointSpec& p) { return Memorized(p, 1000); }, 1, true);
  ASSERT_THAT(played.last.cells, SizeIs(1));
  const Finding& cell = played.last.cells[0];
  EXPECT_EQ(cell.state, CellState::kStopped);
  EXPECT_THAT(cell.reason, HasSubstr("4^4"));
  EXPECT_EQ(cell.mls, 64) << "a quarter of 256 sequences";
  EXPECT_EQ(cell.mac, 64);
  EXPECT_TRUE(cell.mac_unsettled);
}

TEST(SearchTest, ExpressionsFollowTheLibraryThatIsProbed) {
  const Played played = Play(
      "sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {width: 8}\n"
      "train: {steps: \"=10 * dataset_size\", batch_size: \"=min(50, dataset_size)\"}\nmeasure: mls\n",
      [](const PointSpec& p) {
        EXPECT_EQ(p.steps, 10 * p.dataset_size);
        EXPECT_EQ(p.batch_size, std::min<int64_t>(50, p.dataset_size));
        return Memorized(p, 77);
      },
      3, false);
  EXPECT_LE(played.last.cells[0].mls, 77);
}

constexpr char kMinnet[] =
    "sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: [1, 2]}\ndata: {dataset_size: [50, 80]}\n"
    "train: {steps: 100}\nmeasure: minnet\nsearch: {knob: width, from: 2, to: 40, step: 2, trials: 4}\n";

TEST(SearchTest, MinnetFindsTheSmallestNetworkOfEveryLibrary) {
  const World world = [](const PointSpec& p) {
    // Only a fairly high learning rate works.
    return Memorized(p, p.lr > 1e-3 ? CountParams(p).train / 8 : 0);
  };
  const Played one = Play(kMinnet, world, 1, false), many = Play(kMinnet, world, 7, true, 9);
  ASSERT_THAT(one.last.cells, SizeIs(4));
  for (size_t c = 0; c < 4; ++c) {
    const Finding& cell = one.last.cells[c];
    ASSERT_TRUE(cell.size.has_value()) << cell.reason;
    EXPECT_EQ(many.last.cells[c].size, cell.size);
    EXPECT_EQ(many.last.cells[c].point_key, cell.point_key);
    ASSERT_TRUE(one.known.contains(cell.point_key));
    EXPECT_EQ(one.known.at(cell.point_key).items_mem, c % 2 == 0 ? 50 : 80);
  }
}

TEST(SearchTest, TrialsAreDrawnInTheirRangesAndAreTheSameEveryTime) {
  std::set<double> rates;
  std::set<std::string> keys;
  for (int again = 0; again < 2; ++again) {
    auto search = Made(kMinnet);
    for (const PointSpec& p : search->Plan({}, 100).wanted) {
      EXPECT_GE(p.lr, 1e-4);
      EXPECT_LE(p.lr, 3e-2);
      EXPECT_GE(p.warmup, 0);
      EXPECT_LE(p.warmup, 0.2);
      rates.insert(p.lr);
      keys.insert(PointKey(p));
    }
  }
  EXPECT_GE(keys.size(), 40u);
  EXPECT_LE(keys.size(), 100u) << "the second time the same";
  EXPECT_GE(rates.size() + 2, keys.size());
}

TEST(SearchTest, WhereChoosesCellsAndErrorsOfTheFirstRunsAreReported) {
  EXPECT_THAT(Made(Text("mac", "where: \"heads == 1\"\n"))->Plan({}, 1).cells, SizeIs(2));
  const auto bad = Search::Create(Parsed(Text("mac", "where: \"heads > 5\"\n")));
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("excludes all 4 points"));
  const auto large = Search::Create(Parsed(Text("mac", "limits: {max_points: 3}\n")));
  EXPECT_THAT(std::string(large.status().message()), HasSubstr("limits.max_points is 3"));
}

TEST(SearchTest, AssocIsAGridAndSearchesGiveTheirFirstRuns) {
  std::vector<PointSpec> points;
  const auto collect = [&](const PointSpec& p) {
    points.push_back(p);
    return absl::OkStatus();
  };
  ASSERT_TRUE(
      EnumerateSweep(Parsed("sweep: s\nmodel: {heads: [1, 2]}\ntrain: {steps: 9}\nmeasure: assoc\n"), collect).ok());
  EXPECT_THAT(points, SizeIs(2));
  points.clear();
  ASSERT_TRUE(EnumerateSweep(Parsed(Text("mac")), collect).ok());
  EXPECT_THAT(points, SizeIs(8)) << "two libraries of four architectures";
}

}  // namespace
}  // namespace capsweep::plan
