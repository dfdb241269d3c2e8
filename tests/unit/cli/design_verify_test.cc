// From a fit to points that are trained like its cells: recipe, sweep file, verification, target of `suggest`.
#include "cli/design_verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/suggest_target.h"
#include "common/param_count.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/grid.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Cells of ecm-small's recipe: D = P_train / 2, steps = max(3000, 120·sqrt(P_train)).
ecm::GroupFit Fit() {
  ecm::GroupFit fit;
  fit.group = {{"mode", "label"},    {"vocab", "16"},       {"family", "xt"},     {"layers", "1"},
               {"head_dim", "8"},    {"optimizer", "adam"}, {"lr", "0.003"},      {"schedule", "cosine"},
               {"lr_final", "0.02"}, {"batch_size", "100"}, {"eval_every", "10"}, {"patience", "200"},
               {"backend", "cpu"},   {"freeze_mlp", "true"}};
  for (const int64_t heads : {1, 2, 4}) {
    for (const int64_t width : {8, 16, 32, 64}) {
      PointSpec point;
      point.heads = heads;
      point.width = width;
      point.seq_len = 8;
      point.freeze_mlp = true;
      const auto params = static_cast<double>(CountParams(point).train);
      ecm::PredictedRow row;
      row.used = true;
      row.row.heads = static_cast<double>(heads);
      row.row.width = static_cast<double>(width);
      row.row.seq_len = 8;
      row.row.dataset_size = std::round(params / 2);
      row.row.budget = row.row.budget_steps = std::round(std::max(3000.0, 120 * std::sqrt(params)));
      fit.points.push_back(row);
    }
  }
  return fit;
}

std::vector<ecm::Candidate> Candidates() {
  ecm::Candidate first{.heads = 3, .width = 40, .params = 5000, .params_train = 4000, .capacity = 510};
  ecm::Candidate second{.heads = 4, .width = 48, .params = 7000, .params_train = 6000, .capacity = 640};
  second.safe = true;
  return {first, second};
}

TEST(RecipeTest, MeasuredCellsKeepTheirLibraryAndBudget_OthersFollowTheLaw) {
  const auto recipe = Recipe::FromFit(Fit());
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const PointSpec measured = recipe->Point(4, 64, 8);
  EXPECT_EQ(measured.dataset_size, std::llround(static_cast<double>(CountParams(measured).train) / 2));
  EXPECT_EQ(measured.batch_size, 100);
  EXPECT_EQ(measured.lr, 0.003);
  EXPECT_TRUE(measured.freeze_mlp);
  for (const auto& [heads, width] : std::vector<std::pair<int64_t, int64_t>>{{3, 48}, {4, 40}, {4, 128}, {5, 64}}) {
    const PointSpec point = recipe->Point(heads, width, 8);
    const auto params = static_cast<double>(CountParams(point).train);
    EXPECT_NEAR(static_cast<double>(point.dataset_size), params / 2, 1) << heads << " " << width;
    EXPECT_NEAR(static_cast<double>(point.steps), 120 * std::sqrt(params), 0.01 * 120 * std::sqrt(params));
  }
}

TEST(RecipeTest, FitOfACsvHasNoRecipe) {
  ecm::GroupFit csv = Fit();
  csv.group.clear();
  const auto recipe = Recipe::FromFit(csv);
  EXPECT_EQ(recipe.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(recipe.status().message(), HasSubstr("not made from a sweep's results"));
  ecm::GroupFit without_budgets = Fit();
  for (auto& point : without_budgets.points) point.row.budget = 0;
  EXPECT_EQ(Recipe::FromFit(without_budgets).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(RecipeTest, EpochBudgetsStayEpochs) {
  ecm::GroupFit fit = Fit();
  for (auto& point : fit.points) {
    point.row.budget = 500;
    point.row.budget_in_epochs = true;
  }
  const auto recipe = Recipe::FromFit(fit);
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->Point(3, 48, 8).epochs, 500);
  EXPECT_EQ(recipe->Point(3, 48, 8).steps, 0);
  EXPECT_THAT(recipe->BudgetRule(), HasSubstr("500 epochs"));
}

TEST(SweepFileTest, HoldsExactlyThePointsWithTheirSeeds) {
  const auto recipe = Recipe::FromFit(Fit());
  ASSERT_TRUE(recipe.ok());
  std::vector<SeededPoint> points = {{recipe->Point(1, 8, 8), {4, 5}},
                                     {recipe->Point(4, 64, 8), {1}},
                                     {recipe->Point(3, 48, 16), {1, 2, 3}},
                                     {recipe->Point(3, 8, 16), {4}}};
  const auto text = SweepFileText("some-sweep", "# why\n", false, points);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, StartsWith("# why\nsweep: some-sweep\n"));
  const auto spec = ParseSweep(*text, "x.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto grid = plan::EnumerateGrid(*spec);
  ASSERT_TRUE(grid.ok()) << grid.status();
  ASSERT_EQ(grid->size(), 7u);
  for (const PointSpec& point : *grid) {
    const PointSpec wanted = recipe->Point(point.heads, point.width, point.seq_len);
    EXPECT_EQ(point.dataset_size, wanted.dataset_size);
    EXPECT_EQ(point.steps, wanted.steps);
    EXPECT_EQ(point.data_seed, point.init_seed);
  }
}

TEST(SweepFileTest, NoPoints_IsAnError) {
  EXPECT_FALSE(SweepFileText("s", "", false, {}).ok());
}

TEST(VerifyTest, PlanTrainsBothChoicesOnTheTargetByTheGroupsRecipe) {
  const auto plan = PlanVerification({.repeats = 3}, "ecm-small", Fit(), Candidates(), 500, 8);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->sweep.name, StartsWith("ecm-small-verify-500-n8-"));
  const auto grid = plan::EnumerateGrid(plan->sweep);
  ASSERT_TRUE(grid.ok()) << grid.status();
  ASSERT_EQ(grid->size(), 6u);
  for (const PointSpec& point : *grid) {
    EXPECT_EQ(point.dataset_size, 500);
    EXPECT_TRUE((point.heads == 3 && point.width == 40) || (point.heads == 4 && point.width == 48));
    EXPECT_NEAR(static_cast<double>(point.steps), 120 * std::sqrt(static_cast<double>(CountParams(point).train)), 120);
    EXPECT_EQ(point.lr, 0.003);
    EXPECT_LE(point.init_seed, 3u);
  }
  EXPECT_THAT(plan->verification.budget_rule, HasSubstr("steps by the size of the model"));
  const auto again = PlanVerification({.repeats = 3}, "ecm-small", Fit(), Candidates(), 500, 8);
  EXPECT_EQ(again->sweep.text, plan->sweep.text);
  const auto longer = PlanVerification({.repeats = 3, .steps = 9000}, "ecm-small", Fit(), Candidates(), 500, 8);
  ASSERT_TRUE(longer.ok());
  EXPECT_NE(longer->sweep.name, plan->sweep.name) << "another budget is another sweep";
  EXPECT_EQ(plan::EnumerateGrid(longer->sweep)->front().steps, 9000);
  const std::string long_name(64, 'a');
  EXPECT_LE(PlanVerification({}, long_name, Fit(), Candidates(), 500, 8)->sweep.name.size(), 64u);
}

TEST(VerifyTest, TargetThatTheAlphabetCannotWrite_IsRefused) {
  const auto plan = PlanVerification({}, "s", Fit(), Candidates(), 1'000'000, 2);
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
}

Verification Outcome(const std::vector<int64_t>& items) {
  Verification verification{.sweep = "s-verify", .budget_rule = "3,000 steps", .target = 500};
  VerifiedModel model{.model = Candidates()[0], .why = "smallest by the estimate", .point = {}, .repeats = {}};
  model.point.dataset_size = 500;
  int64_t seed = 0;
  for (const int64_t count : items) {
    model.repeats.push_back(
        {.seed = ++seed, .items_mem = count, .steps = 3000, .stop_reason = "budget", .backend = "cpu"});
  }
  verification.models.push_back(model);
  return verification;
}

TEST(VerifyTest, WordsSayWhatWasReachedAndPromiseNothing) {
  EXPECT_THAT(VerificationText(Outcome({500, 500, 500})), HasSubstr("the target was reached"));
  EXPECT_THAT(VerificationText(Outcome({500, 500, 500})), Not(HasSubstr("does not promise")));
  const std::string missed = VerificationText(Outcome({480, 470, 460}));
  EXPECT_THAT(missed,
              HasSubstr("470 of 500 items on average, all of them in 0 of 3 repeats: the target was not reached"));
  EXPECT_THAT(missed, HasSubstr("does not promise that a library of exactly that size is memorized"));
  EXPECT_THAT(VerificationText(Outcome({500, 499, 500})), HasSubstr("reached in some repeats only"));
  EXPECT_THAT(VerificationText(Outcome({})), HasSubstr("no repeat has a result"));
}

TEST(VerifyTest, JsonCarriesTheVerificationOfTheModelsItTrained) {
  const auto json = nlohmann::json::parse(DesignJson(Candidates(), Outcome({500, 490, 480})));
  const auto& verified = json.at(0).at("verification");
  EXPECT_EQ(verified.at("dataset_size"), 500);
  EXPECT_EQ(verified.at("repeats").size(), 3u);
  EXPECT_EQ(verified.at("items_mem_mean"), 490.0);
  EXPECT_EQ(verified.at("reached"), false);
  EXPECT_FALSE(json.at(1).contains("verification"));
  EXPECT_FALSE(nlohmann::json::parse(DesignJson(Candidates(), {})).at(0).contains("verification"));
}

TEST(SuggestTargetTest, BothKindsAreReadAndNonsenseIsNamed) {
  const auto capacity = ParseSuggestTarget("capacity:heads=5,width=64,seq_len=32");
  ASSERT_TRUE(capacity.ok()) << capacity.status();
  EXPECT_EQ(capacity->heads, 5);
  EXPECT_EQ(capacity->width, 64);
  EXPECT_EQ(capacity->seq_len, 32);
  const auto design = ParseSuggestTarget("design:seq_len=16,items=1000");
  ASSERT_TRUE(design.ok()) << design.status();
  EXPECT_EQ(design->items, 1000);
  const std::pair<const char*, const char*> wrong[] = {{"", "capacity: or design:"},
                                                       {"heads=5", "capacity: or design:"},
                                                       {"size:heads=5", "capacity: or design:"},
                                                       {"capacity:heads=5,width=64", "seq_len is missing"},
                                                       {"capacity:heads=5,width=64,seq_len=0", "seq_len must be"},
                                                       {"capacity:heads=x,width=64,seq_len=8", "heads must be"},
                                                       {"capacity:items=5,width=64,seq_len=8", "'items=5'"},
                                                       {"design:items=1000,seq_len=16,", "''"}};
  for (const auto& [text, message] : wrong) {
    const auto target = ParseSuggestTarget(text);
    EXPECT_EQ(target.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(target.status().message(), HasSubstr(message)) << text;
  }
}

}  // namespace
}  // namespace capsweep::cli
