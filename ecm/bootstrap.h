// How sure a fit is: bootstrap draws of its parameters, and 95 % intervals from them and from the covariance.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ecm/capacity.h"
#include "ecm/fit.h"

namespace capsweep::ecm {

struct BootstrapSettings {
  int draws = 200;
  uint64_t seed = 1;
  int threads = 1;
  std::string weighting = "weighted";
  bool restarts = true;  // start from the other local optima too, not only from the best
};

// Nonparametric: cells drawn with replacement, the repeats of each drawn cell resampled inside it, the chosen variant
// refitted from its optimum. Draws are in items (not scaled). Fewer than asked if some could not be fitted.
std::vector<Theta> BootstrapDraws(const FormSearch& search, const std::vector<Row>& rows,
                                  const BootstrapSettings& settings);

struct ParameterIntervals {
  std::map<std::string, std::pair<double, double>> intervals;  // free parameters only, in items
  bool covariance_used = false;  // false: ill-conditioned (condition above 1e10) or no degrees of freedom
};

// 95 % per free parameter: the hull of the percentile interval and θ ± t·√diag(s²(JᵀWJ)⁻¹). The percentile interval
// alone covers too rarely with a few dozen rows per branch; the covariance alone is wrong near the kink and at bounds.
ParameterIntervals MakeIntervals(const FormSearch& search, const FitData& data, const std::vector<Theta>& draws);

}  // namespace capsweep::ecm
