// In which order the computed fields of a sweep can be worked out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/sweep/errors.h"
#include "common/sweep/expression.h"
#include "common/sweep/spec.h"

namespace capsweep::sweep {

// One step of working out a point: a field by its expression, head_dim as width / heads, or a derived quantity.
struct Step {
  int id = 0;                            // variable that becomes known
  int line = 0;                          // in the sweep file; 0 for derived quantities
  std::string text;                      // of the expression
  std::optional<Expression> expression;  // nothing: derived, or head_dim where its axis says "split"
  std::vector<int> needs;                // variables that must be known before
};

struct Formulas {
  std::vector<Step> steps;  // in an order in which everything needed is known
  std::optional<Expression> where;
};

// Compiles all expressions of a sweep. Every error goes to `errors` with its line: expressions that do not parse,
// unknown names, words computed, the unused budget used, cycles (with their path).
Formulas CompileFormulas(const SweepSpec& spec, Errors& errors);

}  // namespace capsweep::sweep
