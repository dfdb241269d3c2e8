// Studies of a sweep file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string File(const std::string& studies, const std::string& rest = "") {
  return StrCat("sweep: s\nmodel: {heads: [1, 2], width: [8, 16]}\ndata: {dataset_size: 50}\ntrain: {steps: 10}\n",
                "repeats: 3\nwhere: \"width > 4\"\n", rest, "studies:\n", studies);
}

std::string ErrorsOf(const std::string& text) {
  const auto spec = ParseSweep(text, "s.yaml");
  EXPECT_FALSE(spec.ok()) << text;
  return std::string(spec.status().message());
}

const Axis* AxisOf(const SweepSpec& spec, std::string_view field) {
  for (const Axis& axis : spec.axes) {
    if (axis.field == field) return &axis;
  }
  return nullptr;
}

TEST(SweepStudiesTest, AStudyIsTheBaseWithItsFieldsReplaced) {
  const auto spec = ParseSweep(File("  - {name: budget, model: {width: 16}, train: {steps: 30, lr: 0.1}, repeats: 1}\n"
                                    "  - {name: epochs, train: {epochs: 4}, where: \"heads == 2\", seeds: [7, 9]}\n"),
                               "s.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->seeds, ElementsAre(1, 2, 3));
  ASSERT_THAT(spec->studies, SizeIs(2));
  const SweepSpec& budget = spec->studies[0];
  EXPECT_EQ(budget.name, "budget");
  EXPECT_THAT(budget.seeds, ElementsAre(1));
  EXPECT_EQ(budget.where, "width > 4");
  EXPECT_THAT(AxisOf(budget, "heads")->values, SizeIs(2));
  EXPECT_THAT(AxisOf(budget, "width")->values, ElementsAre(Scalar(int64_t{16})));
  EXPECT_THAT(AxisOf(budget, "steps")->values, ElementsAre(Scalar(int64_t{30})));
  EXPECT_NE(AxisOf(budget, "lr"), nullptr);
  EXPECT_EQ(AxisOf(*spec, "lr"), nullptr) << "the base stays as it is";
  EXPECT_THAT(budget.studies, IsEmpty());
  const SweepSpec& epochs = spec->studies[1];
  EXPECT_EQ(AxisOf(epochs, "steps"), nullptr);
  EXPECT_NE(AxisOf(epochs, "epochs"), nullptr);
  EXPECT_EQ(epochs.where, "heads == 2");
  EXPECT_THAT(epochs.seeds, ElementsAre(7, 9));
  std::vector<std::string> fields;
  for (const Axis& axis : epochs.axes) fields.push_back(axis.field);
  EXPECT_THAT(fields, ElementsAre("heads", "width", "dataset_size", "epochs"));
}

TEST(SweepStudiesTest, ErrorsNameLineFieldAndFix) {
  const struct {
    std::string text, says;
  } cases[] = {
      {File("  {name: a}\n"), "s.yaml:8: studies: holds a mapping; give a list"},
      {File("  []\n"), "studies: holds a list; give a list such as"},
      {File("  - 3\n"), "s.yaml:8: studies: holds \"3\"; a study is a mapping with a name"},
      {File("  - {model: {width: 8}}\n"), "s.yaml:8: studies: a study has no name"},
      {File("  - {name: a b}\n"), "s.yaml:8: name: \"a b\" is not a name"},
      {File("  - {name: a}\n  - {name: a, repeats: 1}\n"), "s.yaml:9: studies: two studies have the name a"},
      {File("  - {name: a, modle: {width: 8}}\n"), "s.yaml:8: studies.modle: unknown field; did you mean model?"},
      {File("  - {name: a, measure: mls}\n"), "s.yaml:8: studies.measure: unknown field here"},
      {File("  - {name: a, model: {wdith: 8}}\n"), "s.yaml:8: model.wdith: unknown field; did you mean width?"},
      {File("  - {name: a, model: {width: 0}}\n"), "s.yaml:8: width: 0 is out of range"},
      {File("  - {name: a, repeats: 1, seeds: [2]}\n"), "s.yaml:8: repeats: repeats and seeds are both given"},
      {File("  - {name: a, train: {steps: 1, epochs: 2}}\n"), "are both given; keep one of the two"},
      {File("  - {name: a, train: {steps: =wdith}}\n"), "s.yaml:8: steps: the expression \"=wdith\""},
      {File("  - {name: a, train: {epochs: 3, lr: =1/steps}}\n"), "s.yaml:8: lr: uses steps, which this file"},
      {"sweep: s\nmodel: {width: 8}\ntrain: {steps: 1}\nmeasure: mac\nstudies: [{name: a}]\n",
       "s.yaml:5: studies: measure: mac searches and has no grid to add to"},
  };
  for (const auto& c : cases) EXPECT_THAT(ErrorsOf(c.text), HasSubstr(c.says));
}

}  // namespace
}  // namespace capsweep
