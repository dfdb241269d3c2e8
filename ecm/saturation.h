// Whether the bound αH + β was seen, and whether it is one of the model or of the training budget.
#pragma once

#include <string>
#include <vector>

#include "ecm/budget_study.h"
#include "ecm/capacity.h"
#include "ecm/fit.h"

namespace capsweep::ecm {

// Rows that must lie on the bound before anything is said of it.
inline constexpr int kFewestSaturatedRows = 3;

struct Saturation {
  std::string word = "not observed";  // observed | budget-limited | not observed
  std::string reason;                 // one sentence
};

// Observed only if (1) the best form bends: it has both branches (or only the bound, over several widths), AICc prefers
// it to the same form without the bound by more than 2, at least 3 rows lie on the bound, and there capacity grows with
// less than width^0.7 (measured, not modelled: a straight line bent by noise does not count); and (2) the budget study
// says `saturated`: repeats of the largest widths with at least 3 times the budget gain less than 10 %. Without such
// repeats, or with a larger gain, a bend is budget-limited. Where no budget is known (CSV) a bend counts as observed
// and the reason says that no check was possible.
//
// `fitted`: the rows of the fit; `on_bound`: per fitted row.
Saturation JudgeSaturation(const FormSearch& search, const std::vector<Row>& fitted, const std::vector<bool>& on_bound,
                           const BudgetStudy& study);

}  // namespace capsweep::ecm
