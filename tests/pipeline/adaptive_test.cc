// `capsweep run` of an adaptive sweep with real processes and tests/support/fake_trainer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/text.h"
#include "nlohmann/json.hpp"
#include "tests/support/call_cli.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;

TEST(AdaptivePipelineTest, ARunEndsWithThePredictionAndIsAnsweredFromTheFileAfterwards) {
  const std::string folder = StrCat(::testing::TempDir(), "/adaptive_", getpid());
  std::filesystem::create_directories(folder);
  const std::string file = StrCat(folder, "/s.yaml"), database = StrCat(folder, "/t.db");
  std::ofstream(file) << "sweep: small\n"
                         "task: {vocab: 16, seq_len: [4, 8, 16]}\n"
                         "model: {heads: [1, 2, 3], width: [8, 16, 24], freeze_mlp: true}\n"
                         "data: {dataset_size: \"=params_train / 2\"}\n"
                         "train: {steps: 50}\n"
                         "measure: adaptive\n"
                         "search: {target: {heads: 4, width: 24, seq_len: 8}, budget_points: 20, stop_at: 0.001}\n";
  const std::vector<std::string> run = {
      "run",       file,    "--db",   database, "--no-plot", "--trainer", StrCat(CAPSWEEP_BIN_DIR, "/fake_trainer"),
      "--devices", "cpu:1", "--quiet"};
  const Answer first = Call(run);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("Predicted for heads 4, width 24, seq_len 8: "));
  EXPECT_THAT(first.out, HasSubstr("20 points, "));
  EXPECT_THAT(first.out, HasSubstr("budget used"));
  EXPECT_THAT(first.out, HasSubstr("search.stop_at 0.001 was not reached")) << "nothing is that sure";
  const Answer again = Call(run);
  EXPECT_EQ(again.out, first.out);
  EXPECT_THAT(Call({"status", "small", "--db", database}).out, HasSubstr("small: budget used; the interval reached"));
  EXPECT_EQ(Call({"query", "SELECT count(*) AS n FROM v_results", "--db", database, "--format", "csv"}).out, "n\n20\n");
  // Worked out again from the results, the rounds end where the run ended.
  const Answer rounds = Call({"analyze", "small", "--of", "adaptive", "--db", database, "--format", "json"});
  ASSERT_EQ(rounds.code, 0) << rounds.err;
  const auto json = nlohmann::json::parse(rounds.out);
  EXPECT_EQ(json["rounds"].back()["spent"], 20);
  EXPECT_EQ(json["rounds"].back()["points"], 20);
  EXPECT_THAT(json["ended"].get<std::string>(), HasSubstr("budget used"));
  EXPECT_THAT(
      Call({"query", "SELECT rounds || ' ' || predicted AS it FROM v_searches", "--db", database, "--format", "csv"})
          .out,
      HasSubstr(StrCat("it\n", json["rounds"].size(), " ")));
  const Answer stored = Call({"query", "SELECT predicted FROM v_searches", "--db", database, "--format", "json"});
  EXPECT_EQ(nlohmann::json::parse(stored.out)[0]["predicted"], json["rounds"].back()["predicted"]);
  const Answer report = Call({"report", "small", "--db", database, "--out", StrCat(folder, "/r.html")});
  ASSERT_EQ(report.code, 0) << report.err;
  std::stringstream page;
  page << std::ifstream(StrCat(folder, "/r.html")).rdbuf();
  EXPECT_THAT(page.str(), HasSubstr("Prediction by rounds"));
  EXPECT_THAT(page.str(), HasSubstr("Figure 1: "));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace capsweep::cli
