#include "common/fail_point.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "common/status.h"
#include "common/text.h"

namespace capsweep {
namespace {

constexpr size_t kPoints = kFailPointNames.size();
constexpr size_t kBytes = kPoints * sizeof(uint32_t);

enum class Action { kKill, kStop, kError, kSleep };

struct Order {
  size_t point = 0;
  uint32_t at = 1;
  Action action = Action::kKill;
  int milliseconds = 0;
};

// A test that misspells a place must not pass for want of a failure.
[[noreturn]] void Refuse(std::string_view order) {
  std::fprintf(stderr, "CAPSWEEP_FAIL: '%s' is not NAME@N=kill|stop|error|sleep:MS of a known place\n",
               std::string(order).c_str());
  _exit(kExitBadInput);
}

template <class T>
bool Number(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

Order ParseOrder(std::string_view text) {
  const size_t at = text.find('@'), equals = text.find('=');
  Order order;
  if (at == std::string_view::npos || equals == std::string_view::npos || equals < at) Refuse(text);
  const auto found = std::find(kFailPointNames.begin(), kFailPointNames.end(), text.substr(0, at));
  if (found == kFailPointNames.end() || !Number(text.substr(at + 1, equals - at - 1), order.at)) Refuse(text);
  order.point = static_cast<size_t>(found - kFailPointNames.begin());
  const std::string_view action = text.substr(equals + 1);
  if (action == "kill") {
    order.action = Action::kKill;
  } else if (action == "stop") {
    order.action = Action::kStop;
  } else if (action == "error") {
    order.action = Action::kError;
  } else if (action.starts_with("sleep:") && Number(action.substr(6), order.milliseconds)) {
    order.action = Action::kSleep;
  } else {
    Refuse(text);
  }
  return order;
}

std::vector<Order> ParseOrders(std::string_view text) {
  std::vector<Order> orders;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    orders.push_back(ParseOrder(text.substr(0, comma)));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return orders;
}

// The counts, shared through the file if there is one. Never unmapped: places are reached until the very end.
uint32_t* MapCounts() {
  static std::array<uint32_t, kPoints> own{};
  const char* path = std::getenv("CAPSWEEP_FAIL_COUNTS");
  if (path == nullptr || *path == '\0') return own.data();
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  void* mapped = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, kBytes) == 0) mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) {
    std::fprintf(stderr, "CAPSWEEP_FAIL_COUNTS: cannot map %s\n", path);
    _exit(kExitBadInput);
  }
  close(fd);
  return static_cast<uint32_t*>(mapped);
}

struct Orders {
  std::vector<Order> orders = ParseOrders(std::getenv("CAPSWEEP_FAIL") == nullptr ? "" : std::getenv("CAPSWEEP_FAIL"));
  uint32_t* const counts = MapCounts();
};

}  // namespace

namespace fail_point_internal {

const bool armed = std::getenv("CAPSWEEP_FAIL") != nullptr;

absl::Status Reach(FailPoint point) {
  static const Orders& all = *new Orders();
  const auto index = static_cast<size_t>(point);
  const uint32_t count = std::atomic_ref<uint32_t>(all.counts[index]).fetch_add(1) + 1;
  for (const Order& order : all.orders) {
    if (order.point != index || order.at != count) continue;
    switch (order.action) {
      case Action::kKill:
        raise(SIGKILL);
        break;
      case Action::kStop:
        raise(SIGSTOP);
        break;
      case Action::kSleep:
        std::this_thread::sleep_for(std::chrono::milliseconds(order.milliseconds));
        break;
      case Action::kError:
        return FromErrno(EIO, kFailPointNames[index]);
    }
  }
  return absl::OkStatus();
}

}  // namespace fail_point_internal

std::array<uint32_t, kPoints> ReadFailPointCounts(const std::string& path) {
  std::array<uint32_t, kPoints> counts{};
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, counts.data(), kBytes) != static_cast<ssize_t>(kBytes)) counts.fill(0);
    close(fd);
  }
  return counts;
}

}  // namespace capsweep
