// The rules of the measures that search: given what is known of some runs, which run is needed next, or what was found.
// Pure, and about numbers only; search.h turns them into points. A rule is asked again from the beginning whenever more
// is known, and must then take the same path: it reads nothing but the answers.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/sweep/spec.h"

namespace capsweep::plan {

// One run that a search may need.
struct Probe {
  int64_t size = 0;  // of the library (mac, mls), or of the network (minnet)
  int64_t run = 0;   // restart or trial, from 0
  friend auto operator<=>(const Probe&, const Probe&) = default;
};

enum class Answer {
  kUnknown,
  kYes,        // it memorized its whole library
  kNo,         // it did not, or it failed
  kImpossible  // there is no such point
};
struct Told {
  Answer answer = Answer::kUnknown;
  std::string why;  // of kImpossible
};
using Ask = std::function<Told(const Probe&)>;

// Where a rule stands: it needs a run, or it has stopped for a reason, or it has settled.
struct Ruling {
  std::optional<Probe> needs;
  std::string stopped;             // not empty: ended without settling, and why
  int64_t value = 0;               // found, or the best so far
  std::optional<Probe> succeeded;  // minnet: the run that showed `value`
};

// Maximum Library Size: the largest library that some of `restarts` runs memorizes wholly. Doubles from `start` until
// one fails, then bisects until the failed size is at most max(1, tolerance * lower) above; then tries that failed size
// once more with as many further restarts and, if one succeeds, goes on from there. (Bracket and bisection as in
// Krishnan et al.; the retest because success is a matter of chance near the limit.)
Ruling RuleMls(const SearchSpec& search, int64_t start, const Ask& ask);

// Minimum network: the smallest size among from, from + step, ... <= to at which one of `trials` runs succeeds. The
// largest first, then bisection.
Ruling RuleMinnet(const SearchSpec& search, const Ask& ask);

// What the runs of an architecture at one library size came to.
struct LibraryRuns {
  bool settled = false;  // every seed has a result or has failed
  int64_t done = 0;
  double items_mem = 0;  // means over those done
  double items_corr = 0;
  std::string impossible;  // not empty: there is no such library, and why
};

struct MacRuling {
  std::vector<int64_t> needs;  // library sizes whose runs are needed; empty: over
  std::string stopped;         // as in Ruling
  std::optional<double> mac;   // the largest mean items_corr so far
  bool unsettled = false;      // the last doubling changed it by more than a tenth, or there was none
};

// Maximum Attainable Capacity: libraries of start, 2 start, ... until at most nine tenths of one are memorized, and one
// more. A library and the next are always both needed, so they are asked for together.
MacRuling RuleMac(int64_t start, int64_t max_doublings, const std::function<LibraryRuns(int64_t)>& look);

}  // namespace capsweep::plan
