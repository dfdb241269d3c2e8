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
constexpr double kBudgetStep = 3;
constexpr double kLargestRise = 0.10;
constexpr int kLargestWidths = 2;  // how many of the widths count as "the largest"

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

struct BudgetCheck {
  int pairs = 0;
  double mean_rise = 0;
};

// Compares rows of the largest widths on the bound with their repeats at 3 or more times the budget. A repeat that
// filled its library shows only a lower bound of its rise, so it counts only where that is large already.
BudgetCheck CheckBudget(const std::vector<Row>& fitted, const std::vector<bool>& on_bound,
                        const std::vector<Row>& all) {
  using Cell = std::tuple<double, double, double>;
  std::set<double> widths;
  std::map<Cell, const Row*> base;
  for (size_t i = 0; i < fitted.size(); ++i) {
    widths.insert(fitted[i].width);
    if (on_bound[i]) base[{fitted[i].heads, fitted[i].width, fitted[i].seq_len}] = &fitted[i];
  }
  auto smallest = widths.end();
  for (int i = 0; i < kLargestWidths && smallest != widths.begin(); ++i) --smallest;
  BudgetCheck check;
  for (const Row& row : all) {
    const auto it = base.find({row.heads, row.width, row.seq_len});
    if (it == base.end() || smallest == widths.end() || row.width < *smallest) continue;
    const Row& first = *it->second;
    if (first.budget <= 0 || row.budget < kBudgetStep * first.budget || first.capacity <= 0) continue;
    const double rise = row.capacity / first.capacity - 1;
    if (row.censored && rise < kLargestRise) continue;
    check.mean_rise += rise;
    ++check.pairs;
  }
  if (check.pairs > 0) check.mean_rise /= check.pairs;
  return check;
}

}  // namespace

Saturation JudgeSaturation(const FormSearch& search, const std::vector<Row>& fitted, const std::vector<bool>& on_bound,
                           const std::vector<Row>& all) {
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
  const bool budget_known = std::any_of(all.begin(), all.end(), [](const Row& row) { return row.budget > 0; });
  if (!budget_known) {
    return {"observed", "the input holds no training budgets, so a bend made by too few steps cannot be ruled out"};
  }
  const BudgetCheck check = CheckBudget(fitted, on_bound, all);
  if (check.pairs == 0) {
    return {"budget-limited",
            "capacity bends, but no row of the two largest widths on the bound was repeated with at least 3 times the "
            "budget, so the bend may come from too few training steps; repeat them to find out"};
  }
  const std::string measured = absl::StrFormat(
      "%d repeat%s of the largest widths with at least 3 times the budget "
      "changed capacity by %+.1f %% on average",
      check.pairs, check.pairs == 1 ? "" : "s", 100 * check.mean_rise);
  if (check.mean_rise >= kLargestRise) {
    return {"budget-limited", measured + ": the bend comes from the training budget at least in part"};
  }
  return {"observed", measured};
}

}  // namespace capsweep::ecm
