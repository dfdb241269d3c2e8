// `fit`, `design` and `suggest` on input that cannot be fitted or says little: one clear sentence and an exit code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/app.h"
#include "common/text.h"
#include "tests/support/call_cli.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;

class FitInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = StrCat(::testing::TempDir(), "/fit_input_", getpid(), "_",
                   ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".csv");
  }
  void TearDown() override { std::filesystem::remove(path_); }

  // Output with line breaks of wrapped sentences undone.
  Answer Call(const std::string& verb, const std::string& csv, const std::vector<std::string>& more = {}) {
    std::ofstream(path_) << csv;
    std::vector<std::string> arguments = {verb, "--csv", path_, "--bootstrap", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Answer answer = cli::Call(arguments);
    for (size_t at = 0; (at = answer.out.find("\n  ", at)) != std::string::npos;) answer.out.replace(at, 3, " ");
    return answer;
  }

  // Every combination; capacity = 20·width·heads, `library` items in the library (0 = no such column).
  static std::string Grid(const std::vector<int>& heads, const std::vector<int>& widths,
                          const std::vector<int>& lengths, int library = 0) {
    std::string csv = StrCat("heads,width,seq_len,capacity", library > 0 ? ",dataset_size\n" : "\n");
    for (const int h : heads) {
      for (const int w : widths) {
        for (const int n : lengths) {
          StrAppend(&csv, h, ",", w, ",", n, ",", library > 0 ? library : 20 * w * h + n,
                    library > 0 ? StrCat(",", library) : "", "\n");
        }
      }
    }
    return csv;
  }

  std::string path_;
};

TEST_F(FitInputTest, ThreeRows_AreTooFewAndSaidSo) {
  for (const char* verb : {"fit", "design"}) {
    const Answer answer =
        Call(verb, Grid({1, 2, 4}, {8}, {8}),
             std::string(verb) == "design" ? std::vector<std::string>{"--target", "10", "--seq-len", "8"}
                                           : std::vector<std::string>{});
    EXPECT_EQ(answer.code, 2) << verb;
    EXPECT_THAT(answer.err, HasSubstr("the smallest form needs 5 rows, and 3 of 3 can be used; measure more widths, "
                                      "heads or sequence lengths"))
        << verb;
  }
}

TEST_F(FitInputTest, AllRowsCensored_NamesTheReasonAndTheFix) {
  const Answer answer = Call("fit", Grid({1, 2, 3}, {8, 16}, {4, 8}, 100));
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("0 of 12 can be used (left out: 12 censored); give those cells a larger "
                                    "dataset_size"));
  EXPECT_THAT(answer.out, HasSubstr("No fit: nothing could be fitted"));
}

TEST_F(FitInputTest, NothingMemorized_IsNamed) {
  const Answer answer =
      Call("fit", "heads,width,seq_len,capacity\n1,8,8,0\n2,8,8,0\n3,8,8,0\n4,8,8,0\n5,8,8,0\n6,8,8,0\n");
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("6 no capacity above 0"));
}

TEST_F(FitInputTest, OneHeads_FitsAndSaysWhatIsNotIdentified) {
  const Answer answer = Call("fit", Grid({2}, {8, 16, 32}, {4, 8, 16, 32}));
  EXPECT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("One number of heads: how capacity depends on heads is not identified"));
}

TEST_F(FitInputTest, OneSequenceLength_FitsAndSaysWhatIsNotIdentified) {
  const Answer answer = Call("fit", Grid({1, 2, 3, 4}, {8, 16, 32}, {8}));
  EXPECT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("1 sequence length: a, d and e of f cannot all be identified"));
}

TEST_F(FitInputTest, OneWidth_FitsAndSaysThatABendCannotBeTold) {
  const Answer answer = Call("fit", Grid({1, 2, 3, 4}, {16}, {4, 8, 16, 32}));
  EXPECT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("1 width: whether capacity bends with width cannot be told"));
}

TEST_F(FitInputTest, Validate_PrintsTheTablesAndFillsTheJson) {
  const std::string csv = Grid({1, 2, 3}, {8, 16, 32}, {4, 8, 16});
  const Answer table = Call("fit", csv, {"--validate", "--form", "min"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("Validation, heads=3 held out, 9 rows"));
  EXPECT_THAT(table.out, HasSubstr("Held out, the ECM (`min`) beats"));
  const Answer json = Call("fit", csv, {"--validate", "--form", "min", "--format", "json"});
  EXPECT_THAT(json.out, HasSubstr("\"ecm_wins\""));
  EXPECT_THAT(Call("fit", csv, {"--format", "json"}).out, HasSubstr("\"validation\": null"));
}

TEST_F(FitInputTest, DesignOutOfReach_NamesTheLargestCapacityAndItsModel) {
  const Answer answer = Call("design", Grid({1, 2, 3}, {8, 16, 32}, {4, 8, 16}),
                             {"--target", "1e7", "--seq-len", "8", "--max-heads", "3", "--max-width", "64"});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("the largest attainable capacity is "));
  EXPECT_THAT(answer.err, HasSubstr("(heads 3, width 64)"));
}

TEST_F(FitInputTest, DesignPrintsMemoryPerParameter) {
  const Answer answer = Call("design", Grid({1, 2, 3}, {8, 16, 32}, {4, 8, 16}), {"--target", "500", "--seq-len", "8"});
  EXPECT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("Memory of the smallest by the estimate (heads "));
  EXPECT_THAT(answer.out, HasSubstr(" items per parameter, "));
}

TEST_F(FitInputTest, VerifyOfACsv_SaysWhatIsMissing) {
  const Answer answer =
      Call("design", Grid({1, 2, 3}, {8, 16, 32}, {4, 8, 16}), {"--target", "500", "--seq-len", "8", "--verify"});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("a CSV does not hold how its cells were trained"));
}

}  // namespace
}  // namespace capsweep::cli
