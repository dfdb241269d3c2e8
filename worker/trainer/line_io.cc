#include "worker/trainer/line_io.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace capsweep::trainer {

void LineSplitter::Add(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const std::string_view part = bytes.substr(0, newline);
    if (!skipping_ && partial_.size() + part.size() > max_bytes_) {
      skipping_ = true;
      partial_.clear();
      partial_.shrink_to_fit();
    }
    if (!skipping_) {
      partial_.append(part);
    }
    if (newline == std::string_view::npos) {
      return;
    }
    sink({std::exchange(partial_, {}), std::exchange(skipping_, false)});
    bytes.remove_prefix(newline + 1);
  }
}

void LineSplitter::End(const Sink& sink) {
  if (skipping_ || !partial_.empty()) {
    sink({std::exchange(partial_, {}), std::exchange(skipping_, false)});
  }
}

InputReader::InputReader(int fd, size_t max_line_bytes, std::function<void()> on_end) {
  std::thread([this, fd, max_line_bytes, on_end = std::move(on_end)] { Read(fd, max_line_bytes, on_end); }).detach();
}

void InputReader::Read(int fd, size_t max_line_bytes, const std::function<void()>& on_end) {
  LineSplitter splitter(max_line_bytes);
  const LineSplitter::Sink sink = [this](LineSplitter::Line line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_one();
  };
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got > 0) {
      splitter.Add({buffer, static_cast<size_t>(got)}, sink);
    } else if (got == 0 || errno != EINTR) {
      break;
    }
  }
  splitter.End(sink);
  on_end();
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_one();
}

std::optional<LineSplitter::Line> InputReader::Take(Duration timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [this] { return !lines_.empty() || ended_; });
  if (lines_.empty()) {
    return std::nullopt;
  }
  LineSplitter::Line line = std::move(lines_.front());
  lines_.pop_front();
  return line;
}

bool InputReader::AtEnd() {
  const std::lock_guard lock(mutex_);
  return ended_ && lines_.empty();
}

void LineWriter::Add(std::string_view line) {
  lines_.append(line);
  lines_.push_back('\n');
}

bool LineWriter::Flush() {
  const std::string lines = std::exchange(lines_, {});
  size_t done = 0;
  while (done < lines.size()) {
    const ssize_t wrote = write(fd_, lines.data() + done, lines.size() - done);
    if (wrote > 0) {
      done += static_cast<size_t>(wrote);
    } else if (wrote < 0 && errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace capsweep::trainer
