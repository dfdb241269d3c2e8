// Every form of an axis, and number formats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/sweep/axis.h"
#include "common/sweep/yaml_tree.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

struct Read {
  std::vector<std::string> values;
  std::string expression;
  std::string errors;
};

Read ReadValue(std::string_view field, std::string_view yaml) {
  Errors errors("s.yaml");
  const YamlNode node = ReadYaml(yaml, errors);
  Read read;
  if (const auto axis = ReadAxis(FieldId(field), node, errors)) {
    for (const Scalar& value : axis->values) read.values.push_back(ScalarText(value));
    read.expression = axis->expression;
  }
  read.errors = std::string(errors.ToStatus().message());
  return read;
}

TEST(SweepAxisTest, ScalarIsAnAxisOfOneValue) {
  EXPECT_THAT(ReadValue("heads", "3").values, ElementsAre("3"));
  EXPECT_THAT(ReadValue("mode", "seq").values, ElementsAre("seq"));
  EXPECT_THAT(ReadValue("freeze_mlp", "true").values, ElementsAre("true"));
  EXPECT_THAT(ReadValue("head_dim", "split").values, ElementsAre("split"));
}

TEST(SweepAxisTest, NumbersAreTheSameInEveryFormat) {
  for (const char* text : {"0.003", "3e-3", "3.0e-3", "+0.003", "30.0E-4", ".003"}) {
    EXPECT_THAT(ReadValue("lr", text).values, ElementsAre("0.003")) << text;
  }
  for (const char* text : {"1000", "1_000", "1e3", "1000.0", "+1000", "10.0e+2"}) {
    EXPECT_THAT(ReadValue("dataset_size", text).values, ElementsAre("1000")) << text;
  }
}

TEST(SweepAxisTest, ThingsThatOnlyLookLikeNumbersAreRefused) {
  for (const char* text : {"0x10", "1__0", "_1", "1_", "1e", "e5", "1.2.3", "--1", "1-", "+-1", ".", "1 2", "1e5e5",
                           "1,000", "''", "'1'", "~", "infinity", "NaN"}) {
    EXPECT_NE(ReadValue("dataset_size", text).errors, "") << text;
    EXPECT_NE(ReadValue("lr", text).errors, "") << text;
  }
}

TEST(SweepAxisTest, ListKeepsTheOrderOfTheFile) {
  EXPECT_THAT(ReadValue("heads", "[3, 1, 2]").values, ElementsAre("3", "1", "2"));
  EXPECT_THAT(ReadValue("mode", "[seq, label]").values, ElementsAre("seq", "label"));
  EXPECT_THAT(ReadValue("head_dim", "[8, split]").values, ElementsAre("8", "split"));
}

TEST(SweepAxisTest, RangeEndsAtOrBelowTo) {
  EXPECT_THAT(ReadValue("heads", "{from: 1, to: 4, step: 1}").values, ElementsAre("1", "2", "3", "4"));
  EXPECT_THAT(ReadValue("heads", "{from: 1, to: 6, step: 2}").values, ElementsAre("1", "3", "5"));
  EXPECT_THAT(ReadValue("heads", "{from: 2, to: 2, step: 5}").values, ElementsAre("2"));
}

TEST(SweepAxisTest, RealRangeHasNoNoiseInLastDigits) {
  EXPECT_THAT(ReadValue("lr", "{from: 0.1, to: 0.3, step: 0.1}").values, ElementsAre("0.1", "0.2", "0.3"));
  EXPECT_THAT(ReadValue("lr", "{from: 0.1, to: 1, step: 0.1}").values, SizeIs(10));
}

TEST(SweepAxisTest, Log2GivesPowersOfTwoInclusive) {
  EXPECT_THAT(ReadValue("width", "{log2: [4, 64]}").values, ElementsAre("4", "8", "16", "32", "64"));
  EXPECT_THAT(ReadValue("lr", "{log2: [0.125, 0.5]}").values, ElementsAre("0.125", "0.25", "0.5"));
}

TEST(SweepAxisTest, GeometricEndsExactlyAndRoundsIntegers) {
  EXPECT_THAT(ReadValue("dataset_size", "{geometric: {from: 100, to: 10000, count: 5}}").values,
              ElementsAre("100", "316", "1000", "3162", "10000"));
  EXPECT_THAT(ReadValue("lr", "{geometric: {from: 1e-4, to: 1e-1, count: 4}}").values,
              ElementsAre("1e-04", "0.001", "0.01", "0.1"));
  EXPECT_THAT(ReadValue("width", "{geometric: {from: 64, to: 16, count: 3}}").values, ElementsAre("64", "32", "16"));
}

TEST(SweepAxisTest, ExpressionIsKeptAsText) {
  EXPECT_EQ(ReadValue("dataset_size", "\"= params_train / 2 \"").expression, "params_train / 2");
  EXPECT_EQ(ReadValue("dataset_size", "=params_train / 2").expression, "params_train / 2");
}

TEST(SweepAxisTest, BadFormsAreRefusedWithTheValue) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[]", "heads: an empty list has no values"},
      {"{}", "heads: an empty mapping"},
      {"[2, 2]", "heads: 2 occurs twice"},
      {"[2, 2.0]", "heads: 2 occurs twice"},
      {"[[1, 2]]", "heads: a list is not a number"},
      {"[{from: 1, to: 2, step: 1}]", "heads: a mapping is not a number"},
      {"[1, ~]", "heads: nothing is not a number"},
      {"{from: 3, to: 1, step: 1}", "from 3 is above to 1"},
      {"{from: 1, to: 3, step: 0}", "step 0 must be above 0"},
      {"{from: 1, to: 3, step: -1}", "step -1 must be above 0"},
      {"{from: 1, to: 3}", "lacks step"},
      {"{from: 1, to: three, step: 1}", "to \"three\" is not a number"},
      {"{from: 1, to: 3, step: 0.5}", "1.5 is not a whole number"},
      {"{from: 0, to: 3, step: 1}", "heads: 0 is out of range"},
      {"{from: 1, to: 3, setp: 1}", "did you mean step?"},
      {"{from: 1, to: 1e12, step: 1}", "at most 1000000 are allowed"},
      {"{from: 1, to: 1e300, step: 1e-300}", "values; at most 1000000"},
      {"{log2: [4, 60]}", "60 is not a power of two"},
      {"{log2: [8, 4]}", "empty; swap"},
      {"{log2: [0, 4]}", "0 is not a power of two"},
      {"{log2: 4}", "log2 needs a list of two"},
      {"{log2: [1, 2], from: 1}", "one axis has one form"},
      {"{geometric: {from: 1, to: 4, count: 10}}", "heads: 1 occurs twice among the values after rounding"},
      {"{geometric: {from: 0, to: 4, count: 2}}", "both must be above 0"},
      {"{geometric: {from: 1, to: 4, count: 1}}", "count 1 cannot reach"},
      {"{geometric: {from: 1, to: 4, count: 1.5}}", "count 1.5 must be a whole number"},
      {"{geometric: {from: 1, to: 4, count: 1e12}}", "at most 1000000"},
      {"{geometric: [1, 2, 3]}", "geometric must be a mapping"}};
  for (const auto& [yaml, says] : cases) {
    EXPECT_THAT(ReadValue("heads", yaml).errors, HasSubstr(says)) << yaml;
  }
  EXPECT_THAT(ReadValue("mode", "{from: 1, to: 2, step: 1}").errors, HasSubstr("only numbers can be generated"));
  EXPECT_THAT(ReadValue("freeze_mlp", "[true, true]").errors, HasSubstr("true occurs twice"));
}

TEST(SweepAxisTest, FieldsHaveSectionsAndTheirRangesAreThoseOfThePoint) {
  EXPECT_EQ(Fields().size(), 40u);
  for (size_t id = 0; id < Fields().size(); ++id) {
    const PointSpec defaults;
    EXPECT_EQ(FieldId(Fields()[id].name), static_cast<int>(id));
    EXPECT_EQ(Fields()[id].kind == FieldKind::kWord, !Fields()[id].words.empty());
    for (const std::string_view word : Fields()[id].words) {
      EXPECT_TRUE(CheckRange(static_cast<int>(id), Scalar(std::string(word))).ok()) << word;
    }
  }
  for (const char* field : {"vocab", "seq_len", "dataset_size", "epochs", "steps", "heads", "width", "batch_size"}) {
    EXPECT_TRUE(CheckRange(FieldId(field), Scalar(int64_t{2})).ok()) << field;
    EXPECT_FALSE(CheckRange(FieldId(field), Scalar(int64_t{0})).ok()) << field;
    EXPECT_FALSE(CheckRange(FieldId(field), Scalar(int64_t{1} << 50)).ok()) << field;
  }
}

TEST(SweepAxisTest, WordNumbersFollowTheListOfWords) {
  PointSpec point;
  for (size_t id = 0; id < Fields().size(); ++id) {
    for (size_t k = 0; k < Fields()[id].words.size(); ++k) {
      SetField(point, static_cast<int>(id), Scalar(std::string(Fields()[id].words[k])));
      EXPECT_EQ(FieldNumber(point, static_cast<int>(id)), static_cast<double>(k)) << Fields()[id].name;
    }
  }
}

}  // namespace
}  // namespace capsweep::sweep
