#include "common/text.h"
#include "coordinator/plan/rules.h"

namespace capsweep::plan {
namespace {

// Tries the trials of one size; true if one succeeds. Sets needs or stopped where that cannot be told.
bool AnyTrial(const SearchSpec& search, int64_t size, const Ask& ask, Ruling& ruling) {
  for (int64_t trial = 0; trial < search.trials; ++trial) {
    const Probe probe{size, trial};
    const Told told = ask(probe);
    if (told.answer == Answer::kYes) {
      ruling.value = size;
      ruling.succeeded = probe;
      return true;
    }
    if (told.answer == Answer::kUnknown) {
      ruling.needs = probe;
      return false;
    }
    if (told.answer == Answer::kImpossible) {
      ruling.stopped = told.why;
      return false;
    }
  }
  return false;
}

}  // namespace

Ruling RuleMinnet(const SearchSpec& search, const Ask& ask) {
  Ruling ruling;
  // Numbers of sizes: `low` fails (or is below the smallest), `high` succeeds.
  int64_t low = -1, high = (search.to - search.from) / search.step;
  const auto size_of = [&search](int64_t number) { return search.from + number * search.step; };
  if (!AnyTrial(search, size_of(high), ask, ruling)) {
    if (!ruling.needs.has_value() && ruling.stopped.empty()) {
      ruling.stopped = StrCat("none of ", search.trials, " trials with ", search.knob, " ", size_of(high),
                              " memorized the library; raise search.to or the budget");
    }
    return ruling;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    const bool ok = AnyTrial(search, size_of(middle), ask, ruling);
    if (ruling.needs.has_value() || !ruling.stopped.empty()) return ruling;
    (ok ? high : low) = middle;
  }
  return ruling;
}

}  // namespace capsweep::plan
