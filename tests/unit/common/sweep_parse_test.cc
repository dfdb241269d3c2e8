// Sweep files as a whole: structure, sections, errors with file, line, field, value and fix.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kGood = R"(sweep: good
task: {vocab: 16, seq_len: 8}
model: {heads: [1, 2], width: [8, 12]}
data: {dataset_size: 50}
train: {steps: 10}
)";

// kGood with one piece replaced.
std::string With(std::string_view from, std::string_view to) {
  std::string text(kGood);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string ErrorsOf(std::string_view text) {
  const auto spec = ParseSweep(text, "s.yaml");
  EXPECT_FALSE(spec.ok()) << text;
  EXPECT_TRUE(spec.ok() || spec.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(spec.status().message());
}

const Axis* AxisOf(const SweepSpec& spec, std::string_view field) {
  for (const Axis& axis : spec.axes) {
    if (axis.field == field) return &axis;
  }
  return nullptr;
}

TEST(SweepParseTest, GoodFileGivesAxesInCanonicalOrderWithLines) {
  const auto spec = ParseSweep(kGood, "s.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "good");
  EXPECT_EQ(spec->text, kGood);
  std::vector<std::string> fields;
  for (const Axis& axis : spec->axes) fields.push_back(axis.field);
  EXPECT_THAT(fields, ElementsAre("vocab", "seq_len", "heads", "width", "dataset_size", "steps"));
  EXPECT_THAT(AxisOf(*spec, "width")->values, ElementsAre(Scalar(int64_t{8}), Scalar(int64_t{12})));
  EXPECT_EQ(AxisOf(*spec, "width")->line, 3);
  EXPECT_THAT(spec->seeds, ElementsAre(1));
  EXPECT_EQ(spec->measure, "grid");
}

TEST(SweepParseTest, EveryFieldOfThePointIsAccepted) {
  const auto spec = ParseSweep(R"(sweep: all
task: {mode: lm, vocab: 16, seq_len: 8, lm_targets: all}
model: {family: xt, layers: 2, heads: 2, head_dim: split, width: 8, freeze_mlp: true}
data: {dataset_size: 50, data_seed: 3}
train: {optimizer: adam, lr: 3e-3, schedule: constant, lr_final: 0.1, batch_size: 10, epochs: 5, eval_every: 2, patience: 0, init_seed: 4, backend: torch}
seeds: [7, 11]
measure: grid
where: "heads > 1"
limits: {max_failures: 1, attempts: 2, max_points: 3}
)",
                               "s.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->axes.size(), 22u);  // all 23 fields but one of the two budgets
  EXPECT_THAT(spec->seeds, ElementsAre(7, 11));
  EXPECT_EQ(spec->where, "heads > 1");
  EXPECT_EQ(spec->where_line, 8);
  EXPECT_EQ(spec->limits.max_failures, 1);
  EXPECT_EQ(spec->limits.attempts, 2);
  EXPECT_EQ(spec->limits.max_points, 3);
}

TEST(SweepParseTest, RepeatsMakesSeedsFromOne) {
  const auto spec = ParseSweep(std::string(kGood) + "repeats: 3\n", "s.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->seeds, ElementsAre(1, 2, 3));
}

TEST(SweepParseTest, SeveralErrorsAreAllReportedInLineOrder) {
  const std::string errors = ErrorsOf(R"(sweep: a b
task: {mode: labl, vocab: two}
model: {heads: [0, 1.5], width: 8}
data: {dataset_size: "=parms_train"}
train: {lr: .nan, steps: 4}
limit: 4
where: "width >"
)");
  const std::vector<std::string> parts = {"s.yaml:1: sweep: \"a b\"",
                                          "s.yaml:2: mode: \"labl\"",
                                          "s.yaml:2: vocab: \"two\"",
                                          "s.yaml:3: heads: 0 is out of range",
                                          "s.yaml:3: heads: 1.5 is not a whole number",
                                          "s.yaml:4: dataset_size: ",
                                          "s.yaml:5: lr: .nan",
                                          "s.yaml:6: limit: unknown field; did you mean limits?",
                                          "s.yaml:7: where: "};
  size_t at = 0;
  for (const std::string& part : parts) {
    const size_t found = errors.find(part, at);
    ASSERT_NE(found, std::string::npos) << part << "\nin\n" << errors;
    at = found;
  }
}

struct BadCase {
  std::string name;
  std::string text;
  std::vector<std::string> says;

  friend void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.name; }
};

class SweepParseBadTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(SweepParseBadTest, IsRefusedWithLineFieldAndFix) {
  const std::string errors = ErrorsOf(GetParam().text);
  for (const std::string& part : GetParam().says) EXPECT_THAT(errors, HasSubstr(part));
}

std::string Repeat(std::string_view piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    Structure, SweepParseBadTest,
    ::testing::Values(
        BadCase{"Empty", "", {"s.yaml:1: the file is empty"}}, BadCase{"OnlyComment", "# x\n", {"the file is empty"}},
        BadCase{"PlainText", "hello world\n", {"s.yaml:1: ", "\"hello world\"", "sweep: NAME"}},
        BadCase{"List", "- 1\n- 2\n", {"holds a list"}},
        BadCase{"Binary", std::string("sweep: x\n\x01\xff\xfe", 13), {"s.yaml:2: not a text file"}},
        BadCase{"NotUtf8", "sweep: x\ntask: {vocab: \xc3\x28}\n", {"s.yaml:2: not a text file"}},
        BadCase{"CutUtf8", "sweep: x\n# \xe2\x82", {"s.yaml:2: not a text file"}},
        BadCase{"BrokenYaml", "sweep: x\ntask: {vocab: [1, 2}\n", {"s.yaml:2: not valid YAML"}},
        BadCase{"TwoDocuments", std::string(kGood) + "---\na: 1\n", {"s.yaml:6: ", "second YAML document"}},
        BadCase{"Anchor", With("50", "&a 50"), {"s.yaml:4: ", "anchors"}},
        BadCase{"AliasBomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", {"s.yaml:1: ", "anchors"}},
        BadCase{"AliasWithoutAnchor", With("50", "*a"), {"s.yaml:4: "}},
        BadCase{"Tag", With("50", "!!int 50"), {"s.yaml:4: ", "tags"}},
        BadCase{"RepeatedKey", std::string(kGood) + "sweep: y\n", {"s.yaml:6: sweep: given twice, first in line 1"}},
        BadCase{"RepeatedField", With("vocab: 16", "vocab: 16, vocab: 8"), {"s.yaml:2: vocab: given twice"}},
        BadCase{"Deep", Repeat("- ", 100000), {"s.yaml:1: nested deeper than 8"}},
        BadCase{"DeepFlow", StrCat("sweep: ", Repeat("[", 400000)), {"s.yaml:1: "}},
        BadCase{"TooLong", Repeat("# comment\n", 110000), {"1100000 bytes", "at most 1048576"}},
        BadCase{"MapAsKey", "{a: 1}: 2\n", {"s.yaml:1: "}}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Fields, SweepParseBadTest,
    ::testing::Values(
        BadCase{"NoName", With("sweep: good\n", "\n"), {"sweep: is missing"}},
        BadCase{"LongName", With("good", std::string(65, 'a')), {"s.yaml:1: sweep: ", "1 to 64"}},
        BadCase{"NameWithSlash", With("good", "../x"), {"s.yaml:1: sweep: \"../x\" is not a name"}},
        BadCase{"UnknownSection", std::string(kGood) + "modle: {}\n", {"s.yaml:6: modle: ", "did you mean model?"}},
        BadCase{"UnknownField", With("heads", "haeds"), {"s.yaml:3: model.haeds: ", "did you mean heads?"}},
        BadCase{"FieldOfOtherSection",
                With("vocab: 16", "vocab: 16, width: 8"),
                {"s.yaml:2: task.width: ", "belongs under model"}},
        BadCase{"FieldAtTopLevel", std::string(kGood) + "heads: 2\n", {"s.yaml:6: heads: ", "belongs under model"}},
        BadCase{"TopLevelInSection", With("vocab: 16", "repeats: 2"), {"s.yaml:2: task.repeats: ", "top level"}},
        BadCase{"SectionIsScalar", With("{dataset_size: 50}", "50"), {"s.yaml:4: data: holds \"50\""}},
        BadCase{"SectionIsEmpty", With(" {dataset_size: 50}", ""), {"s.yaml:4: data: holds nothing"}},
        BadCase{"NoValue", With("seq_len: 8", "seq_len:"), {"s.yaml:2: seq_len: has no value"}},
        BadCase{"HeadsZero", With("[1, 2]", "0"), {"s.yaml:3: heads: 0 is out of range", "from 1 to"}},
        BadCase{"HeadsNegative", With("[1, 2]", "-1"), {"s.yaml:3: heads: -1 is out of range"}},
        BadCase{"HeadsFraction", With("[1, 2]", "1.5"), {"s.yaml:3: heads: 1.5 is not a whole number"}},
        BadCase{"HeadsWord", With("[1, 2]", "two"), {"s.yaml:3: heads: \"two\" is not a number"}},
        BadCase{"HeadsBool", With("[1, 2]", "true"), {"s.yaml:3: heads: \"true\" is not a number"}},
        BadCase{"HeadsQuoted", With("[1, 2]", "\"2\""), {"s.yaml:3: heads: \"2\" is text", "without quotes"}},
        BadCase{"HeadsHuge", With("[1, 2]", "1e300"), {"s.yaml:3: heads: 1e300 is out of range"}},
        BadCase{"HeadsOctal", With("[1, 2]", "010"), {"s.yaml:3: heads: 010 starts with 0"}},
        BadCase{"VocabOne",
                With("vocab: 16", "vocab: 1"),
                {"s.yaml:2: vocab: 1 is out of range; use a whole number from 2"}},
        BadCase{"LrNan", With("steps: 10", "steps: 10, lr: .nan"), {"s.yaml:5: lr: .nan is not a finite number"}},
        BadCase{"LrInfinite", With("steps: 10", "steps: 10, lr: -.inf"), {"s.yaml:5: lr: -.inf is not a finite"}},
        BadCase{"LrNegative", With("steps: 10", "steps: 10, lr: -0.1"), {"s.yaml:5: lr: -0.1 is not a learning rate"}},
        BadCase{"LrZero", With("steps: 10", "steps: 10, lr: 0"), {"s.yaml:5: lr: 0 is not"}},
        BadCase{"LrOverflow", With("steps: 10", "steps: 10, lr: 1e400"), {"s.yaml:5: lr: \"1e400\" is too large"}},
        BadCase{"BoolYes", With("[1, 2]", "2, freeze_mlp: yes"), {"s.yaml:3: freeze_mlp: \"yes\" is neither true"}},
        BadCase{"ModeWord", With("vocab: 16", "mode: labels"), {"s.yaml:2: mode: \"labels\"", "did you mean label?"}},
        BadCase{"BackendWord", With("steps: 10", "steps: 10, backend: gpu"), {"s.yaml:5: backend: \"gpu\" is unknown"}},
        BadCase{"HeadDimWord", With("[1, 2]", "2, head_dim: splt"), {"s.yaml:3: head_dim: \"splt\"", "or split"}},
        BadCase{"StepsZero", With("steps: 10", "steps: 0"), {"s.yaml:5: steps: 0 is out of range"}},
        BadCase{"EpochsZero", With("steps: 10", "epochs: 0"), {"s.yaml:5: epochs: 0 is out of range"}},
        BadCase{"BothBudgets", With("steps: 10", "epochs: 1, steps: 10"), {"s.yaml:5: steps: ", "both given"}},
        BadCase{"NoBudget", With("{steps: 10}", "{lr: 0.1}"), {"train: neither train.epochs nor train.steps"}},
        BadCase{"SeedNegative", std::string(kGood) + "seeds: [1, -2]\n", {"s.yaml:6: seeds: -2 is negative"}},
        BadCase{"SeedsRepeat", std::string(kGood) + "seeds: [1, 1]\n", {"s.yaml:6: seeds: 1 occurs twice"}},
        BadCase{"RepeatsAndSeeds", std::string(kGood) + "repeats: 2\nseeds: [1]\n", {"repeats and seeds are both"}},
        BadCase{"RepeatsList", std::string(kGood) + "repeats: [1, 2]\n", {"s.yaml:6: repeats: ", "seeds: [7, 11]"}},
        BadCase{"RepeatsHuge", std::string(kGood) + "repeats: 1e12\n", {"s.yaml:6: repeats: 1000000000000 is out of"}},
        BadCase{"MeasureUnknown", std::string(kGood) + "measure: foo\n", {"s.yaml:6: measure: \"foo\" is unknown"}},
        BadCase{"LimitUnknown", std::string(kGood) + "limits: {retries: 1}\n", {"s.yaml:6: limits.retries: unknown"}},
        BadCase{"LimitZero", std::string(kGood) + "limits: {attempts: 0}\n", {"s.yaml:6: limits.attempts: 0"}},
        BadCase{"WhereEmpty", std::string(kGood) + "where: \"\"\n", {"s.yaml:6: where: "}},
        BadCase{"WhereList", std::string(kGood) + "where: [a]\n", {"s.yaml:6: where: holds a list"}}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Formulas, SweepParseBadTest,
    ::testing::Values(
        BadCase{"UnknownName",
                With("50", "=parms_train / 2"),
                {"s.yaml:4: dataset_size: ", "unknown name \"parms_train\"", "did you mean params_train?"}},
        BadCase{"BuiltInOfTheLibrary", With("50", "=_pi * 10"), {"s.yaml:4: dataset_size: ", "unknown name \"_pi\""}},
        BadCase{
            "OwnCycle", With("50", "=dataset_size * 2"), {"s.yaml:4: dataset_size: ", "dataset_size -> dataset_size"}},
        BadCase{"LongCycle",
                With("50}\ntrain: {steps: 10", "=batch_size}\ntrain: {batch_size: =steps, steps: =dataset_size"),
                {"s.yaml:4: dataset_size: ", "dataset_size -> batch_size -> steps -> dataset_size"}},
        BadCase{"CycleThroughParameters", With("[8, 12]", "=params_total / 100"), {"width -> params_total -> width"}},
        BadCase{"CycleThroughSplit",
                With("[8, 12]", "=8 * head_dim, head_dim: split"),
                {"s.yaml:3: ", "head_dim -> width -> head_dim"}},
        BadCase{"OtherBudget", With("50", "=epochs * 10"), {"s.yaml:4: dataset_size: uses epochs, which this file"}},
        BadCase{"NothingAfterEquals", With("50", "\"=\""), {"s.yaml:4: dataset_size: nothing follows"}},
        BadCase{"WordComputed", With("vocab: 16", "mode: =1"), {"s.yaml:2: mode: holds a word"}},
        BadCase{
            "InList", With("[8, 12]", "[8, =heads]"), {"s.yaml:3: width: the expression \"=heads\" stands in a list"}},
        BadCase{"WhereName", std::string(kGood) + "where: hedas > 1\n", {"s.yaml:6: where: ", "did you mean heads?"}}),
    [](const auto& test) { return test.param.name; });

TEST(SweepParseTest, BadAxisCausesNoFurtherErrors) {
  EXPECT_EQ(ErrorsOf(With("{steps: 10}", "{steps: ten, eval_every: =steps}")),
            "s.yaml:5: steps: \"ten\" is not a number; write digits such as 8 or 3.0e-3");
}

TEST(SweepParseTest, HalfAMillionErrorsAreCutAndCounted) {
  const std::string errors = ErrorsOf(With("[1, 2]", StrCat("[", Repeat("x,", 100000), "1]")));
  EXPECT_THAT(errors, AllOf(HasSubstr("s.yaml: and 99900 more errors")));
  EXPECT_LT(errors.size(), 20000u);
}

TEST(SweepParseTest, SamplesOfTheProjectParse) {
  for (const char* name : {"quickstart", "ecm-small", "mls"}) {
    const auto spec = LoadSweep(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/", name, ".yaml"));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->name, name);
  }
}

TEST(SweepParseTest, MissingFileIsNamed) {
  const auto spec = LoadSweep("/nonexistent/s.yaml");
  ASSERT_FALSE(spec.ok());
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("/nonexistent/s.yaml"));
}

}  // namespace
}  // namespace capsweep
