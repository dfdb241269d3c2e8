// The search for the best parameters of one form, and which of its nested variants the data support.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ecm/forms.h"
#include "ecm/solver.h"

namespace capsweep::ecm {

struct SearchSettings {
  int starts = 128;
  uint64_t seed = 1;
  int threads = 1;
  std::vector<Theta> hints;  // further starts, scaled like the data; not counted in `starts`
};

struct FormSearch {
  Variant variant;
  Solution best;
  std::vector<Theta> others;  // further local optima whose RSS is less than 1.5 times the best, best first; at most 2
  double aicc = 0;
  double linear_only_aicc = 0;  // of the best variant without the bound; infinite if none was tried
  int starts = 0;
  int starts_agreeing = 0;         // reached the best RSS within 1 %
  bool needs_more_levels = false;  // the data have too few values of N to tell a, d and e apart
  bool found = false;              // false: too few rows for any variant
};

// Fits every variant of ListVariants that has enough rows and keeps the one with the lowest AICc; within 1e-6 of it the
// one with fewer parameters. A variant that needs more values of N than there are is taken only if it is better by 10.
FormSearch SearchForm(const Form& form, const FitData& data, const SearchSettings& settings);

}  // namespace capsweep::ecm
