// Bits memorized per parameter.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/analysis/analysis.h"
#include "cli/console.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

using Json = nlohmann::ordered_json;

ecm::BitsCell MeanCell(const std::vector<const ResultRow*>& rows) {
  ecm::BitsCell cell;
  const auto n = static_cast<double>(rows.size());
  cell.dataset_size = static_cast<double>(rows[0]->dataset_size);
  cell.repeats = static_cast<int>(rows.size());
  for (const ResultRow* row : rows) {
    cell.bits_mem += row->bits_mem / n;
    cell.ended_by_budget += row->stop_reason == "budget" ? 1 : 0;
    cell.library_bits += ecm::LibraryBits(static_cast<double>(row->dataset_size), static_cast<double>(row->targets),
                                          static_cast<double>(row->vocab)) /
                         n;
  }
  double squares = 0;
  for (const ResultRow* row : rows) squares += (row->bits_mem - cell.bits_mem) * (row->bits_mem - cell.bits_mem);
  cell.bits_sd = rows.size() > 1 ? std::sqrt(squares / (n - 1)) : std::nan("");
  return cell;
}

std::string BitsFigure(double value, int digits) {
  return std::isfinite(value) ? FormatNumber(value, digits) : "-";
}

}  // namespace

BitsAnalysis AnalyzeBits(const std::vector<ResultRow>& rows) {
  // Of several budgets of one library the longest counts: it is nearest to a capacity.
  std::vector<std::string> order;
  std::map<std::string, std::map<int64_t, std::map<int64_t, std::vector<const ResultRow*>>>> cells;
  for (const ResultRow& row : rows) {
    if (!cells.contains(row.architecture)) order.push_back(row.architecture);
    cells[row.architecture][row.dataset_size][std::max(row.budget_steps, row.budget_epochs)].push_back(&row);
  }
  BitsAnalysis analysis;
  for (const std::string& name : order) {
    ecm::BitsCapacity capacity;
    const ResultRow& row = *cells[name].begin()->second.begin()->second[0];
    capacity.params_total = static_cast<double>(row.params_total);
    capacity.params_train = static_cast<double>(row.params_train);
    for (const auto& [size, budgets] : cells[name]) capacity.cells.push_back(MeanCell(budgets.rbegin()->second));
    analysis.architectures.emplace_back(row, std::move(capacity));
  }
  return analysis;
}

AnalysisView BitsView(const BitsAnalysis& analysis) {
  AnalysisView view{.header = {"architecture", "params", "library", "bits memorized", "sd", "alpha", "alpha train",
                               "H/(3.6 P)", "Morris fp32"}};
  for (const auto& [row, capacity] : analysis.architectures) {
    const ecm::BitsCell& best = capacity.Best();
    const auto morris =
        row.family == "gpt2" ? ecm::FindMorrisSize(row.layers, row.width, row.vocab, row.seq_len) : std::nullopt;
    view.rows.push_back({row.architecture, FormatCount(row.params_total),
                         FormatCount(static_cast<int64_t>(best.dataset_size)), BitsFigure(best.bits_mem, 4),
                         BitsFigure(best.bits_sd, 2), BitsFigure(capacity.alpha_total(), 3),
                         BitsFigure(capacity.alpha_train(), 3), BitsFigure(capacity.saturation_ratio(), 3),
                         morris ? BitsFigure(morris->alpha_fp32, 3) : ""});
    view.findings.push_back(StrCat(row.architecture, ": ", ecm::BitsVerdict(capacity), "."));
  }
  view.notes.emplace_back(
      "alpha is bits memorized per parameter, all of them or the trained ones, at the library that gave most; H/(3.6 "
      "P) "
      "is the largest library over what 3.6 bits per parameter would hold.");
  view.notes.emplace_back(
      "The printed figures of Morris and others (2025) come from a million steps; a lower figure from fewer steps "
      "contradicts nothing.");
  return view;
}

std::string BitsText(const BitsAnalysis& analysis) {
  return ViewText(BitsView(analysis));
}

std::string BitsJson(const BitsAnalysis& analysis) {
  Json out = Json::array();
  for (const auto& [row, capacity] : analysis.architectures) {
    Json cells = Json::array();
    for (const ecm::BitsCell& cell : capacity.cells) {
      cells.push_back({{"dataset_size", cell.dataset_size},
                       {"library_bits", cell.library_bits},
                       {"bits_mem", cell.bits_mem},
                       {"bits_sd", cell.bits_sd},
                       {"repeats", cell.repeats},
                       {"ended_by_budget", cell.ended_by_budget}});
    }
    const auto morris =
        row.family == "gpt2" ? ecm::FindMorrisSize(row.layers, row.width, row.vocab, row.seq_len) : std::nullopt;
    out.push_back({{"architecture", row.architecture},
                   {"params_total", row.params_total},
                   {"params_train", row.params_train},
                   {"capacity_bits", capacity.Best().bits_mem},
                   {"alpha_total", capacity.alpha_total()},
                   {"alpha_train", capacity.alpha_train()},
                   {"saturation_ratio", capacity.saturation_ratio()},
                   {"morris_alpha_fp32", morris ? Json(morris->alpha_fp32) : Json(nullptr)},
                   {"verdict", ecm::BitsVerdict(capacity)},
                   {"cells", std::move(cells)}});
  }
  return out.dump(2);
}

}  // namespace capsweep::cli
