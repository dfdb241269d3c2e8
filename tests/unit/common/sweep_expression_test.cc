#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "common/sweep/expression.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Values of the default point with heads 3, width 24, params_train 1000, targets 8.
std::vector<double> Values() {
  PointSpec point;
  point.heads = 3;
  point.width = 24;
  std::vector<double> values;
  for (size_t id = 0; id < Fields().size(); ++id) values.push_back(FieldNumber(point, static_cast<int>(id)));
  values.resize(VariableCount());
  values[ParamsTotalId()] = 2000;
  values[ParamsTrainId()] = 1000;
  values[TargetsId()] = 8;
  return values;
}

double Value(std::string_view text) {
  auto expression = Expression::Compile(text);
  EXPECT_TRUE(expression.ok()) << text << ": " << expression.status();
  return expression.ok() ? expression->Evaluate(Values()) : std::nan("");
}

std::string ErrorOf(std::string_view text) {
  const auto expression = Expression::Compile(text);
  EXPECT_FALSE(expression.ok()) << text;
  return std::string(expression.status().message());
}

TEST(SweepExpressionTest, ArithmeticFollowsThePrecedenceOfMathematics) {
  EXPECT_EQ(Value("1 + 2 * 3 ^ 2"), 19);
  EXPECT_EQ(Value("(1 + 2) * 3"), 9);
  EXPECT_EQ(Value("-2 ^ 2"), -4);
  EXPECT_EQ(Value("2 ^ -1"), 0.5);
  EXPECT_EQ(Value("2 ^ 3 ^ 2"), 512);
  EXPECT_EQ(Value("8 - 3 - 2"), 3);
  EXPECT_EQ(Value("16 / 4 / 2"), 2);
  EXPECT_EQ(Value("17 % 5 + 1"), 3);
  EXPECT_EQ(Value("width % heads"), 0);
  EXPECT_EQ(Value("1e3 + .5"), 1000.5);
  EXPECT_EQ(Value("params_train / (2 * targets)"), 62.5);
}

TEST(SweepExpressionTest, FunctionsOfTheDocumentationWork) {
  EXPECT_EQ(Value("min(3, 1, 2)"), 1);
  EXPECT_EQ(Value("max(3, 1, 2)"), 3);
  EXPECT_EQ(Value("max(4)"), 4);
  EXPECT_EQ(Value("sqrt(16)"), 4);
  EXPECT_EQ(Value("abs(-3)"), 3);
  EXPECT_EQ(Value("log2(8)"), 3);
  EXPECT_EQ(Value("log10(1000)"), 3);
  EXPECT_DOUBLE_EQ(Value("ln(exp(2))"), 2);
  EXPECT_DOUBLE_EQ(Value("log(exp(2))"), 2);
  EXPECT_EQ(Value("floor(2.7) + ceil(2.2)"), 5);
  EXPECT_EQ(Value("round(2.5)"), 3);
  EXPECT_EQ(Value("max ( 1 , 2 )"), 2);
}

TEST(SweepExpressionTest, LogicAndComparisonsGiveZeroAndOne) {
  EXPECT_EQ(Value("heads == 3 && width != 3"), 1);
  EXPECT_EQ(Value("heads > 3 || width <= 24"), 1);
  EXPECT_EQ(Value("heads < 3 || width >= 25"), 0);
  EXPECT_EQ(Value("!freeze_mlp"), 1);
  EXPECT_EQ(Value("!(heads == 3)"), 0);
  EXPECT_EQ(Value("!(!true)"), 1);
  EXPECT_EQ(Value("freeze_mlp == false"), 1);
  EXPECT_EQ(Value("heads > 2 ? 10 : 20"), 10);
  EXPECT_EQ(Value("heads > 3 ? 10 : heads > 2 ? 15 : 20"), 15);
  EXPECT_EQ(Value("1 || 1 && 0"), 1);
}

TEST(SweepExpressionTest, WordsCompareWithTheirField) {
  EXPECT_EQ(Value("mode == \"label\""), 1);
  EXPECT_EQ(Value("mode != 'label'"), 0);
  EXPECT_EQ(Value("\"seq\" == mode || heads == 3"), 1);
  EXPECT_EQ(Value("(schedule == \"cosine\") && family == \"xt\""), 1);
  EXPECT_EQ(Value("backend == \"torch\""), 0);
  EXPECT_EQ(Value("mode == \"seq\" ? 1 : 2"), 2);
}

TEST(SweepExpressionTest, UndefinedMathematicsIsNotANumber) {
  EXPECT_TRUE(std::isnan(Value("sqrt(0 - 1)")));
  EXPECT_TRUE(std::isnan(Value("min(1, sqrt(0 - 1))")));
  EXPECT_TRUE(std::isinf(Value("1 / 0")));
}

TEST(SweepExpressionTest, VariablesAreListedOnceInOrder) {
  const auto expression = Expression::Compile("width * heads + width / targets");
  ASSERT_TRUE(expression.ok());
  EXPECT_THAT(expression->variables(), ElementsAre(FieldId("heads"), FieldId("width"), TargetsId()));
}

TEST(SweepExpressionTest, MistakesAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "empty"},
      {"   ", "empty"},
      {"widht", "did you mean width?"},
      {"foo", "unknown name \"foo\""},
      {"_pi", "unknown name"},
      {"rnd", "unknown name"},
      {"sin(1)", "unknown function \"sin\""},
      {"sum(1, 2)", "unknown function"},
      {"heads(2)", "unknown function \"heads\""},
      {"max", "unknown name"},
      {"width = 3", "write =="},
      {"heads & 1", "write &&"},
      {"heads and width", "write &&"},
      {"not heads", "write !"},
      {"2 ** 3", "write ^"},
      {"1 <> 2", "write !="},
      {"width >", "ends where a value is expected"},
      {"* 3", "near \"*\""},
      {"2 width", "near \"width\""},
      {"(1 + 2", "\")\" is missing"},
      {"1 + 2)", "closes nothing"},
      {"()", "nothing stands between"},
      {"max()", "nothing stands between"},
      {"max(1,)", "does not parse"},
      {"1, 2", "separates no arguments"},
      {"(1, 2)", "separates no arguments"},
      {"sqrt(1, 2)", "too many arguments"},
      {"1e999", "cannot be read"},
      {"1 $ 2", "\"$\" at character 3"},
      {"heads > 2 ? 1", "does not parse"},
      {"mode == \"labl\"", "mode is never \"labl\"; its words are label, seq, lm"},
      {"mode == 1", "mode holds a word"},
      {"mode + 1", "mode holds a word"},
      {
          "heads == \"label\"",
          "the word \"label\"",
      },
      {"1 + mode == \"label\"", "mode holds a word"},
      {"mode == \"label\" + 1", "mode holds a word"},
      {"!mode == \"label\"", "mode holds a word"},
      {"mode < \"label\"", "mode holds a word"},
      {"\"label\"", "the word \"label\""},
      {"mode == \"label", "not closed"}};
  for (const auto& [text, says] : cases) EXPECT_THAT(ErrorOf(text), HasSubstr(says)) << text;
  EXPECT_THAT(ErrorOf(std::string(3000, '1')), HasSubstr("3000 characters"));
}

// Found by fuzzing: such a field has no list of words to show.
TEST(SweepExpressionTest, ATextInAnExpressionIsRefusedByName) {
  for (const char* text : {"8 file", "file + 1", "file == \"a.csv\"", "heads > 1 && file != \"b\""}) {
    EXPECT_THAT(ErrorOf(text), HasSubstr("file")) << text;
  }
  EXPECT_THAT(ErrorOf("file == \"a.csv\""), HasSubstr("cannot stand in an expression"));
}

TEST(SweepExpressionTest, InstancesDoNotShareValues) {
  auto a = Expression::Compile("heads");
  auto b = Expression::Compile("heads");
  ASSERT_TRUE(a.ok() && b.ok());
  std::vector<double> values = Values();
  EXPECT_EQ(a->Evaluate(values), 3);
  values[FieldId("heads")] = 5;
  EXPECT_EQ(b->Evaluate(values), 5);
  const Expression moved = std::move(*a);
  EXPECT_EQ(moved.Evaluate(values), 5);
}

TEST(SweepExpressionTest, RoundTo12DigitsHidesTheLastBits) {
  EXPECT_EQ(RoundTo12Digits(0.1 + 0.2), 0.3);
  EXPECT_EQ(RoundTo12Digits(-1234567890123.0), -1234567890120.0);
  EXPECT_EQ(RoundTo12Digits(0.0), 0.0);
  EXPECT_TRUE(std::isnan(RoundTo12Digits(std::nan(""))));
}

}  // namespace
}  // namespace capsweep::sweep
