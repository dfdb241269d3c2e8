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

// 95 % per free parameter: the hull of the percentile interval and θ ± t·√diag(s²(JᵀWJ)⁻¹). Either alone covers too
// rarely: the percentiles with few rows per branch, the covariance near the kink and at bounds. A parameter only learns
// from the m rows of its branch, where p parameters were fitted, so t has m − p degrees of freedom, and the percentiles
// are taken at Φ(∓√(m/(m−p))·t) in place of 2.5 and 97.5 % (the expanded percentile interval of Hesterberg 2015).
ParameterIntervals MakeIntervals(const FormSearch& search, const FitData& data, const std::vector<Theta>& draws);

}  // namespace capsweep::ecm
