#include "ecm/saturation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr double kAiccMargin = 2;
constexpr double kLargestElasticity = 0.7;

// Median of d ln C / d ln B from a row on the bound to the next narrower row of its series. Pairs that lie on the bound
// with both rows are taken alone if there are enough of them.
double BoundElasticity(const std::vector<Row>& rows, const std::vector<bool>& on_bound) {
  std::map<std::pair<double, double>, std::map<double, size_t>> series;
  for (size_t i = 0; i < rows.size(); ++i) series[{rows[i].heads, rows[i].seq_len}][rows[i].width] = i;
  std::vector<double> inside, crossing;
  for (const auto& [key, by_width] : series) {
    for (auto it = by_width.begin(); it != by_width.end() && std::next(it) != by_width.end(); ++it) {
      const size_t low = it->second, high = std::next(it)->second;
      if (!on_bound[high] || rows[low].capacity <= 0 || rows[high].capacity <= 0) continue;
      const double elasticity =
          std::log(rows[high].capacity / rows[low].capacity) / std::log(rows[high].width / rows[low].width);
      (on_bound[low] ? inside : crossing).push_back(elasticity);
    }
  }
  if (inside.size() < static_cast<size_t>(kFewestSaturatedRows)) {
    inside.insert(inside.end(), crossing.begin(), crossing.end());
  }
  return inside.empty() ? 1 : Quantile(inside, 0.5);
}

}  // namespace

Saturation JudgeSaturation(const FormSearch& search, const std::vector<Row>& fitted, const std::vector<bool>& on_bound,
                           const BudgetStudy& study) {
  const Form& form = *search.variant.form;
  if (form.combine == Combine::kMax) {
    return {"not observed", "the preferred form `max` has no bound: capacity keeps growing with width"};
  }
  if (!search.variant.saturated) {
    return {"not observed", "a bound alpha*H + beta does not improve the fit: capacity grows with width throughout"};
  }
  const int rows_on_bound = static_cast<int>(std::count(on_bound.begin(), on_bound.end(), true));
  if (rows_on_bound < kFewestSaturatedRows) {
    return {"not observed", absl::StrCat("only ", rows_on_bound, " rows lie on the bound alpha*H + beta; ",
                                         kFewestSaturatedRows, " are needed")};
  }
  if (search.variant.linear && !(search.aicc + kAiccMargin < search.linear_only_aicc)) {
    return {"not observed", "the bound alpha*H + beta improves the fit too little to be believed"};
  }
  const double elasticity = BoundElasticity(fitted, on_bound);
  if (elasticity > kLargestElasticity) {
    return {"not observed", absl::StrFormat("where the form bends, capacity still grows as width^%.2f", elasticity)};
  }
  if (study.verdict == "unknown") {
    return {"observed", "the input holds no training budgets, so a bend made by too few steps cannot be ruled out"};
  }
  if (study.verdict == "no repeats") {
    return {"budget-limited",
            "capacity bends, but no row of the two largest widths was repeated with at least 3 times the budget, so "
            "the bend may come from too few training steps; repeat them to find out"};
  }
  if (study.verdict == "budget-limited") {
    return {"budget-limited", DescribeStudy(study) + ": the bend comes from the training budget at least in part"};
  }
  return {"observed", DescribeStudy(study)};
}

}  // namespace capsweep::ecm
