#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {
namespace {

constexpr std::array<std::string_view, 5> kPointWords = {"pending", "running", "done", "failed", "cancelled"};
constexpr std::array<std::string_view, 5> kSweepWords = {"running", "paused", "cancelled", "stopped", "finished"};
constexpr std::array<std::string_view, 5> kWorkerWords = {"idle", "busy", "draining", "quarantined", "lost"};
constexpr std::array<std::string_view, 6> kOutcomeWords = {"accepted", "late",        "failed",
                                                           "lost",     "handed_back", "dropped"};

template <class Enum, size_t N>
bool Find(const std::array<std::string_view, N>& words, std::string_view word, Enum& out) {
  for (size_t i = 0; i < N; ++i) {
    if (words[i] == word) {
      out = static_cast<Enum>(i);
      return true;
    }
  }
  return false;
}

}  // namespace

std::string_view ToWord(PointState v) {
  return kPointWords[static_cast<size_t>(v)];
}
std::string_view ToWord(SweepState v) {
  return kSweepWords[static_cast<size_t>(v)];
}
std::string_view ToWord(WorkerState v) {
  return kWorkerWords[static_cast<size_t>(v)];
}
std::string_view ToWord(AttemptOutcome v) {
  return kOutcomeWords[static_cast<size_t>(v)];
}
bool FromWord(std::string_view word, PointState& out) {
  return Find(kPointWords, word, out);
}
bool FromWord(std::string_view word, SweepState& out) {
  return Find(kSweepWords, word, out);
}

std::string Describe(const AttemptRef& id) {
  return absl::StrCat("attempt ", id.attempt.value(), " of point ", id.point.value());
}

}  // namespace capsweep::core
