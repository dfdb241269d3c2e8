// The rounds of an adaptive sweep.
#include <cmath>

#include "absl/strings/str_format.h"
#include "cli/analysis/analysis.h"
#include "cli/table.h"
#include "common/text.h"
#include "nlohmann/json.hpp"

namespace capsweep::cli {
namespace {

std::string SpentWords(const AdaptiveAnalysis& analysis, double amount) {
  return analysis.by_seconds ? StrCat(FormatNumber(amount, 3), " s of training")
                             : StrCat(FormatNumber(amount, 6), " points");
}

std::string Percent(double share) {
  return absl::StrFormat("%.1f %%", 100 * share);
}

int64_t TrainedCells(const AdaptiveAnalysis& analysis) {
  int64_t trained = 0;
  for (const auto& cell : analysis.cells) trained += cell.first + cell.later > 0 ? 1 : 0;
  return trained;
}

std::vector<std::string> Findings(const AdaptiveAnalysis& analysis) {
  if (analysis.rounds.empty()) return {"The first round is not measured yet, so nothing is predicted."};
  std::vector<std::string> findings;
  const AdaptiveAnalysis::Round& last = analysis.rounds.back();
  if (!last.unfitted.empty()) {
    findings.push_back(StrCat("Nothing is predicted for ", analysis.target, ": ", last.unfitted, "."));
  } else {
    findings.push_back(StrCat("Predicted for ", analysis.target, ": ", FormatNumber(last.predicted, 5),
                              " items, 95 % interval ", FormatNumber(last.low, 5), " to ", FormatNumber(last.high, 5),
                              ", ", Percent(last.Width()), " to either side."));
  }
  for (const auto& round : analysis.rounds) {
    if (!round.unfitted.empty() || &round == &last || !last.unfitted.empty()) continue;
    findings.push_back(StrCat("The first prediction, after ", SpentWords(analysis, round.spent), ", was ",
                              FormatNumber(round.predicted, 5), " items, ", Percent(round.Width()),
                              " to either side; the rounds since took ", SpentWords(analysis, last.spent - round.spent),
                              "."));
    break;
  }
  findings.push_back(StrCat("Spent: ", SpentWords(analysis, last.spent), " of ", SpentWords(analysis, analysis.budget),
                            ", on ", TrainedCells(analysis), " of the grid's ", analysis.cells.size(), " cells."));
  findings.push_back(analysis.why_ended.empty() ? "It goes on." : StrCat("It ended: ", analysis.why_ended, "."));
  return findings;
}

}  // namespace

AnalysisView AdaptiveView(const AdaptiveAnalysis& analysis) {
  AnalysisView view{.header = {"round", analysis.by_seconds ? "seconds" : "spent", "points", "cells", "predicted",
                               "low", "high", "half interval"}};
  for (size_t i = 0; i < analysis.rounds.size(); ++i) {
    const auto& round = analysis.rounds[i];
    std::vector<std::string> row = {StrCat(i + 1), FormatNumber(round.spent, 4), FormatCount(round.points),
                                    FormatCount(round.cells)};
    if (round.unfitted.empty()) {
      row.insert(row.end(), {FormatNumber(round.predicted, 5), FormatNumber(round.low, 5), FormatNumber(round.high, 5),
                             Percent(round.Width())});
    } else {
      row.insert(row.end(), {"no fit", "", "", ""});
    }
    view.rows.push_back(std::move(row));
  }
  view.findings = Findings(analysis);
  view.notes.emplace_back(
      "Intervals are 95 % of the fit after that round. They say how sure the form is of itself: where it does not hold "
      "at the target, more rounds make it surer and not righter.");
  return view;
}

std::string AdaptiveText(const AdaptiveAnalysis& analysis) {
  return ViewText(AdaptiveView(analysis));
}

std::string AdaptiveJson(const AdaptiveAnalysis& analysis) {
  using Json = nlohmann::ordered_json;
  Json rounds = Json::array();
  for (const auto& round : analysis.rounds) {
    Json one = {{"spent", round.spent}, {"points", round.points}, {"cells", round.cells}};
    if (round.unfitted.empty()) {
      one.update({{"predicted", round.predicted}, {"low", round.low}, {"high", round.high}});
    } else {
      one["unfitted"] = round.unfitted;
    }
    rounds.push_back(std::move(one));
  }
  Json cells = Json::array();
  for (const auto& cell : analysis.cells) {
    if (cell.first + cell.later == 0) continue;
    cells.push_back({{"heads", cell.heads},
                     {"width", cell.width},
                     {"seq_len", cell.seq_len},
                     {"first_round", cell.first},
                     {"later", cell.later}});
  }
  return Json{{"target", analysis.target},
              {"budget", analysis.budget},
              {"budget_unit", analysis.by_seconds ? "seconds" : "points"},
              {"stop_at", analysis.stop_at > 0 ? Json(analysis.stop_at) : Json(nullptr)},
              {"ended", analysis.why_ended.empty() ? Json(nullptr) : Json(analysis.why_ended)},
              {"rounds", std::move(rounds)},
              {"cells", std::move(cells)}}
      .dump(2);
}

}  // namespace capsweep::cli
