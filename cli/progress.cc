#include "cli/progress.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/run_search.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr Duration kRedraw = std::chrono::milliseconds(200);
constexpr Duration kLineEvery = std::chrono::seconds(10);
constexpr int kMaxBar = 32;
constexpr int kMinBar = 8;

int64_t Settled(const ProgressFrame& frame) {
  return frame.done + frame.failed;
}

bool Over(const ProgressFrame& frame) {
  return Settled(frame) >= frame.points && frame.architectures_settled >= frame.architectures;
}

// What is done of what is known to be done: points, or architectures where points follow from results.
double Share(const ProgressFrame& frame) {
  const int64_t all = frame.architectures > 0 ? frame.architectures : frame.points;
  const int64_t settled = frame.architectures > 0 ? frame.architectures_settled : Settled(frame);
  return all == 0 ? 1.0 : static_cast<double>(settled) / static_cast<double>(all);
}

std::string Counts(const ProgressFrame& frame) {
  if (!frame.search.empty()) {
    return frame.search;
  }
  if (frame.architectures > 0) {
    return SearchProgressText(frame.architectures, frame.architectures_settled, frame.points);
  }
  return absl::StrFormat("%s/%s %3d%%", FormatCount(Settled(frame)), FormatCount(frame.points),
                         static_cast<int>(frame.points == 0 ? 100 : Settled(frame) * 100 / frame.points));
}

std::string Rate(double per_second) {
  if (per_second <= 0) {
    return "";
  }
  return per_second >= 0.1 ? StrCat(FormatNumber(per_second, 3), "/s")
                           : StrCat(FormatNumber(per_second * 60, 3), "/min");
}

std::string Bar(const ProgressFrame& frame, int cells, bool unicode) {
  const int full = std::clamp(static_cast<int>(Share(frame) * cells), 0, cells);
  std::string bar;
  for (int i = 0; i < cells; ++i) {
    bar += i < full ? (unicode ? "█" : "#") : (unicode ? "░" : "-");
  }
  return bar;
}

}  // namespace

std::string RenderBar(const ProgressFrame& frame, int columns, bool unicode, bool color) {
  const std::string counts = Counts(frame);
  // From the most important to the least; the tail is dropped where the line is too short.
  std::vector<std::string> parts;
  if (frame.failed > 0) {
    parts.push_back(StrCat(FormatCount(frame.failed), " failed"));
  }
  if (Over(frame)) {
    parts.push_back(StrCat("took ", FormatDuration(frame.elapsed_seconds)));
  } else if (frame.architectures == 0) {
    parts.push_back(StrCat("ETA ", FormatDuration(frame.eta_seconds)));
  }
  if (const std::string rate = Rate(frame.rate_per_second); !rate.empty()) {
    parts.push_back(rate);
  }
  if (!Over(frame)) {
    parts.push_back(StrCat(FormatCount(frame.running), " running"));
  }
  if (!frame.best.empty()) {
    parts.push_back(StrCat("best ", frame.best));
  }
  const int fixed = DisplayWidth(frame.sweep) + 3 + DisplayWidth(counts);
  int width = fixed + kMinBar;
  std::string tail;
  for (const std::string& part : parts) {
    if (width + 2 + DisplayWidth(part) > columns) {
      break;
    }
    width += 2 + DisplayWidth(part);
    const bool alarm = color && part.ends_with(" failed");
    StrAppend(&tail, "  ", alarm ? "\x1b[31m" : "", part, alarm ? "\x1b[0m" : "");
  }
  if (fixed + kMinBar > columns) {
    return ClipToWidth(StrCat(frame.sweep, " ", counts), columns);
  }
  const int cells = std::min(kMaxBar, kMinBar + columns - width);
  return StrCat(frame.sweep, " ", color ? "\x1b[32m" : "", unicode ? "" : "[",
                Bar(frame, cells - (unicode ? 0 : 2), unicode), unicode ? "" : "]", color ? "\x1b[0m" : "", "  ",
                counts, tail);
}

std::string RenderLine(const ProgressFrame& frame) {
  const std::string search = frame.architectures > 0 || !frame.search.empty() ? StrCat(Counts(frame), ", ") : "";
  std::string line = StrCat(frame.sweep, ": ", search, frame.done, " of ", frame.points, " points done, ",
                            frame.running, " running, ", frame.failed, " failed");
  if (const std::string rate = Rate(frame.rate_per_second); !rate.empty()) {
    StrAppend(&line, ", ", rate);
  }
  StrAppend(&line, ", elapsed ", FormatDuration(frame.elapsed_seconds));
  if (frame.eta_seconds >= 0 && !Over(frame)) {
    StrAppend(&line, ", about ", FormatDuration(frame.eta_seconds), " left");
  }
  if (!frame.best.empty()) {
    StrAppend(&line, ", best ", frame.best);
  }
  return line;
}

ProgressDisplay::ProgressDisplay(Console& console, bool quiet)
    : console_(console), quiet_(quiet), bar_(console.err_is_terminal && console.color) {
  if (bar_ && !quiet_) {
    console_.err << "\x1b[?25l";
  }
}

ProgressDisplay::~ProgressDisplay() {
  Erase();
  if (bar_ && !quiet_) {
    console_.err << "\x1b[?25h";
  }
  console_.err.flush();
}

void ProgressDisplay::Erase() {
  if (drawn_) {
    console_.err << "\r\x1b[2K";
    drawn_ = false;
  }
}

void ProgressDisplay::Show(const ProgressFrame& frame, Instant now) {
  if (quiet_ || (last_ != Instant() && now - last_ < (bar_ ? kRedraw : kLineEvery))) {
    return;
  }
  last_ = now;
  if (bar_) {
    Erase();
    // One cell short: a full line would wrap on some terminals.
    console_.err << RenderBar(frame, TerminalColumns() - 1, console_.unicode, true);
    drawn_ = true;
    console_.err.flush();
    return;
  }
  std::string line = RenderLine(frame);
  if (line != last_line_) {
    console_.err << line << std::endl;
    last_line_ = std::move(line);
  }
}

void ProgressDisplay::Say(const std::string& line) {
  Erase();
  console_.err << line << std::endl;
  if (bar_) {
    last_ = Instant();  // the erased bar comes back with the next frame
  }
}

void ProgressDisplay::Finish(const ProgressFrame& frame) {
  if (quiet_) {
    return;
  }
  Erase();
  console_.err << (bar_ ? RenderBar(frame, TerminalColumns() - 1, console_.unicode, true) : RenderLine(frame))
               << std::endl;
}

}  // namespace capsweep::cli
