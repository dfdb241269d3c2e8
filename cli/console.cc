#include "cli/console.h"

#include <langinfo.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "absl/strings/str_format.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

std::atomic<int> caught_signal{0};
struct sigaction old_interrupt, old_terminate;

void OnSignal(int signal) {
  int none = 0;
  if (caught_signal.compare_exchange_strong(none, signal)) {
    return;
  }
  // Asked twice: leave at once. Children watch their standard input and the database is safe against a crash.
  static constexpr char kShowCursor[] = "\x1b[?25h\n";
  if (isatty(STDERR_FILENO)) {
    [[maybe_unused]] ssize_t written = write(STDERR_FILENO, kShowCursor, sizeof(kShowCursor) - 1);
  }
  _exit(128 + signal);
}

bool IsContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// The environment says it; setlocale for the whole process would change how numbers are printed.
bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') {
      const std::string_view text(value);
      return text.ends_with("UTF-8") || text.ends_with("utf8") || text.ends_with("utf-8") || text.ends_with("UTF8");
    }
  }
  return false;
}

}  // namespace

int TerminalColumns() {
  winsize size{};
  for (int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
      return size.ws_col;
    }
  }
  return 80;
}

Console Console::Standard() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  Console console{std::cout, std::cerr};
  console.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  console.err_is_terminal = isatty(STDERR_FILENO) == 1;
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  console.color = console.out_is_terminal && !dumb && (no_color == nullptr || *no_color == '\0');
  console.unicode = LocaleIsUtf8();
  console.columns = TerminalColumns();
  return console;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (char c : text) {
    width += IsContinuation(c) ? 0 : 1;
  }
  return width;
}

std::string ClipToWidth(std::string_view text, int columns) {
  int width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsContinuation(text[i]) && ++width > columns) {
      return std::string(text.substr(0, i));
    }
  }
  return std::string(text);
}

std::string FormatDuration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) {
    return "?";
  }
  const int64_t total = std::llround(seconds);
  if (total >= 86400) {
    return absl::StrFormat("%dd %02dh", total / 86400, total % 86400 / 3600);
  }
  if (total >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", total / 3600, total % 3600 / 60, total % 60);
  }
  return absl::StrFormat("%d:%02d", total / 60, total % 60);
}

std::string FormatCount(int64_t value) {
  std::string digits = StrCat(value);
  const int first = value < 0 ? 1 : 0;
  for (int i = static_cast<int>(digits.size()) - 3; i > first; i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
  return digits;
}

std::string FormatNumber(double value, int digits) {
  if (!std::isfinite(value)) {
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }
  const double size = std::fabs(value);
  if (size != 0 && (size < 1e-4 || size >= 1e15)) {
    return absl::StrFormat("%.*g", digits, value);
  }
  const int magnitude = size == 0 ? 0 : static_cast<int>(std::floor(std::log10(size)));
  std::string text = absl::StrFormat("%.*f", std::max(0, digits - 1 - magnitude), value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') {
      text.pop_back();
    }
  }
  return text;
}

SignalWatch::SignalWatch() {
  caught_signal = 0;
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &old_interrupt);
  sigaction(SIGTERM, &action, &old_terminate);
}

SignalWatch::~SignalWatch() {
  sigaction(SIGINT, &old_interrupt, nullptr);
  sigaction(SIGTERM, &old_terminate, nullptr);
}

int SignalWatch::Caught() {
  return caught_signal.load();
}

bool SleepUnlessSignalled(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (SignalWatch::Caught() != 0) {
      return true;
    }
    const auto left = end - std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(left, std::chrono::milliseconds(50)));
  }
  return SignalWatch::Caught() != 0;
}

}  // namespace capsweep::cli
