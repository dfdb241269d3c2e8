// What training longer gains: repeats of the largest widths with at least three times the steps.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ecm/capacity.h"

namespace capsweep::ecm {

// A budget of this many times the base counts as a repeat; rounding of steps may take 1 % off it.
inline constexpr double kBudgetStep = 3;
// A gain from which a bend is the budget's and not the model's.
inline constexpr double kLargestGain = 0.10;

// One cell measured with its base budget and with a larger one.
struct BudgetRepeat {
  double heads = 0, width = 0, seq_len = 0;
  double base_budget = 0, budget = 0;  // as asked: steps, or epochs
  double base_capacity = 0, capacity = 0;
  double gain = 0;        // capacity / base_capacity − 1
  bool on_bound = false;  // the fitted form has the base row on αH + β
  bool counted = false;
  std::string why_not_counted;
};

struct BudgetStudy {
  std::vector<BudgetRepeat> rows;
  std::vector<double> widths;           // of the counted repeats, ascending
  double factor = 0;                    // mean budget / base budget of these
  std::optional<double> gain;           // their mean gain
  std::optional<double> gain_on_bound;  // of those on the bound
  std::map<double, double> gain_by_heads;
  // saturated: the gain is below 10 %, also on the bound alone. budget-limited: it is not. no repeats: nothing was
  // repeated long enough. unknown: the input holds no budgets.
  std::string verdict;
};

// `fitted`: the rows of the fit, all at their base budget; `on_bound`: per fitted row; `all`: with the rows of larger
// budgets. Repeats count at the two largest fitted widths, and of several budgets of one cell the smallest that is at
// least three times the base. A repeat that filled its library shows a lower bound of its gain, so it counts only where
// that is 10 % already.
BudgetStudy StudyBudgets(const std::vector<Row>& fitted, const std::vector<bool>& on_bound,
                         const std::vector<Row>& all);

// "largest widths 48, 64 at 3.0x steps gained 12 % (heads 1: 8 %, heads 2: 14 %; 8 repeats)".
std::string DescribeStudy(const BudgetStudy& study);

}  // namespace capsweep::ecm
