// Held-out validation: fit without one level of a field, predict that level.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ecm/capacity.h"
#include "ecm/forms.h"
#include "ecm/report.h"

namespace capsweep::ecm {

struct Split {
  std::vector<Row> training, held_out;
  std::string name;     // "heads=5"
  std::string why_not;  // not "": nothing can be held out
};

// `field`: heads | width | seq_len; `value` 0 = the largest there is. At least two levels and 8 rows must remain.
Split SplitRows(const std::vector<Row>& rows, const std::string& field, double value);

// Five folds of the rows, drawn at random and the same for a seed; empty with fewer than 10 rows.
std::vector<Split> MakeFolds(const std::vector<Row>& rows, uint64_t seed);

// What a fit to the training rows says of the held-out ones.
struct HeldOut {
  std::vector<double> predicted;  // per held-out row
  std::vector<bool> inside;       // its 95 % prediction interval; empty without a bootstrap
  int parameters_used = 0;
  std::vector<std::string> dropped_terms;  // baselines
  std::string why_not;                     // not "": could not be fitted
};

// `start`: a further start in items; it cannot change what is fitted, only help to find it. The interval: bootstrap
// draws of the parameters plus resampled relative residuals of the training rows.
HeldOut HoldOutForm(const Form& form, const Split& split, const FitSettings& settings, const Theta& start);
HeldOut HoldOutBaseline(const std::string& name, const Split& split, const std::string& weighting);

// Fills heldout_rmse, _mape, _bias and, with a bootstrap, _coverage: the share of held-out rows inside their interval.
void ValidateForm(const Form& form, const Split& split, const FitSettings& settings, const Theta& start, FormFit& fit);

void ValidateBaseline(const std::string& name, const Split& split, const std::string& weighting, FormFit& fit);

}  // namespace capsweep::ecm
