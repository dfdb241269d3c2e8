#include "ecm/budget_study.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace capsweep::ecm {
namespace {

constexpr double kRounding = 0.99;
constexpr int kLargestWidths = 2;  // how many of the widths count as "the largest"

using Cell = std::tuple<double, double, double>;

Cell CellOf(const Row& row) {
  return {row.heads, row.seq_len, row.width};
}

double SmallestLargeWidth(const std::vector<Row>& fitted) {
  std::set<double> widths;
  for (const Row& row : fitted) widths.insert(row.width);
  auto smallest = widths.end();
  for (int i = 0; i < kLargestWidths && smallest != widths.begin(); ++i) --smallest;
  return smallest == widths.end() ? 0 : *smallest;
}

struct Mean {
  double sum = 0;
  int count = 0;
  void Add(double v) {
    sum += v;
    ++count;
  }
  double value() const { return sum / count; }
};

void Conclude(BudgetStudy& study) {
  Mean gain, on_bound, factor;
  std::map<double, Mean> by_heads;
  std::set<double> widths;
  for (const BudgetRepeat& repeat : study.rows) {
    if (!repeat.counted) continue;
    gain.Add(repeat.gain);
    factor.Add(repeat.budget / repeat.base_budget);
    by_heads[repeat.heads].Add(repeat.gain);
    widths.insert(repeat.width);
    if (repeat.on_bound) on_bound.Add(repeat.gain);
  }
  if (gain.count == 0) {
    study.verdict = "no repeats";
    return;
  }
  study.widths.assign(widths.begin(), widths.end());
  study.factor = factor.value();
  study.gain = gain.value();
  for (const auto& [heads, mean] : by_heads) study.gain_by_heads[heads] = mean.value();
  if (on_bound.count > 0) study.gain_on_bound = on_bound.value();
  const double largest = std::max(*study.gain, study.gain_on_bound.value_or(*study.gain));
  study.verdict = largest < kLargestGain ? "saturated" : "budget-limited";
}

}  // namespace

BudgetStudy StudyBudgets(const std::vector<Row>& fitted, const std::vector<bool>& on_bound,
                         const std::vector<Row>& all) {
  BudgetStudy study;
  if (std::none_of(all.begin(), all.end(), [](const Row& row) { return row.budget > 0; })) {
    study.verdict = "unknown";
    return study;
  }
  std::map<Cell, size_t> base;
  for (size_t i = 0; i < fitted.size(); ++i) base[CellOf(fitted[i])] = i;
  const double large = SmallestLargeWidth(fitted);
  std::map<Cell, double> chosen;  // budget of the repeat that counts
  for (const Row& row : all) {
    const auto it = base.find(CellOf(row));
    if (it == base.end() || row.budget < kRounding * kBudgetStep * fitted[it->second].budget) continue;
    const auto [kept, is_new] = chosen.emplace(CellOf(row), row.budget);
    kept->second = std::min(kept->second, row.budget);
  }
  for (const Row& row : all) {
    const auto it = base.find(CellOf(row));
    if (it == base.end()) continue;
    const Row& first = fitted[it->second];
    if (first.budget <= 0 || first.capacity <= 0 || row.budget <= first.budget) continue;
    BudgetRepeat repeat{.heads = row.heads, .width = row.width, .seq_len = row.seq_len};
    repeat.base_budget = first.budget;
    repeat.budget = row.budget;
    repeat.base_capacity = first.capacity;
    repeat.capacity = row.capacity;
    repeat.gain = row.capacity / first.capacity - 1;
    repeat.on_bound = it->second < on_bound.size() && on_bound[it->second];
    const auto best = chosen.find(CellOf(row));
    if (row.width < large) {
      repeat.why_not_counted = "not one of the two largest widths";
    } else if (row.budget < kRounding * kBudgetStep * first.budget) {
      repeat.why_not_counted = "less than 3 times the base budget";
    } else if (best != chosen.end() && row.budget > best->second) {
      repeat.why_not_counted = "a smaller budget of at least 3 times the base is there";
    } else if (row.censored && repeat.gain < kLargestGain) {
      repeat.why_not_counted = "its library was full, so its gain is a lower bound";
    }
    repeat.counted = repeat.why_not_counted.empty();
    study.rows.push_back(repeat);
  }
  Conclude(study);
  return study;
}

std::string DescribeStudy(const BudgetStudy& study) {
  if (study.verdict == "unknown") return "the input holds no training budgets";
  if (!study.gain) {
    return "no row of the two largest widths was repeated with at least 3 times the budget";
  }
  std::vector<std::string> by_heads;
  for (const auto& [heads, gain] : study.gain_by_heads) {
    by_heads.push_back(absl::StrFormat("heads %g: %.0f %%", heads, 100 * gain));
  }
  const auto repeats = std::count_if(study.rows.begin(), study.rows.end(), [](const auto& row) { return row.counted; });
  std::string text = absl::StrFormat("largest width%s %s at %.1fx steps gained %.0f %% (%s; %d repeat%s",
                                     study.widths.size() > 1 ? "s" : "", absl::StrJoin(study.widths, ", "),
                                     study.factor, 100 * *study.gain, absl::StrJoin(by_heads, ", "),
                                     static_cast<int>(repeats), repeats == 1 ? "" : "s");
  if (study.gain_on_bound) absl::StrAppendFormat(&text, "; rows on the bound: %.0f %%", 100 * *study.gain_on_bound);
  return text + ")";
}

}  // namespace capsweep::ecm
