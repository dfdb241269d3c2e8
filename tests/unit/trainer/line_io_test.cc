#include "worker/trainer/line_io.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capsweep::trainer {
namespace {

using testing::ElementsAre;

std::vector<std::string> Split(const std::vector<std::string>& chunks, size_t max_bytes) {
  std::vector<std::string> lines;
  const auto sink = [&](LineSplitter::Line line) { lines.push_back(line.too_long ? "TOO LONG" : line.text); };
  LineSplitter splitter(max_bytes);
  for (const std::string& chunk : chunks) splitter.Add(chunk, sink);
  splitter.End(sink);
  return lines;
}

TEST(LineSplitterTest, LinesAreTheSameHoweverTheBytesArrive) {
  EXPECT_THAT(Split({"one\ntwo\n"}, 100), ElementsAre("one", "two"));
  EXPECT_THAT(Split({"o", "ne", "\n", "\nt", "wo"}, 100), ElementsAre("one", "", "two"));
  EXPECT_THAT(Split({}, 100), ElementsAre());
}

TEST(LineSplitterTest, LongLineIsThrownAwayAndTheNextOneRead) {
  EXPECT_THAT(Split({"12345\n123456\n12345\n"}, 5), ElementsAre("12345", "TOO LONG", "12345"));
  EXPECT_THAT(Split({"1234", "5678", "9\nab"}, 5), ElementsAre("TOO LONG", "ab"));
  EXPECT_THAT(Split({"123456789"}, 5), ElementsAre("TOO LONG"));
}

TEST(InputReaderTest, EndIsSeenAfterTheLastLine) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  static std::atomic<bool> ended = false;
  // Its thread may outlive the test: never destroyed, but held, so that it is no leak.
  static InputReader* const held = new InputReader(ends[0], 100, [] { ended = true; });
  InputReader& reader = *held;
  EXPECT_FALSE(reader.Take(std::chrono::milliseconds(5)).has_value());
  EXPECT_FALSE(reader.AtEnd());
  ASSERT_EQ(write(ends[1], "a\nb", 3), 3);
  EXPECT_EQ(reader.Take(std::chrono::seconds(10))->text, "a");
  EXPECT_FALSE(ended);
  close(ends[1]);
  EXPECT_EQ(reader.Take(std::chrono::seconds(10))->text, "b");
  EXPECT_FALSE(reader.Take(std::chrono::seconds(10)).has_value());
  EXPECT_TRUE(reader.AtEnd());
  EXPECT_TRUE(ended);
}

TEST(LineWriterTest, LinesGoTogetherAndAClosedReaderIsReported) {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  LineWriter writer(ends[1]);
  EXPECT_TRUE(writer.Flush());
  writer.Add("hello");
  writer.Add("again");
  EXPECT_TRUE(writer.Flush());
  char got[16] = {};
  EXPECT_EQ(read(ends[0], got, sizeof got), 12);
  EXPECT_STREQ(got, "hello\nagain\n");
  close(ends[0]);
  writer.Add("hello");
  EXPECT_FALSE(writer.Flush());
  close(ends[1]);
}

}  // namespace
}  // namespace capsweep::trainer
