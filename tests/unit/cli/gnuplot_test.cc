// Charts as gnuplot scripts and as pictures that the real gnuplot draws.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/figures/gnuplot.h"
#include "cli/figures/script.h"
#include "common/file.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Chart SmallChart() {
  Panel panel{.title = "left", .x = {.label = "width B", .ticks = {8, 16, 17, 32}}, .y = {.label = "C", .from = 0}};
  panel.series.push_back({.title = "1 head", .points = {{8, 10, 8, 12}, {16, 20, 15, 25}, {32, 40, 39, 41}}});
  panel.series.push_back({.style = 0, .mark = Mark::kLine, .points = {{8, 10}, {32, 40}}});
  Panel right{.title = "right",
              .x = {.label = "N", .scale = Axis::Scale::kLog2},
              .y = {.label = "C", .scale = Axis::Scale::kLog10}};
  right.series.push_back(
      {.title = "band", .style = 1, .mark = Mark::kBand, .points = {{4, 10, 5, 20}, {8, 20, 9, 50}}});
  right.series.push_back({.title = "1 head", .mark = Mark::kPoints, .points = {{4, 10, -3, 20}, {8, 0}}});
  return {.title = "a chart", .subtitle = "below", .panels = {panel, right}};
}

class PictureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "capsweep-picture-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string At(const std::string& name) const { return StrCat(folder_, "/", name); }
  size_t Files() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator()));
  }
  std::string folder_;
};

TEST(ScriptTest, OnePlotForEachPanelAndOneLegendForAll) {
  const std::string script = GnuplotScript(SmallChart(), Format::kSvg, "/tmp/a.svg");
  EXPECT_THAT(script, AllOf(HasSubstr("set title \"left\" noenhanced"), HasSubstr("set title \"right\" noenhanced")));
  EXPECT_THAT(script, AllOf(HasSubstr("set logscale x 2"), HasSubstr("set logscale y 10")));
  size_t plots = 0, legends = 0;
  for (size_t at = script.find("\nplot "); at != std::string::npos; at = script.find("\nplot ", at + 1)) ++plots;
  for (size_t at = script.find("\"1 head\""); at != std::string::npos; at = script.find("\"1 head\"", at + 1))
    ++legends;
  EXPECT_EQ(plots, 3U);
  EXPECT_EQ(legends, 1U);
  EXPECT_THAT(script, HasSubstr("yerrorbars"));
  EXPECT_THAT(script, HasSubstr("('8' 8, '16' 16, '32' 32)"));  // 17 has no room
}

TEST(ScriptTest, ALogarithmicAxisHasNoPointAtZeroAndCutsBars) {
  const std::string script = GnuplotScript(SmallChart(), Format::kSvg, "/tmp/a.svg");
  const size_t block = script.find("$p1_1 << EOD\n");
  ASSERT_NE(block, std::string::npos);
  const std::string points = script.substr(block, script.find("EOD\n", block + 13) - block);
  EXPECT_THAT(points, Not(HasSubstr("-3")));
  EXPECT_THAT(points, Not(HasSubstr("\n8 ")));
}

TEST(ScriptTest, TextCannotBecomeACommand) {
  Chart chart = SmallChart();
  const std::string hostile = "it's '\n!rm -rf\nsystem 'touch /tmp/owned'\n`id`";
  chart.title = chart.subtitle = hostile;
  chart.panels[0].title = chart.panels[0].x.label = chart.panels[0].y.label = hostile;
  chart.panels[0].series[0].title = hostile;
  for (const Format format : {Format::kSvg, Format::kPng}) {
    const std::string script = GnuplotScript(chart, format, "/tmp/o'clock.svg");
    // No quote, back quote, backslash or line break of a text is left as such; "it's" is it\047s.
    EXPECT_THAT(script, HasSubstr(R"("it\047s \047\041rm -rfsystem \047touch /tmp/owned\047\140id\140")"));
    EXPECT_THAT(script, HasSubstr("set output \"/tmp/o\\047clock.svg\"\n"));
    EXPECT_THAT(script, Not(HasSubstr("`")));
    EXPECT_THAT(script, Not(HasSubstr("\nsystem")));
    EXPECT_THAT(script, Not(HasSubstr("\n!rm")));
    EXPECT_THAT(script, Not(HasSubstr("\n`id`")));
  }
}

TEST(ScriptTest, ColoursAndShapesDifferAndTheSecondRoundIsHollow) {
  Chart chart{.title = "many"};
  Panel panel;
  for (int i = 0; i < 9; ++i) panel.series.push_back({.title = StrCat("s", i), .style = i, .points = {{1.0 * i, 2}}});
  chart.panels = {panel};
  const std::string script = GnuplotScript(chart, Format::kSvg, "/tmp/a.svg");
  EXPECT_THAT(
      script,
      AllOf(HasSubstr("pt 7 ps 0.75 lw 1.4 lc rgb '#0072B2'"), HasSubstr("pt 6 ps 0.75 lw 1.4 lc rgb '#0072B2'"),
            HasSubstr("pt 5 ps 0.75 lw 1.4 lc rgb '#D55E00'"), HasSubstr("pt 4 ps 0.75 lw 1.4 lc rgb '#D55E00'")));
}

TEST(ScriptTest, PanelsGrowThePictureAndNewRowsAreKept) {
  Chart chart = SmallChart();
  const Size two = ChartSize(chart);
  chart.panels[1].new_row = true;
  const Size below = ChartSize(chart);
  EXPECT_GT(two.width, below.width);
  EXPECT_GT(below.height, two.height);
  chart.panels.assign(9, chart.panels[0]);
  EXPECT_EQ(ChartSize(chart).width, 3 * 420);
}

TEST(ScriptTest, LongTitlesGetASmallerFontAndTicksAreRound) {
  Chart chart = SmallChart();
  EXPECT_THAT(GnuplotScript(chart, Format::kSvg, "/tmp/a.svg"), HasSubstr("\"a chart\" at screen 0.5, "));
  EXPECT_THAT(GnuplotScript(chart, Format::kSvg, "/tmp/a.svg"), HasSubstr("font ',16'"));
  chart.title = std::string(120, 'x');
  chart.panels[0].x.ticks.clear();
  chart.panels[0].series[0].points = {{0.05, 1}, {0.33, 2}};
  chart.panels[0].series[1].points.clear();
  const std::string script = GnuplotScript(chart, Format::kSvg, "/tmp/a.svg");
  EXPECT_THAT(script, Not(HasSubstr("font ',16'")));
  EXPECT_THAT(script, HasSubstr("('0.1' 0.1, '0.2' 0.2, '0.3' 0.3)"));
}

TEST_F(PictureTest, GnuplotDrawsBothFormatsInTheRightSizeAndLeavesNothingElse) {
  const Chart chart = SmallChart();
  const Size size = ChartSize(chart);
  ASSERT_TRUE(DrawChart(chart, Format::kSvg, At("a.svg")).ok());
  const std::string svg = *ReadFile(At("a.svg"));
  EXPECT_THAT(svg, HasSubstr(StrCat("width=\"", size.width, "\" height=\"", size.height, "\"")));
  EXPECT_THAT(svg, AllOf(HasSubstr("</svg>"), HasSubstr("a chart"), HasSubstr("1 head"), HasSubstr("width B")));
  const absl::Status drawn = DrawChart(chart, Format::kPng, At("a.png"));
  ASSERT_TRUE(drawn.ok()) << drawn.message();
  const std::string png = *ReadFile(At("a.png"));
  ASSERT_GT(png.size(), 24U);
  EXPECT_EQ(png.substr(1, 3), "PNG");
  const auto pixels = [&](size_t at) {
    return (static_cast<unsigned char>(png[at + 2]) << 8) + static_cast<unsigned char>(png[at + 3]);
  };
  EXPECT_EQ(pixels(16), 2 * size.width);
  EXPECT_EQ(pixels(20), 2 * size.height);
  EXPECT_EQ(Files(), 2U);
}

// Each of these would end a carelessly quoted text, or be run or marked up inside it.
TEST_F(PictureTest, HostileTextIsDrawnAsText) {
  const std::string owned = At("owned"), command = StrCat("system('touch ", owned, "')");
  for (const std::string& hostile :
       {StrCat("'; ", command, "; x='"), StrCat("''; ", command, " #"), StrCat("\"; ", command, "; x=\""),
        StrCat("a''''; ", command, " #"), StrCat("\\\"; ", command, " #"), StrCat("`touch ", owned, "`"),
        StrCat("\\\n", command, "\n!touch ", owned), std::string("@x $x %d {/Bold b}_x^y <script>& \xC3\xA9")}) {
    Chart chart = SmallChart();
    chart.title = chart.subtitle = hostile;
    chart.panels[0].title = chart.panels[0].x.label = chart.panels[0].y.label = hostile;
    chart.panels[0].series[0].title = hostile;
    const absl::Status drawn = DrawChart(chart, Format::kSvg, At("it's `x` \"y\".svg"));
    ASSERT_TRUE(drawn.ok()) << hostile << ": " << drawn.message();
    EXPECT_FALSE(std::filesystem::exists(owned)) << hostile;
  }
  const std::string svg = *ReadFile(At("it's `x` \"y\".svg"));
  EXPECT_THAT(svg, HasSubstr("@x $x %d {/Bold b}_x^y &lt;script>&amp; \xC3\xA9"));
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
  EXPECT_EQ(Files(), 1U);
}

TEST_F(PictureTest, NoPlaceIsAnErrorAndAnOldPictureStays) {
  EXPECT_FALSE(DrawChart(SmallChart(), Format::kSvg, At("none/a.svg")).ok());
  ASSERT_TRUE(WriteFileAtomic(At("a.svg"), "old").ok());
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder_.c_str(), 1);
  const absl::Status missing = DrawChart(SmallChart(), Format::kSvg, At("a.svg"));
  EXPECT_EQ(CheckGnuplot().code(), absl::StatusCode::kFailedPrecondition);
  setenv("PATH", path.c_str(), 1);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("apt-get install gnuplot-nox"));
  EXPECT_EQ(*ReadFile(At("a.svg")), "old");
  EXPECT_EQ(Files(), 1U);
}

TEST_F(PictureTest, AFailingGnuplotSaysWhatItSaidAndLeavesNothing) {
  ASSERT_TRUE(WriteFileAtomic(At("gnuplot"), "#!/bin/sh\necho 'no such terminal' >&2\nexit 3\n").ok());
  ASSERT_EQ(chmod(At("gnuplot").c_str(), 0700), 0);
  const std::string path = std::getenv("PATH");
  setenv("PATH", StrCat(folder_, ":", path).c_str(), 1);
  const absl::Status failed = DrawChart(SmallChart(), Format::kPng, At("a.png"));
  setenv("PATH", path.c_str(), 1);
  EXPECT_THAT(std::string(failed.message()), AllOf(HasSubstr("ended with 3"), HasSubstr("no such terminal")));
  EXPECT_EQ(Files(), 1U);
}

}  // namespace
}  // namespace capsweep::figures
