// One bounded Levenberg–Marquardt run (Ceres) from one start.
#pragma once

#include "ecm/forms.h"

namespace capsweep::ecm {

struct Solution {
  Theta theta{};   // scaled
  double rss = 0;  // Σ w (C − Ĉ)², scaled; infinite if the start could not be evaluated
};

enum class Effort {
  kQuick,   // a start among many: tens of iterations
  kPolish,  // to the last digits: noise-free data must come out exact
};

// Moves the free parameters of `variant` within `bounds` to a local minimum of the weighted squares. `start` is clamped
// into the bounds first. Thread-safe.
Solution SolveFrom(const Variant& variant, const FitData& data, const Bounds& bounds, const Theta& start,
                   Effort effort);

// Σ w (C − Ĉ)² at `theta`; infinite where it is not finite.
double WeightedRss(const Variant& variant, const FitData& data, const Theta& theta);

}  // namespace capsweep::ecm
