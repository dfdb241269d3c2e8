#include <algorithm>

#include "common/text.h"
#include "coordinator/plan/rules.h"

namespace capsweep::plan {
namespace {

class Mls {
 public:
  Mls(const SearchSpec& search, const Ask& ask) : search_(search), ask_(ask) {}

  Ruling Run(int64_t start) {
    while (Open()) {
      if (failed_.empty()) {
        Grow(std::min(ruling_.value == 0 ? start : 2 * ruling_.value, search_.largest));
      } else if (failed_.back() - ruling_.value <= Gap()) {
        if (Retest()) return ruling_;
      } else {
        Try(ruling_.value + (failed_.back() - ruling_.value) / 2);
      }
    }
    return ruling_;
  }

 private:
  bool Open() const { return !ruling_.needs.has_value() && ruling_.stopped.empty(); }

  int64_t Gap() const {
    return std::max<int64_t>(1, static_cast<int64_t>(search_.tolerance * static_cast<double>(ruling_.value)));
  }

  void Grow(int64_t size) {
    if (size <= ruling_.value) {
      ruling_.stopped = StrCat("all of the largest library that the search may use is memorized (search.largest is ",
                               search_.largest, ")");
      return;
    }
    Try(size);
  }

  // True: nothing more to do.
  bool Retest() {
    const int64_t size = failed_.back();
    if (!AnyOf(size, search_.restarts)) return Open();
    ruling_.value = size;
    failed_.pop_back();
    return false;
  }

  void Try(int64_t size) {
    const bool ok = AnyOf(size, 0);
    if (!Open()) return;
    if (ok) {
      ruling_.value = size;
    } else {
      failed_.push_back(size);
    }
  }

  // Whether one of the runs first .. first + restarts - 1 succeeds. One after the other: the next is only needed where
  // the last did not.
  bool AnyOf(int64_t size, int64_t first) {
    for (int64_t run = first; run < first + search_.restarts; ++run) {
      const Told told = ask_({size, run});
      switch (told.answer) {
        case Answer::kYes:
          return true;
        case Answer::kNo:
          break;
        case Answer::kUnknown:
          ruling_.needs = Probe{size, run};
          return false;
        case Answer::kImpossible:
          ruling_.stopped = told.why;
          return false;
      }
    }
    return false;
  }

  const SearchSpec& search_;
  const Ask& ask_;
  Ruling ruling_;
  std::vector<int64_t> failed_;  // sizes above `value` that failed, the smallest last
};

}  // namespace

Ruling RuleMls(const SearchSpec& search, int64_t start, const Ask& ask) {
  return Mls(search, ask).Run(start);
}

}  // namespace capsweep::plan
