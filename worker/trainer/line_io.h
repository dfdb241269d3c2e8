// Standard input and output as lines.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "common/clock.h"

namespace capsweep::trainer {

// Cuts a stream of bytes into lines without ever holding more than `max_bytes` of one.
class LineSplitter {
 public:
  explicit LineSplitter(size_t max_bytes) : max_bytes_(max_bytes) {}

  struct Line {
    std::string text;
    bool too_long = false;  // text is empty: the line was thrown away
  };
  using Sink = std::function<void(Line)>;

  void Add(std::string_view bytes, const Sink& sink);
  // The end of the input: a last line without a newline counts.
  void End(const Sink& sink);

 private:
  size_t max_bytes_;
  std::string partial_;
  bool skipping_ = false;
};

// Reads a file descriptor in a thread of its own, so that the end of the input is noticed while training. Lives as long
// as the process: the thread is never joined.
class InputReader {
 public:
  // `on_end` is called in the reading thread at the end of the input or on a read error.
  InputReader(int fd, size_t max_line_bytes, std::function<void()> on_end);

  // Waits up to `timeout` for a line; nothing if none came or the input has ended.
  std::optional<LineSplitter::Line> Take(Duration timeout);
  bool AtEnd();  // ended, and every line was taken

 private:
  void Read(int fd, size_t max_line_bytes, const std::function<void()>& on_end);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LineSplitter::Line> lines_;  // guarded by mutex_
  bool ended_ = false;                    // guarded by mutex_
};

// Gathers lines and writes them in one go: a write for each would wake the reader for each.
class LineWriter {
 public:
  explicit LineWriter(int fd) : fd_(fd) {}

  void Add(std::string_view line);
  // Writes what was added, completely. False once the reader has gone (SIGPIPE must be ignored).
  bool Flush();

 private:
  int fd_;
  std::string lines_;
};

}  // namespace capsweep::trainer
