// The measure of a sweep file and its settings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep {
namespace {

using ::testing::HasSubstr;

std::string File(const std::string& rest, const std::string& data = "", const std::string& model = "{width: 8}",
                 const std::string& train = "{steps: 10}") {
  return StrCat("sweep: s\nmodel: ", model, "\ntrain: ", train, "\n", data, rest);
}

std::string ErrorsOf(const std::string& text) {
  const auto spec = ParseSweep(text, "s.yaml");
  EXPECT_FALSE(spec.ok()) << text;
  return std::string(spec.status().message());
}

TEST(SweepSearchTest, SettingsAndTheirDefaults) {
  const auto mls = ParseSweep(File("measure: mls\n"), "s.yaml");
  ASSERT_TRUE(mls.ok()) << mls.status();
  EXPECT_EQ(mls->measure, "mls");
  EXPECT_EQ(mls->measure_line, 4);
  EXPECT_EQ(mls->search.start, 0);
  EXPECT_EQ(mls->search.restarts, 3);
  EXPECT_EQ(mls->search.tolerance, 0.03);
  // The order of the fields does not matter.
  const auto given =
      ParseSweep(File("search: {start: 64, restarts: 5, tolerance: 0, largest: 1e4}\nmeasure: mls\n"), "s.yaml");
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_EQ(given->search.start, 64);
  EXPECT_EQ(given->search.restarts, 5);
  EXPECT_EQ(given->search.tolerance, 0);
  EXPECT_EQ(given->search.largest, 10'000);
  const auto mac = ParseSweep(File("measure: mac\nsearch: {start: 64, max_doublings: 3}\n"), "s.yaml");
  ASSERT_TRUE(mac.ok()) << mac.status();
  EXPECT_EQ(mac->search.max_doublings, 3);
  const auto minnet = ParseSweep(
      File("measure: minnet\nsearch: {knob: width, from: 4, to: 64, step: 4, trials: 2, lr: [1e-3, 1e-2], warmup: [0, "
           "0.1]}\n",
           "data: {dataset_size: [50, 80]}\n", "{heads: 2}"),
      "s.yaml");
  ASSERT_TRUE(minnet.ok()) << minnet.status();
  EXPECT_EQ(minnet->search.knob, "width");
  EXPECT_EQ(minnet->search.lr_low, 1e-3);
  EXPECT_EQ(minnet->search.warmup_high, 0.1);
  EXPECT_TRUE(ParseSweep(File("measure: assoc\n", "data: {dataset_size: 9}\n"), "s.yaml").ok());
}

TEST(SweepSearchTest, ErrorsNameLineFieldAndFix) {
  const struct {
    std::string text, says;
  } cases[] = {
      {File("measure: adaptive\n"), "s.yaml:4: search.target: is missing; say which prediction"},
      {File("measure: adaptive\n"), "s.yaml:4: search.budget_points: is missing; say how much may be spent"},
      {File("measure: adaptive\nsearch: {target: {heads: 3, width: 16}}\n"),
       "s.yaml:5: search.target.seq_len: is missing"},
      {File("measure: adaptive\nsearch: {target: 5}\n"),
       "s.yaml:5: search.target: holds \"5\"; give it as {heads: 5, width: 64, seq_len: 32}"},
      {File("measure: adaptive\nsearch: {target: {heads: 0, width: 16, seq_len: 8}}\n"),
       "s.yaml:5: search.target.heads: 0 is out of range"},
      {File("measure: adaptive\nsearch: {target: {layers: 3}}\n"), "s.yaml:5: search.target.layers: unknown setting"},
      {File("measure: adaptive\nsearch: {design: {items: 9, seq_len: 8}, target: {heads: 1, width: 8, seq_len: 8}}\n"),
       "search.target: search.target and search.design are both given"},
      {File("measure: adaptive\nsearch: {budget_points: 9, budget_seconds: 9}\n"),
       "search.budget_points: search.budget_points and search.budget_seconds are both given"},
      {File("measure: adaptive\nsearch: {form: cubic}\n"),
       "s.yaml:5: search.form: \"cubic\" is no form to choose cells by; use one of log_quadratic, softmin"},
      {File("measure: adaptive\nsearch: {budget_seconds: 0}\n"), "search.budget_seconds: 0 is out of range"},
      {File("measure: adaptive\nsearch: {stop_at: 0}\n"), "search.stop_at: 0 is out of range"},
      {File("measure: adaptive\nsearch: {round: 5000}\n"), "search.round: 5000 is out of range"},
      {File("measure: adaptive\n", "data: {dataset_size: [50, 60]}\n"),
       "s.yaml:4: dataset_size: has 2 values, but the model that measure: adaptive fits is one over heads"},
      {File("measure: adaptive\n", "", "{width: 8, family: mlp}"), "s.yaml:2: family: mlp has no heads"},
      {File("measure: mca\n"),
       "s.yaml:4: measure: \"mca\" is unknown; use one of grid, mac, mls, minnet, adaptive, assoc"},
      {File("measure: mac\n", "data: {dataset_size: 50}\n"),
       "s.yaml:4: dataset_size: measure: mac searches the library size itself; leave data.dataset_size out"},
      {File("measure: mls\n", "data: {dataset_size: 50}\n"), "s.yaml:4: dataset_size: measure: mls searches"},
      {File("search: {start: 4}\n"), "s.yaml:4: search: measure: grid does not search"},
      {File("measure: mac\nsearch: 7\n"), "s.yaml:5: search: holds \"7\"; give a mapping of start, max_doublings"},
      {File("measure: mac\nsearch: {strat: 7}\n"), "s.yaml:5: search.strat: unknown setting; did you mean start?"},
      {File("measure: mac\nsearch: {restarts: 7}\n"),
       "s.yaml:5: search.restarts: is a setting of measure: mls, not of mac"},
      {File("measure: mls\nsearch: {knob: width}\n"), "search.knob: is a setting of measure: minnet, not of mls"},
      {File("measure: mls\nsearch: {restarts: 0}\n"), "s.yaml:5: search.restarts: 0 is out of range"},
      {File("measure: mls\nsearch: {restarts: two}\n"), "s.yaml:5: search.restarts: \"two\" is not a number"},
      {File("measure: mls\nsearch: {tolerance: 2}\n"), "s.yaml:5: search.tolerance: 2 is out of range"},
      {File("measure: mls\nsearch: {start: 9, largest: 8}\n"), "search.start: 9 is above search.largest, 8"},
      {File("measure: minnet\n"), "s.yaml:4: search.knob: is missing"},
      {File("measure: minnet\nsearch: {knob: width, from: 4}\n"), "s.yaml:5: search.to: is missing"},
      {File("measure: minnet\nsearch: {knob: heads, from: 4, to: 8}\n"), "search.knob: \"heads\" is no size to search"},
      {File("measure: minnet\nsearch: {knob: width, from: 9, to: 8}\n"), "search.to: 8 is below search.from, 9"},
      {File("measure: minnet\nsearch: {knob: width, from: 4, to: 8}\n"),
       "s.yaml:2: width: minnet searches width itself (search.knob); leave model.width out"},
      {File("measure: minnet\nsearch: {knob: layers, from: 1, to: 8}\n", "", "{width: 8}", "{steps: 9, lr: 0.1}"),
       "s.yaml:3: lr: minnet draws lr for every trial; leave train.lr out and give its range as search.lr"},
      {File("measure: minnet\nsearch: {knob: layers, from: 1, to: 8, lr: 0.1}\n"),
       "search.lr: holds \"0.1\"; give the two"},
      {File("measure: minnet\nsearch: {knob: layers, from: 1, to: 8, lr: [0.1, 0.01]}\n"),
       "search.lr: [0.1, 0.01] is empty"},
      {File("measure: minnet\nsearch: {knob: layers, from: 1, to: 8, warmup: [0, 2]}\n"),
       "search.warmup: 2 is out of range"},
  };
  for (const auto& c : cases) EXPECT_THAT(ErrorsOf(c.text), HasSubstr(c.says));
}

}  // namespace
}  // namespace capsweep
