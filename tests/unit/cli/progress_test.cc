#include "cli/progress.h"

#include <gtest/gtest.h>

#include <sstream>

namespace capsweep::cli {
namespace {

ProgressFrame Half() {
  return {.sweep = "quick",
          .points = 72,
          .done = 35,
          .failed = 1,
          .running = 2,
          .rate_per_second = 0.8125,
          .eta_seconds = 37,
          .elapsed_seconds = 45,
          .best = "412 items (heads 3, width 32, seq_len 8)"};
}

TEST(ProgressBarTest, ShowsEverythingWhereThereIsRoom) {
  const std::string bar = RenderBar(Half(), 160, true, false);
  for (const char* part : {"quick ", "█", "░", "36/72", " 50%", "1 failed", "ETA 0:37", "0.812/s", "2 running",
                           "best 412 items (heads 3, width 32, seq_len 8)"}) {
    EXPECT_NE(bar.find(part), std::string::npos) << part << " in " << bar;
  }
}

TEST(ProgressBarTest, NeverWiderThanTheTerminal) {
  for (int columns = 1; columns < 200; ++columns) {
    EXPECT_LE(DisplayWidth(RenderBar(Half(), columns, true, false)), columns);
    EXPECT_LE(DisplayWidth(RenderBar(Half(), columns, false, false)), columns);
  }
}

TEST(ProgressBarTest, NarrowTerminalKeepsFailuresAndTimeLeftLongest) {
  const std::string bar = RenderBar(Half(), 60, true, false);
  EXPECT_NE(bar.find("1 failed"), std::string::npos) << bar;
  EXPECT_NE(bar.find("ETA 0:37"), std::string::npos) << bar;
  EXPECT_EQ(bar.find("best"), std::string::npos) << bar;
}

TEST(ProgressBarTest, FillsWithWhatIsSettled) {
  ProgressFrame frame = Half();
  frame.done = 0;
  frame.failed = 0;
  EXPECT_EQ(RenderBar(frame, 100, false, false).find('#'), std::string::npos);
  frame.done = 72;
  const std::string full = RenderBar(frame, 100, false, false);
  EXPECT_EQ(full.find("-]"), std::string::npos) << full;
  EXPECT_NE(full.find("100%"), std::string::npos);
}

TEST(ProgressBarTest, PlainHasNoEscapesAndAsciiHasNoBlocks) {
  EXPECT_EQ(RenderBar(Half(), 120, true, false).find('\x1b'), std::string::npos);
  EXPECT_NE(RenderBar(Half(), 120, true, true).find("\x1b["), std::string::npos);
  for (char c : RenderBar(Half(), 120, false, false)) {
    EXPECT_LT(static_cast<unsigned char>(c), 0x80);
  }
}

TEST(ProgressBarTest, UnknownRateAndTimeLeftAreNotInvented) {
  ProgressFrame frame = Half();
  frame.rate_per_second = 0;
  frame.eta_seconds = -1;
  const std::string bar = RenderBar(frame, 120, true, false);
  EXPECT_EQ(bar.find("/s"), std::string::npos);
  EXPECT_NE(bar.find("ETA ?"), std::string::npos);
  EXPECT_EQ(RenderLine(frame).find("left"), std::string::npos);
}

TEST(ProgressBarTest, SlowRatesAreSaidPerMinute) {
  ProgressFrame frame = Half();
  frame.rate_per_second = 0.05;
  EXPECT_NE(RenderBar(frame, 160, true, false).find("3/min"), std::string::npos);
}

class ProgressDisplayTest : public ::testing::Test {
 protected:
  std::ostringstream out_, err_;
  Console console_{out_, err_};
};

TEST_F(ProgressDisplayTest, PlainLinesComeAtMostEveryTenSecondsAndOnlyWithNews) {
  ProgressDisplay display(console_, false);
  const Instant start = Clock::Real().Now();
  ProgressFrame frame = Half();
  display.Show(frame, start);
  frame.done += 1;
  display.Show(frame, start + std::chrono::seconds(9));
  EXPECT_EQ(err_.str(), RenderLine(Half()) + "\n");
  display.Show(frame, start + std::chrono::seconds(11));
  display.Show(frame, start + std::chrono::seconds(22));
  EXPECT_EQ(err_.str(), RenderLine(Half()) + "\n" + RenderLine(frame) + "\n");
  EXPECT_EQ(out_.str(), "");
}

TEST_F(ProgressDisplayTest, BarIsRedrawnInPlaceAtMostFiveTimesASecondAndCursorComesBack) {
  console_.err_is_terminal = true;
  console_.color = true;
  {
    ProgressDisplay display(console_, false);
    const Instant start = Clock::Real().Now();
    for (int i = 0; i < 10; ++i) {
      display.Show(Half(), start + i * std::chrono::milliseconds(100));
    }
    EXPECT_EQ(err_.str().find('\n'), std::string::npos);
  }
  const std::string text = err_.str();
  size_t drawn = 0;
  for (size_t at = text.find("36/72"); at != std::string::npos; at = text.find("36/72", at + 1)) {
    ++drawn;
  }
  EXPECT_EQ(drawn, 5U);
  EXPECT_TRUE(text.ends_with("\x1b[?25h"));
}

TEST_F(ProgressDisplayTest, QuietShowsOnlyMessages) {
  ProgressDisplay display(console_, true);
  display.Show(Half(), Clock::Real().Now());
  display.Say("failed: point 3");
  display.Finish(Half());
  EXPECT_EQ(err_.str(), "failed: point 3\n");
}

}  // namespace
}  // namespace capsweep::cli
