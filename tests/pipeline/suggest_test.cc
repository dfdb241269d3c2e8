// From a measured sweep to the next cells and to a verified design, with real processes and tests/support/fake_trainer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/text.h"
#include "tests/support/call_cli.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;

class SuggestPipelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = StrCat(::testing::TempDir(), "/suggest_", getpid());
    std::filesystem::create_directories(folder_);
    database_ = StrCat(folder_, "/t.db");
    std::ofstream(StrCat(folder_, "/s.yaml")) << "sweep: small\n"
                                                 "task: {vocab: 16, seq_len: [4, 8]}\n"
                                                 "model: {heads: [1, 2, 3], width: [8, 16, 24], freeze_mlp: true}\n"
                                                 "data: {dataset_size: \"=params_train / 2\"}\n"
                                                 "train: {steps: 50}\n";
    const Answer answer = Run(StrCat(folder_, "/s.yaml"));
    ASSERT_EQ(answer.code, 0) << answer.err;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Answer Run(const std::string& file) const { return Call(With({"run", file, "--no-plot"})); }
  std::vector<std::string> With(std::vector<std::string> arguments) const {
    for (const std::string& word :
         {std::string("--db"), database_, std::string("--trainer"), StrCat(CAPSWEEP_BIN_DIR, "/fake_trainer"),
          std::string("--devices"), std::string("cpu:1"), std::string("--quiet")}) {
      arguments.push_back(word);
    }
    return arguments;
  }
  std::string Count(const std::string& where) const {
    const Answer answer = Call(
        {"query", StrCat("SELECT count(*) AS n FROM v_results WHERE ", where), "--db", database_, "--format", "csv"});
    return answer.out;
  }

  std::string folder_, database_;
};

TEST_F(SuggestPipelineTest, SuggestedCellsExtendTheSweepAndADesignIsVerifiedOnce) {
  ASSERT_EQ(Count("sweep = 'small'"), "n\n18\n");
  const std::string next = StrCat(folder_, "/next.yaml");
  const Answer suggested = Call({"suggest", "small", "--db", database_, "--target",
                                 "capacity:heads=3,width=24,seq_len=8", "--points", "3", "--out", next});
  ASSERT_EQ(suggested.code, 0) << suggested.err;
  EXPECT_THAT(suggested.out, HasSubstr("To predict the capacity at heads 3, width 24, seq_len 8"));
  const Answer extended = Run(next);
  ASSERT_EQ(extended.code, 0) << extended.err;
  EXPECT_EQ(Count("sweep = 'small'"), "n\n21\n") << "three points that were not there";
  EXPECT_EQ(Count("sweep = 'small' AND heads = 3 AND width = 24 AND seq_len = 8"), "n\n1\n") << "never the target";

  const std::vector<std::string> design =
      With({"design", "small", "--target", "60", "--seq-len", "8", "--max-heads", "3", "--verify"});
  const Answer verified = Call(design);
  ASSERT_EQ(verified.code, 0) << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("Verification, sweep small-verify-60-n8-"));
  EXPECT_THAT(verified.out, HasSubstr("libraries of 60 items; 50 steps, as all fitted cells had."));
  const std::string trained = Count("sweep LIKE 'small-verify-%' AND dataset_size = 60 AND freeze_mlp = 1");
  EXPECT_TRUE(trained == "n\n3\n" || trained == "n\n6\n") << trained;
  EXPECT_EQ(Call(design).code, 0);
  EXPECT_EQ(Count("sweep LIKE 'small-verify-%'"), trained) << "asking again trains nothing";
}

}  // namespace
}  // namespace capsweep::cli
