// Which cells to train next so that one prediction becomes surer, per second of training.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ecm/capacity.h"
#include "ecm/report.h"

namespace capsweep::ecm {

// A cell that may be trained (once more).
struct SuggestCell {
  double heads = 0, width = 0, seq_len = 0;
  double seconds = 0;       // of one repeat; above 0
  int most_repeats = 1000;  // that may still be added
};

struct SuggestRequest {
  double heads = 0, width = 0, seq_len = 0;  // of the prediction whose interval is to shrink
  double seconds = std::numeric_limits<double>::infinity();
  int points = 12;
  std::string form;  // "" = the fit's best form; or the baseline log_quadratic
};

struct Suggestion {
  int cell = 0;            // index into the candidates
  int repeat = 1;          // the how-manieth of its cell, those measured before counted
  double seconds = 0;      // of this repeat
  double interval = 0;     // expected width of the 95 % interval after it, items
  bool near_kink = false;  // the form bends here: the linearisation says little of this cell
};

struct SuggestPlan {
  double predicted = 0;        // by the fit's best form, items
  double interval_before = 0;  // linearised, items
  std::vector<Suggestion> order;
  bool rank_lacking = false;      // the rows do not identify all parameters: a weak prior stands in
  bool target_near_kink = false;  // the linearised interval of the target itself is not to be trusted
};

// Greedy c-optimal design. With the fitted form's Jacobian J and the weights W of a weighted fit the variance of the
// target is s²·gᵀ(JᵀWJ + Λ)⁻¹g, g the target's gradient, s² = χ²/dof (1 below three degrees of freedom); every step
// adds the repeat that lowers its logarithm most per second. A repeat of a cell with n repeats adds w(n + 1) − w(n),
// w(n) = 1/(φC/n + (0.05·C)²), φ being the pooled SD²/C of the rows: further repeats of one cell help less and less. Λ
// is a weak prior (each parameter known to about ten times its size); it matters only where the rows identify less.
// Where the branches differ by less than 15 % a cell's Jacobian is the mean of both. The interval is 2·t·√variance with
// t at (cells − parameters) degrees of freedom.
//
// With `form` log_quadratic the same is done for that baseline, whose bend-free Jacobian is C times its terms; it needs
// no fitted form.
//
// `rows`: those of the fit. FailedPrecondition without a fit; InvalidArgument for a target or candidates out of range.
absl::StatusOr<SuggestPlan> Suggest(const GroupFit& fit, const std::vector<Row>& rows,
                                    const std::vector<SuggestCell>& candidates, const SuggestRequest& request);

}  // namespace capsweep::ecm
