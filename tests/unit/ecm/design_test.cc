#include "ecm/design.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "common/param_count.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::HasSubstr;

GroupFit Fitted(double noise, int bootstrap, const Theta& theta = {800, 0.05, 0.8, 2, 20, 300, 400}) {
  std::vector<Row> rows = MakeSyntheticRows("min", theta);
  Random random(8);
  AddNoise(noise, random, rows);
  FitSettings settings;
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.bootstrap = bootstrap;
  settings.starts = 64;
  return FitRows(rows, settings);
}

struct Best {
  int64_t params = 0, heads = 0, width = 0;
};

// Every model of the grid, by the definition of the task.
std::optional<Best> BruteForce(const GroupFit& fit, const DesignRequest& request) {
  std::optional<Best> best;
  const auto& parameters = fit.forms.at(fit.best).parameters;
  for (int64_t heads = 1; heads <= request.max_heads; ++heads) {
    for (int64_t width = 1; width <= request.max_width; ++width) {
      if (request.split_heads && width % heads != 0) continue;
      if (Predict(fit.best, parameters, heads, width, request.seq_len) < request.target) continue;
      PointSpec point;
      point.vocab = request.vocab;
      point.seq_len = request.seq_len;
      point.layers = request.layers;
      point.heads = heads;
      point.head_dim = request.split_heads ? width / heads : request.head_dim;
      point.width = width;
      point.freeze_mlp = request.freeze_mlp;
      const int64_t params = CountParams(point).total;
      if (!best || params < best->params) best = Best{params, heads, width};
    }
  }
  return best;
}

TEST(DesignTest, FirstCandidate_EqualsBruteForce) {
  const GroupFit fit = Fitted(0.02, 0);
  for (const bool split : {false, true}) {
    for (const double target : {50.0, 300.0, 777.0, 1200.0, 1900.0, 2500.0}) {
      for (const int64_t seq_len : {4, 10, 32}) {
        DesignRequest request{.target = target, .seq_len = seq_len, .max_heads = 8, .max_width = 512};
        request.split_heads = split;
        const auto candidates = Design(fit, request);
        const std::optional<Best> brute = BruteForce(fit, request);
        ASSERT_EQ(candidates.ok(), brute.has_value()) << target;
        if (!brute) continue;
        EXPECT_EQ(candidates->front().params, brute->params) << target << " " << seq_len;
        EXPECT_EQ(candidates->front().heads, brute->heads);
        EXPECT_EQ(candidates->front().width, brute->width);
      }
    }
  }
}

TEST(DesignTest, Candidates_ReachTheTargetAndAreSortedBySize) {
  const GroupFit fit = Fitted(0.03, 60);
  const auto candidates = Design(fit, {.target = 900, .seq_len = 8});
  ASSERT_TRUE(candidates.ok()) << candidates.status();
  bool any_safe = false;
  int64_t last = 0;
  for (const Candidate& c : *candidates) {
    EXPECT_GE(c.capacity, 900 * (1 - 1e-9));
    EXPECT_LE(c.capacity_low, c.capacity);
    EXPECT_GE(c.params, last);
    EXPECT_NEAR(c.memory_per_param, c.capacity / static_cast<double>(c.params), 1e-12);
    EXPECT_EQ(c.safe, c.capacity_low >= 900 * (1 - 1e-12));
    EXPECT_EQ(c.extrapolated, c.heads > 5 || c.width > 64 || c.width < 4);
    any_safe = any_safe || c.safe;
    last = c.params;
  }
  EXPECT_TRUE(any_safe);
}

TEST(DesignTest, TargetOutOfReach_NamesTheLargestAttainable) {
  const auto candidates = Design(Fitted(0, 0), {.target = 1e6, .seq_len = 8, .max_heads = 4});
  ASSERT_FALSE(candidates.ok());
  EXPECT_EQ(candidates.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(candidates.status().message()), HasSubstr("1600"));  // 4 · 300 + 400
}

TEST(DesignTest, BoundNotIdentified_DoesNotLimitTheDesign) {
  GroupFit fit = Fitted(0, 0);
  fit.forms["min"].not_identified = {"alpha", "beta"};
  EXPECT_TRUE(Design(fit, {.target = 5000, .seq_len = 8}).ok());
}

TEST(DesignTest, GroupKey_GivesVocabularyAndFrozenMlp) {
  GroupFit fit = Fitted(0, 0);
  fit.group = {{"vocab", "64"}, {"head_dim", "4"}, {"layers", "2"}, {"freeze_mlp", "true"}};
  const auto c = Design(fit, {.target = 500, .seq_len = 8});
  ASSERT_TRUE(c.ok());
  PointSpec point;
  point.vocab = 64;
  point.seq_len = 8;
  point.layers = 2;
  point.heads = c->front().heads;
  point.head_dim = 4;
  point.width = c->front().width;
  point.freeze_mlp = true;
  EXPECT_EQ(c->front().params, CountParams(point).total);
  EXPECT_EQ(c->front().params_train, CountParams(point).train);
}

TEST(DesignTest, BadRequests_AreNamed) {
  const GroupFit fit = Fitted(0, 0);
  EXPECT_THAT(std::string(Design(fit, {.target = -1, .seq_len = 8}).status().message()), HasSubstr("target"));
  EXPECT_THAT(std::string(Design(fit, {.target = 10, .seq_len = 0}).status().message()), HasSubstr("seq-len"));
  GroupFit none;
  none.error = "too few rows";
  EXPECT_EQ(Design(none, {.target = 10, .seq_len = 8}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(DesignTest, FitThatWentThroughJson_GivesTheSameDesign) {
  FitReport report;
  report.groups.push_back(Fitted(0.03, 30));
  const auto back = ReportFromJson(ReportToJson(report));
  ASSERT_TRUE(back.ok()) << back.status();
  const DesignRequest request{.target = 900, .seq_len = 8};
  EXPECT_EQ(DesignToJson(*Design(report.groups[0], request)), DesignToJson(*Design(back->groups[0], request)));
}

TEST(DesignTest, Json_HasTheDocumentedKeysInOrder) {
  const std::string json = DesignToJson(*Design(Fitted(0, 0), {.target = 900, .seq_len = 8}));
  const auto parsed = nlohmann::ordered_json::parse(json);
  std::vector<std::string> keys;
  for (const auto& [key, value] : parsed[0].items()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"heads", "width", "params", "params_train", "capacity", "capacity_low",
                                            "memory_per_param", "safe", "extrapolated"}));
}

}  // namespace
}  // namespace capsweep::ecm
