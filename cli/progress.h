// What `capsweep run` shows while it works. Rendering is pure; ProgressDisplay owns the terminal line.
#pragma once

#include <cstdint>
#include <string>

#include "cli/console.h"
#include "common/clock.h"

namespace capsweep::cli {

struct ProgressFrame {
  std::string sweep;
  int64_t points = 0, done = 0, failed = 0, running = 0;
  double rate_per_second = 0;  // 0 = unknown yet
  double eta_seconds = -1;     // < 0 = unknown
  double elapsed_seconds = 0;
  int64_t architectures = 0, architectures_settled = 0;  // of a sweep that searches; 0 = it does not
  std::string search;  // of an adaptive sweep: how far it is, in place of the architectures
  std::string best;    // "412 items (heads 3, width 32, seq_len 8)"; "" = no result yet
};

// One terminal line of at most `columns` cells: bar, counts, rate, time left, best. What does not fit is left out, the
// least important first; `unicode` draws blocks, else ASCII; `color` adds escapes (they take no cells).
std::string RenderBar(const ProgressFrame& frame, int columns, bool unicode, bool color);

// The same numbers as a plain line, for logs.
std::string RenderLine(const ProgressFrame& frame);

// Shows frames on console.err: a bar redrawn in place at most 5 times a second on a terminal, else a plain line at most
// every 10 s and only when it says something new. Not thread-safe.
class ProgressDisplay {
 public:
  ProgressDisplay(Console& console, bool quiet);
  ~ProgressDisplay();  // leaves the cursor visible, at the start of an empty line
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void Show(const ProgressFrame& frame, Instant now);
  // A message for the user above the bar; shown even if quiet.
  void Say(const std::string& line);
  // Draws the last frame for good and ends the line.
  void Finish(const ProgressFrame& frame);

 private:
  void Erase();

  Console& console_;
  const bool quiet_;
  const bool bar_;
  bool drawn_ = false;
  Instant last_{};
  std::string last_line_;
};

}  // namespace capsweep::cli
