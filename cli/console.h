// Where a verb writes and how much of a terminal it may expect there.
#pragma once

#include <ostream>
#include <string>
#include <string_view>

namespace capsweep::cli {

// Two streams and what is known about them. Verbs write results to `out` and everything else to `err`, so that
// `capsweep results … > file` holds nothing but results.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool color = false;   // terminal and NO_COLOR unset
  bool unicode = true;  // the locale's character set is UTF-8
  int columns = 80;

  // Console of this process: std::cout, std::cerr, isatty, NO_COLOR, the terminal's width.
  static Console Standard();
};

// Width of the terminal on standard output now; 80 if unknown.
int TerminalColumns();

// Number of character cells of UTF-8 text, one per code point (enough for what capsweep prints).
int DisplayWidth(std::string_view text);
// The longest prefix of at most `columns` cells that does not cut a code point.
std::string ClipToWidth(std::string_view text, int columns);

// "0:07", "12:34", "3:04:05", "2d 03h"; "?" below 0.
std::string FormatDuration(double seconds);
// 12345 -> "12,345".
std::string FormatCount(int64_t value);
// Up to `digits` significant digits, without an exponent below 1e15 in size.
std::string FormatNumber(double value, int digits = 4);

// Counts SIGINT and SIGTERM from its construction on. The first one only shows in Caught(); a second one ends the
// process at once with 128 + signal after making the cursor visible again. One at a time.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  // SIGINT or SIGTERM; 0 = none yet.
  static int Caught();
};

// Sleeps in slices; true if a signal was caught meanwhile.
bool SleepUnlessSignalled(double seconds);

}  // namespace capsweep::cli
