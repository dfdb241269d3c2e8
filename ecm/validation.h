// Held-out validation: fit without one level of a field, predict that level.
#pragma once

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

// Fits `form` to the training rows and fills heldout_rmse, _mape, _bias and, with a bootstrap, _coverage: the share of
// held-out rows inside the 95 % prediction interval (bootstrap draws of the parameters plus resampled relative
// residuals). `start`: a further start in items; it cannot change what is fitted, only help to find it.
void ValidateForm(const Form& form, const Split& split, const FitSettings& settings, const Theta& start, FormFit& fit);

void ValidateBaseline(const std::string& name, const Split& split, const std::string& weighting, FormFit& fit);

}  // namespace capsweep::ecm
