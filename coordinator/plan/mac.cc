#include <algorithm>
#include <cmath>

#include "common/text.h"
#include "coordinator/plan/rules.h"

namespace capsweep::plan {
namespace {

constexpr double kFull = 0.9;     // more of a library than this: it may have cut the capacity off
constexpr double kSettled = 0.1;  // largest relative change by the last doubling

}  // namespace

MacRuling RuleMac(int64_t start, int64_t max_doublings, const std::function<LibraryRuns(int64_t)>& look) {
  MacRuling ruling;
  int64_t size = start;
  for (int64_t doublings = 0;; ++doublings, size *= 2) {
    const LibraryRuns runs = look(size);
    if (!runs.impossible.empty()) {
      ruling.stopped = runs.impossible;
      ruling.unsettled = true;
      return ruling;
    }
    if (!runs.settled) {
      ruling.needs = {size, 2 * size};
      return ruling;
    }
    if (runs.done == 0) {
      ruling.stopped = StrCat("every run with ", size, " items failed");
      ruling.unsettled = true;
      return ruling;
    }
    ruling.mac = std::max(ruling.mac.value_or(0), runs.items_corr);
    if (runs.items_mem <= kFull * static_cast<double>(size)) {
      const LibraryRuns last = look(2 * size);
      if (!last.impossible.empty() || (last.settled && last.done == 0)) {
        ruling.unsettled = true;
        ruling.stopped =
            last.impossible.empty() ? StrCat("every run with ", 2 * size, " items failed") : last.impossible;
      } else if (!last.settled) {
        ruling.needs = {2 * size};
      } else {
        ruling.mac = std::max(*ruling.mac, last.items_corr);
        ruling.unsettled = std::fabs(last.items_corr - runs.items_corr) > kSettled * runs.items_corr;
      }
      return ruling;
    }
    if (doublings >= max_doublings) {
      ruling.stopped = StrCat("more than nine tenths of ", size, " items are still memorized after ", doublings,
                              " doublings (search.max_doublings)");
      ruling.unsettled = true;
      return ruling;
    }
  }
}

}  // namespace capsweep::plan
