// What a person reads under a fit. Every claim is a comparison of two figures that stand in the table above it.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "ecm/baselines.h"
#include "ecm/forms.h"
#include "ecm/report.h"
#include "ecm/text_table.h"

namespace capsweep::ecm {
namespace {

constexpr double kToldApart = 2;  // ΔAICc from which two forms are told apart
constexpr size_t kMostNames = 4;
constexpr size_t kMostTerms = 3;
const char* const kForms[] = {"min", "max", "softmin", "minlin"};

std::string Figure(double value) {
  if (!std::isfinite(value)) return "-";
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= 1e6 || size < 1e-3) return absl::StrFormat("%.3e", value);
  if (size >= 100) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.4g", value);
}
std::string Figure(const std::optional<double>& value) {
  return value ? Figure(*value) : "-";
}

std::string Percent(double value) {
  return value < 10 ? absl::StrFormat("%.2g %%", value) : absl::StrFormat("%.0f %%", value);
}

std::string GroupName(const GroupFit& group) {
  if (group.group.empty()) return "all rows";
  std::vector<std::string> parts;
  for (const auto& [name, value] : group.group) parts.push_back(absl::StrCat(name, "=", value));
  return absl::StrJoin(parts, ", ");
}

const FormFit* Find(const GroupFit& group, const std::string& name) {
  const auto form = group.forms.find(name);
  if (form != group.forms.end()) return &form->second;
  const auto baseline = group.baselines.find(name);
  return baseline == group.baselines.end() ? nullptr : &baseline->second;
}

// Forms first, then baselines, each in the order of the documentation.
std::vector<std::string> Names(const GroupFit& group) {
  std::vector<std::string> names;
  for (const char* name : kForms) {
    if (group.forms.count(name) > 0) names.emplace_back(name);
  }
  for (const std::string& name : BaselineNames()) {
    if (group.baselines.count(name) > 0) names.push_back(name);
  }
  return names;
}

std::string Remark(const GroupFit& group, const std::string& name, const FormFit& fit) {
  if (!fit.skipped.empty()) return "not fitted: " + fit.skipped;
  std::vector<std::string> remarks;
  if (name == group.best) remarks.push_back("best form");
  if (name == group.best_overall) remarks.push_back(group.holdout.empty() ? "lowest AICc of all" : "best held out");
  if (!fit.variant.empty() && fit.variant != "full") remarks.push_back(fit.variant);
  if (!fit.dropped_terms.empty()) {
    const size_t shown = std::min(fit.dropped_terms.size(), kMostTerms);
    const std::vector<std::string> first(fit.dropped_terms.begin(), fit.dropped_terms.begin() + shown);
    const size_t more = fit.dropped_terms.size() - shown;
    remarks.push_back(absl::StrCat("cannot identify ", absl::StrJoin(first, ", "),
                                   more > 0 ? absl::StrCat(" and ", more, " more") : ""));
  }
  return absl::StrJoin(remarks, "; ");
}

std::string ErrorTable(const GroupFit& group) {
  std::vector<std::vector<std::string>> rows = {
      {"", "params", "RMSE", "MAPE %", "R2", "AICc", "held-out RMSE", "held-out MAPE %", ""}};
  for (const std::string& name : Names(group)) {
    const FormFit& fit = *Find(group, name);
    if (!fit.skipped.empty()) {
      rows.push_back({name, "-", "-", "-", "-", "-", "-", "-", Remark(group, name, fit)});
      continue;
    }
    rows.push_back({name, absl::StrCat(fit.parameters_used), Figure(fit.rmse), Figure(fit.mape),
                    absl::StrFormat("%.4f", fit.r2), std::isfinite(fit.aicc) ? absl::StrFormat("%.1f", fit.aicc) : "-",
                    Figure(fit.heldout_rmse), Figure(fit.heldout_mape), Remark(group, name, fit)});
  }
  return AlignedTable(rows);
}

std::string ParameterTable(const std::string& form, const FormFit& fit) {
  std::vector<std::vector<std::string>> rows = {{"", "value", "95 % interval"}};
  const Form* known = FindForm(form);
  for (const std::string& name : known != nullptr ? known->parameters : std::vector<std::string>{}) {
    const auto it = fit.parameters.find(name);
    if (it == fit.parameters.end()) continue;
    const double value = it->second;
    const bool unknown =
        std::find(fit.not_identified.begin(), fit.not_identified.end(), name) != fit.not_identified.end();
    const auto interval = fit.intervals.find(name);
    std::string range;
    if (interval != fit.intervals.end()) {
      range = absl::StrCat(Figure(interval->second.first), " to ", Figure(interval->second.second));
    }
    if (unknown) range = "not identified";
    if (range.empty()) range = value == 0 ? "held at 0" : "-";
    rows.push_back({name, Figure(value), range});
  }
  return AlignedTable(rows);
}

std::string RowsLine(const GroupFit& group) {
  std::vector<std::string> left_out;
  for (const auto& [reason, count] : ReasonsLeftOut(group.points)) {
    left_out.push_back(absl::StrCat(count, " ", reason));
  }
  std::string line = absl::StrCat(group.rows_used, " of ", group.rows, " rows used");
  if (!left_out.empty()) absl::StrAppend(&line, " (left out: ", absl::StrJoin(left_out, "; "), ")");
  absl::StrAppend(&line, group.weighting == "plain" ? "; every row weighs the same"
                                                    : "; weighted by 1/(SD^2/repeats + (5 % of C)^2)");
  if (!group.holdout.empty()) {
    absl::StrAppend(&line, "; held out for validation: ", group.holdout, ", ", group.rows_held_out, " rows");
  }
  return line + ".";
}

// "min fits best of the forms by AICc; …"
std::string BestFormClaim(const GroupFit& group, const FormFit& best) {
  std::vector<std::string> close;
  for (const char* name : kForms) {
    const auto it = group.forms.find(name);
    if (name == group.best || it == group.forms.end() || !it->second.skipped.empty()) continue;
    if (it->second.aicc - best.aicc < kToldApart) close.emplace_back(name);
  }
  std::string text = absl::StrCat("Of the forms, `", group.best, "` has the lowest AICc (RMSE ", Figure(best.rmse),
                                  " items, MAPE ", Percent(best.mape), " on the fitted rows)");
  if (!close.empty()) absl::StrAppend(&text, ", but the data cannot tell it from ", absl::StrJoin(close, ", "));
  return text + ".";
}

std::string HeldOutFigures(const FormFit& fit) {
  return absl::StrCat("RMSE ", Figure(fit.heldout_rmse), " items, MAPE ", Percent(fit.heldout_mape.value_or(0)));
}

// What the held-out rows say about the best form against everything else, by name and numbers.
std::string HeldOutClaim(const GroupFit& group, const FormFit& best) {
  if (group.holdout.empty()) return "Nothing was held out, so how well any of them predicts new rows is not known.";
  if (!best.heldout_rmse) return absl::StrCat("`", group.best, "` could not be validated on ", group.holdout, ".");
  std::vector<std::pair<double, std::string>> better;
  for (const std::string& name : Names(group)) {
    const FormFit& fit = *Find(group, name);
    if (name != group.best && fit.heldout_rmse && *fit.heldout_rmse < *best.heldout_rmse) {
      better.emplace_back(*fit.heldout_rmse, name);
    }
  }
  if (better.empty()) {
    return absl::StrCat("Fitted without ", group.holdout, ", no other form or baseline predicts those rows better (",
                        HeldOutFigures(best), ").");
  }
  std::sort(better.begin(), better.end());
  std::vector<std::string> names;
  for (const auto& [rmse, name] : better) {
    if (names.size() < kMostNames)
      names.push_back(absl::StrCat("`", name, "` (", HeldOutFigures(*Find(group, name)), ")"));
  }
  const size_t more = better.size() - names.size();
  return absl::StrCat("Fitted without ", group.holdout, ", those rows are predicted better by ",
                      absl::StrJoin(names, ", "), more > 0 ? absl::StrCat(" and ", more, " more") : "", " than by `",
                      group.best, "` (", HeldOutFigures(best), ").");
}

std::string CoverageClaim(const FormFit& best) {
  if (!best.heldout_coverage) return "";
  return absl::StrFormat("%.0f %% of the held-out rows lie in its 95 %% prediction interval.",
                         100 * *best.heldout_coverage);
}

std::string SaturationClaim(const GroupFit& group) {
  std::string text = absl::StrCat("Saturation: ", group.saturation);
  if (!group.saturation_reason.empty()) absl::StrAppend(&text, " (", group.saturation_reason, ")");
  return text + ".";
}

std::string BudgetClaim(const GroupFit& group) {
  const BudgetStudy& study = group.budget_study;
  const bool several = std::any_of(group.points.begin(), group.points.end(), [](const PredictedRow& point) {
    return point.why_not_used.find(" budget of ") != std::string::npos;
  });
  std::string text;
  if (several)
    text = "The fit holds one budget, the smallest of every cell; larger ones serve the budget study alone. ";
  // Where there is nothing to report the sentence on saturation says so.
  if (study.gain) absl::StrAppend(&text, "Budget study: ", DescribeStudy(study), ": ", study.verdict, ".");
  return text;
}

std::string StartsClaim(const FormFit& best) {
  std::string text = absl::StrCat(best.starts_agreeing, " of ", best.starts, " starts reached the best fit within 1 %");
  if (best.starts_agreeing <= 2) text += "; a better one may have been missed";
  return text + ".";
}

std::string GroupText(const GroupFit& group) {
  std::string out = absl::StrCat("Fit of ", GroupName(group), "\n", WrapText(RowsLine(group)));
  if (!group.error.empty()) return out + WrapText("No fit: " + group.error + ".");
  const FormFit& best = group.forms.at(group.best);
  absl::StrAppend(&out, "\n", ErrorTable(group), "\n");
  absl::StrAppend(&out, "Parameters of `", group.best, "`", best.variant == "full" ? "" : " (" + best.variant + ")",
                  "\n", ParameterTable(group.best, best), "\n");
  for (const std::string& sentence : {BestFormClaim(group, best), StartsClaim(best), HeldOutClaim(group, best),
                                      CoverageClaim(best), SaturationClaim(group), BudgetClaim(group)}) {
    if (!sentence.empty()) out += WrapText(sentence);
  }
  for (const std::string& note : best.notes) out += WrapText(absl::StrCat("Note on `", group.best, "`: ", note, "."));
  for (const std::string& warning : group.warnings) {
    // The reason of a budget-limited saturation stands in its own sentence already.
    if (warning != "Saturation: " + group.saturation_reason + ".") out += WrapText("Warning: " + warning);
  }
  if (group.validation) absl::StrAppend(&out, "\n", ValidationText(*group.validation));
  return out;
}

}  // namespace

std::string ReportText(const FitReport& report) {
  if (report.groups.empty()) return "No rows to fit.\n";
  std::vector<std::string> texts;
  for (const GroupFit& group : report.groups) texts.push_back(GroupText(group));
  return absl::StrJoin(texts, "\n");
}

std::string ReportSentence(const GroupFit& group) {
  if (!group.error.empty()) return absl::StrCat("no capacity model could be fitted (", group.error, ").");
  const FormFit& best = group.forms.at(group.best);
  std::string text = absl::StrCat("the ECM form `", group.best, "` describes the ", group.rows_used,
                                  " measured capacities with a mean error of ", Percent(best.mape));
  if (group.holdout.empty()) {
    text += ", untested on held-out rows";
  } else if (group.best_overall == group.best && best.heldout_mape) {
    absl::StrAppend(&text, " and predicts the held-out ", group.holdout, " best of all tried (mean error ",
                    Percent(*best.heldout_mape), ")");
  } else if (const FormFit* winner = Find(group, group.best_overall);
             winner != nullptr && winner->heldout_mape && best.heldout_mape) {
    // "Better" goes by RMSE; the mean relative error may say otherwise.
    const char* how =
        *winner->heldout_mape <= *best.heldout_mape ? "better" : "with a smaller RMSE, if a larger mean error,";
    absl::StrAppend(&text, "; held-out ", group.holdout, " is predicted ", how, " by `", group.best_overall,
                    "` (mean error ", Percent(*winner->heldout_mape), ", RMSE ", Figure(winner->heldout_rmse),
                    ") than by it (", Percent(*best.heldout_mape), ", RMSE ", Figure(best.heldout_rmse), ")");
  }
  const std::string saturation = group.saturation == "observed" ? "a saturation bound was observed"
                                 : group.saturation == "budget-limited"
                                     ? "the bend in capacity may come from the training budget"
                                     : "saturation was not observed";
  return absl::StrCat(text, "; ", saturation, ".");
}

}  // namespace capsweep::ecm
