// Families of models beside each other: what each memorizes as the sequence grows.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "cli/analysis/analysis.h"
#include "cli/console.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

using FamiliesJsonValue = nlohmann::ordered_json;

constexpr double kNearlyEqualParameters = 1.1;  // whole widths hit a number of parameters only so well

struct MeanAndSd {
  double mean = 0, sd = std::nan("");
};

MeanAndSd Summarize(const std::vector<double>& values) {
  MeanAndSd summary;
  for (double v : values) summary.mean += v / static_cast<double>(values.size());
  if (values.size() < 2) return summary;
  double squares = 0;
  for (double v : values) squares += (v - summary.mean) * (v - summary.mean);
  summary.sd = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return summary;
}

FamilyCell FamilyCellOf(const std::vector<const ResultRow*>& rows) {
  const ResultRow& first = *rows[0];
  FamilyCell cell{.family = first.family,
                  .variant = first.variant,
                  .seq_len = first.seq_len,
                  .dataset_size = first.dataset_size,
                  .params_total = first.params_total,
                  .params_train = first.params_train,
                  .repeats = static_cast<int>(rows.size()),
                  .full = true};
  std::vector<double> items, errors;
  for (const ResultRow* row : rows) {
    items.push_back(row->items_corr);
    errors.push_back(1 - static_cast<double>(row->items_mem) / static_cast<double>(row->dataset_size));
    cell.full = cell.full && row->items_mem == row->dataset_size;
  }
  const MeanAndSd capacity = Summarize(items), error = Summarize(errors);
  cell.capacity = capacity.mean;
  cell.capacity_sd = capacity.sd;
  cell.error = error.mean;
  cell.error_sd = error.sd;
  return cell;
}

std::string WithSd(double mean, double sd, int digits) {
  return std::isfinite(sd) ? StrCat(FormatNumber(mean, digits), " ± ", FormatNumber(sd, 2))
                           : FormatNumber(mean, digits);
}

// The smallest and the largest value of a family over its cells of one variant, at the ends of the lengths.
std::string GrowthSentence(const FamiliesAnalysis& analysis, const std::string& family, const std::string& variant) {
  const FamilyCell *first = nullptr, *last = nullptr;
  for (const FamilyCell& cell : analysis.cells) {
    if (cell.family != family || cell.variant != variant) continue;
    if (first == nullptr) first = &cell;
    last = &cell;
  }
  if (first == nullptr) return "";
  std::string text = StrCat(family, variant.empty() ? "" : ", ", variant, ": ");
  if (first == last) {
    return StrCat(text, FormatNumber(first->capacity, 4), " items at seq_len ", first->seq_len, ".");
  }
  return StrCat(text, FormatNumber(first->capacity, 4), " items at seq_len ", first->seq_len, ", ",
                FormatNumber(last->capacity, 4), " at ", last->seq_len, first->full || last->full ? " or more" : "",
                ".");
}

}  // namespace

FamiliesAnalysis AnalyzeFamilies(const std::vector<ResultRow>& rows) {
  // By budget, then library.
  using Place = std::tuple<std::string, int64_t, std::string>;
  std::map<Place, std::map<int64_t, std::map<int64_t, std::vector<const ResultRow*>>>> cells;
  for (const ResultRow& row : rows) {
    cells[{row.variant, row.seq_len, row.family}][std::max(row.budget_steps, row.budget_epochs)][row.dataset_size]
        .push_back(&row);
  }
  FamiliesAnalysis analysis;
  std::set<std::string> families, variants;
  std::map<std::pair<std::string, int64_t>, std::pair<double, double>> sizes;  // least and most parameters
  for (const auto& [place, budgets] : cells) {
    FamilyCell best;
    for (const auto& [size, members] : budgets.begin()->second) {
      FamilyCell cell = FamilyCellOf(members);
      if (best.repeats == 0 || cell.capacity > best.capacity) best = std::move(cell);
    }
    families.insert(best.family);
    variants.insert(best.variant);
    const auto params = static_cast<double>(best.params_train);
    const auto [at, is_new] = sizes.try_emplace({best.variant, best.seq_len}, params, params);
    at->second = {std::min(at->second.first, params), std::max(at->second.second, params)};
    analysis.cells.push_back(std::move(best));
  }
  for (const auto& [place, size] : sizes) {
    if (size.first > 0) analysis.largest_ratio = std::max(analysis.largest_ratio, size.second / size.first);
  }
  analysis.families.assign(families.begin(), families.end());
  analysis.variants.assign(variants.begin(), variants.end());
  return analysis;
}

AnalysisView FamiliesView(const FamiliesAnalysis& analysis) {
  AnalysisView view{.header = {"seq_len", "family", "params train", "library", "capacity", "not memorized, %"}};
  const bool several = analysis.variants.size() > 1;
  if (several) view.header.insert(view.header.begin(), "recipe");
  for (const FamilyCell& cell : analysis.cells) {
    std::vector<std::string>& row = view.rows.emplace_back();
    if (several) row.push_back(cell.variant);
    row.insert(row.end(),
               {StrCat(cell.seq_len), cell.family, FormatCount(cell.params_train), FormatCount(cell.dataset_size),
                StrCat(cell.full ? "≥ " : "", WithSd(cell.capacity, cell.capacity_sd, 4)),
                WithSd(100 * cell.error, 100 * cell.error_sd, 3)});
  }
  for (const std::string& variant : analysis.variants) {
    for (const std::string& family : analysis.families) {
      if (std::string text = GrowthSentence(analysis, family, variant); !text.empty()) {
        view.findings.push_back(std::move(text));
      }
    }
  }
  view.findings.push_back(analysis.largest_ratio <= kNearlyEqualParameters
                              ? StrCat("Trained parameters of the families agree within ",
                                       FormatNumber(100 * (analysis.largest_ratio - 1), 2), " % at every length.")
                              : StrCat("Trained parameters of the families differ by up to a factor of ",
                                       FormatNumber(analysis.largest_ratio, 3),
                                       ": read this as no comparison at equal size."));
  view.notes.emplace_back(
      "capacity: items memorized beyond guessing, mean ± standard deviation over seeds; not memorized: share of the "
      "library, guessing not taken out. One budget and one learning rate serve all families.");
  return view;
}

std::string FamiliesText(const FamiliesAnalysis& analysis) {
  return ViewText(FamiliesView(analysis));
}

std::string FamiliesJson(const FamiliesAnalysis& analysis) {
  const auto number = [](double value) { return std::isfinite(value) ? FamiliesJsonValue(value) : nullptr; };
  FamiliesJsonValue out = {{"largest_parameter_ratio", analysis.largest_ratio}, {"cells", FamiliesJsonValue::array()}};
  for (const FamilyCell& cell : analysis.cells) {
    out["cells"].push_back({{"family", cell.family},
                            {"recipe", cell.variant},
                            {"seq_len", cell.seq_len},
                            {"dataset_size", cell.dataset_size},
                            {"params_total", cell.params_total},
                            {"params_train", cell.params_train},
                            {"capacity", cell.capacity},
                            {"capacity_sd", number(cell.capacity_sd)},
                            {"error", cell.error},
                            {"error_sd", number(cell.error_sd)},
                            {"repeats", cell.repeats},
                            {"full", cell.full}});
  }
  return out.dump(2);
}

}  // namespace capsweep::cli
