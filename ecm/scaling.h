// How the size that a task needs grows with the task: a power law and the curves that theory offers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::ecm {

// y = factor * x^exponent by least squares in logarithms.
struct PowerLaw {
  double exponent = 0, factor = 0;
  double low = 0, high = 0;  // 95 % interval of the exponent: percentiles over bootstrap draws of the pairs
  int pairs = 0;
};

// InvalidArgument: fewer than three pairs, fewer than two different x, or a value that is not positive and finite. The
// same input and seed give the same bits. Draws in which all x are equal are drawn again.
absl::StatusOr<PowerLaw> FitPowerLaw(const std::vector<double>& x, const std::vector<double>& y, int draws = 2000,
                                     uint64_t seed = 1);

// y = factor * g(x) for a curve g of theory, the factor by least squares in logarithms. Theory leaves the factor open:
// a measured size above or below such a curve violates nothing.
struct Overlay {
  std::string name;
  double factor = 0;
  double rss = 0;   // of ln y
  double aicc = 0;  // of ln y; infinite for fewer than four pairs
};

// Curves for the parameters that memorize D items of n tokens (Kajitsuka and Sato, ICLR 2025): sqrt(D), sqrt(D ln D), D
// and, where `tokens` takes several values, sqrt(n D). Ascending by AICc. The vectors are parallel; D above 1.
std::vector<Overlay> FitOverlays(const std::vector<double>& items, const std::vector<double>& tokens,
                                 const std::vector<double>& parameters);

}  // namespace capsweep::ecm
