// The fits of a report: tables and sentences.
#include "cli/report_fit.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_format.h"
#include "cli/console.h"
#include "cli/figures/group_title.h"
#include "cli/figures/shared.h"
#include "cli/html.h"
#include "cli/report_page.h"
#include "common/text.h"
#include "ecm/baselines.h"
#include "ecm/forms.h"

namespace capsweep::cli {
namespace {

constexpr double kToldApart = 2;  // ΔAICc from which two forms are told apart
constexpr size_t kNamesShown = 3;
constexpr const char* kFormOrder[] = {"min", "max", "softmin", "minlin"};

std::string Number(double value, int digits = 4) {
  return std::isfinite(value) ? FormatNumber(value, digits) : "-";
}
std::string Number(const std::optional<double>& value) {
  return value ? Number(*value) : "-";
}
std::string Percent(double value) {
  return absl::StrFormat("%.*f %%", value < 10 ? 1 : 0, value);
}

const ecm::FormFit* FindFit(const ecm::GroupFit& group, const std::string& name) {
  const auto form = group.forms.find(name);
  if (form != group.forms.end()) return &form->second;
  const auto baseline = group.baselines.find(name);
  return baseline == group.baselines.end() ? nullptr : &baseline->second;
}

// Forms, then baselines, in the order of the documentation; what is unknown to it last.
std::vector<std::string> NamesOf(const ecm::GroupFit& group) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (FindFit(group, name) != nullptr && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  };
  for (const char* name : kFormOrder) add(name);
  for (const auto& [name, fit] : group.forms) add(name);
  for (const std::string& name : ecm::BaselineNames()) add(name);
  for (const auto& [name, fit] : group.baselines) add(name);
  return names;
}

std::string Remark(const ecm::GroupFit& group, const std::string& name, const ecm::FormFit& fit) {
  std::vector<std::string> remarks;
  if (name == group.best) remarks.emplace_back("lowest AICc of the forms");
  if (name == group.best_overall) {
    remarks.emplace_back(group.holdout.empty() ? "lowest AICc of all" : "best on the held-out rows");
  }
  if (!fit.variant.empty() && fit.variant != "full") remarks.push_back(fit.variant);
  if (!fit.dropped_terms.empty())
    remarks.push_back(StrCat("cannot identify ", figures::Plural(fit.dropped_terms.size(), "term")));
  return StrJoin(remarks, "; ");
}

std::string ErrorTable(const ecm::GroupFit& group) {
  std::vector<std::vector<std::string>> rows;
  std::map<std::string, std::vector<std::string>> skipped;  // names by reason
  for (const std::string& name : NamesOf(group)) {
    const ecm::FormFit& fit = *FindFit(group, name);
    const std::string shown = StrCat(group.forms.contains(name) ? "form " : "baseline ", name);
    if (!fit.skipped.empty()) {
      skipped[fit.skipped].push_back(name);
      continue;
    }
    rows.push_back({shown, StrCat(fit.parameters_used), Number(fit.rmse), Number(fit.mape, 3),
                    absl::StrFormat("%.4f", fit.r2), std::isfinite(fit.aicc) ? absl::StrFormat("%.1f", fit.aicc) : "-",
                    Number(fit.heldout_rmse), Number(fit.heldout_mape), Remark(group, name, fit)});
  }
  std::string out =
      HtmlTable({"", "parameters", "RMSE", "MAPE %", "R²", "AICc", "held-out RMSE", "held-out MAPE %", ""}, rows);
  for (const auto& [reason, names] : skipped) {
    out += HtmlParagraph(StrCat("Not fitted: ", StrJoin(names, ", "), " (", reason, ")."));
  }
  return out;
}

std::string ParameterTable(const std::string& form, const ecm::FormFit& fit) {
  std::vector<std::string> names;
  if (const ecm::Form* known = ecm::FindForm(form); known != nullptr) names = known->parameters;
  std::vector<std::vector<std::string>> rows;
  for (const std::string& name : names) {
    const auto value = fit.parameters.find(name);
    if (value == fit.parameters.end()) continue;
    const auto interval = fit.intervals.find(name);
    const bool unknown =
        std::find(fit.not_identified.begin(), fit.not_identified.end(), name) != fit.not_identified.end();
    std::string range = value->second == 0 ? "held at 0" : "-";
    if (interval != fit.intervals.end()) {
      range = StrCat(Number(interval->second.first), " to ", Number(interval->second.second));
    }
    if (unknown) range = "not identified";
    rows.push_back({name, Number(value->second), range});
  }
  return HtmlTable({"parameter", "value", "95 % interval"}, rows);
}

std::string RowsSentence(const ecm::GroupFit& group) {
  std::vector<std::string> left_out;
  for (const auto& [reason, count] : ecm::ReasonsLeftOut(group.points)) left_out.push_back(StrCat(count, " ", reason));
  std::string text =
      StrCat(group.rows_used, " of ", group.rows, " rows are fitted",
             left_out.empty() ? "" : StrCat(" (left out: ", StrJoin(left_out, "; "), ")"), ", ",
             group.weighting == "plain" ? "each with the same weight" : "weighted by 1/(SD²/repeats + (5 % of C)²)");
  if (!group.holdout.empty()) {
    StrAppend(&text, "; the held-out columns are of fits without ", group.holdout, " (", group.rows_held_out, " rows)");
  }
  return text + ".";
}

std::string PreferenceSentence(const ecm::GroupFit& group, const ecm::FormFit& best) {
  std::vector<std::string> close, apart;
  for (const auto& [name, fit] : group.forms) {
    if (name == group.best || !fit.skipped.empty()) continue;
    const double margin = fit.aicc - best.aicc;
    if (margin < kToldApart) {
      close.push_back(name);
    } else {
      apart.push_back(StrCat(name, " (ΔAICc ", absl::StrFormat("%.1f", margin), ")"));
    }
  }
  std::string text = StrCat("Of the forms, ", group.best, " describes the fitted rows best (RMSE ", Number(best.rmse),
                            " items, MAPE ", Percent(best.mape), ")");
  if (!apart.empty()) StrAppend(&text, "; the data prefer it to ", StrJoin(apart, ", "));
  if (!close.empty()) StrAppend(&text, "; they cannot tell it from ", StrJoin(close, ", "));
  return text + ".";
}

// The forms are compared among themselves above; this is what they have to beat.
std::string BaselineSentence(const ecm::GroupFit& group, const ecm::FormFit& best) {
  std::vector<std::pair<double, std::string>> lower;
  for (const auto& [name, fit] : group.baselines) {
    if (fit.skipped.empty() && std::isfinite(fit.aicc) && fit.aicc < best.aicc) lower.emplace_back(fit.aicc, name);
  }
  if (lower.empty()) return StrCat("No baseline has a lower AICc than ", group.best, ".");
  std::sort(lower.begin(), lower.end());
  return StrCat(figures::Plural(lower.size(), "baseline"), lower.size() == 1 ? " describes" : " describe",
                " the fitted rows better than ", group.best, " by AICc, best of all ", lower[0].second, " (",
                absl::StrFormat("%.1f against %.1f", lower[0].first, best.aicc), ").");
}

std::string HeldOutSentence(const ecm::GroupFit& group, const ecm::FormFit& best) {
  if (group.holdout.empty()) return "Nothing was held out, so how well any of them predicts new rows is not known.";
  if (!best.heldout_rmse) return StrCat(group.best, " could not be validated on ", group.holdout, ".");
  const auto figures = [](const ecm::FormFit& fit) {
    return StrCat("RMSE ", Number(fit.heldout_rmse), " items, MAPE ", Percent(fit.heldout_mape.value_or(0)));
  };
  std::vector<std::pair<double, std::string>> better;
  for (const std::string& name : NamesOf(group)) {
    const ecm::FormFit& fit = *FindFit(group, name);
    if (name != group.best && fit.heldout_rmse && *fit.heldout_rmse < *best.heldout_rmse) {
      better.emplace_back(*fit.heldout_rmse, name);
    }
  }
  std::sort(better.begin(), better.end());
  if (better.empty()) {
    return StrCat("Fitted without ", group.holdout, ", no other form or baseline predicts those rows better than ",
                  group.best, " (", figures(best), ").");
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(better.size(), kNamesShown); ++i) {
    names.push_back(StrCat(better[i].second, " (", figures(*FindFit(group, better[i].second)), ")"));
  }
  const size_t more = better.size() - names.size();
  return StrCat("Fitted without ", group.holdout, ", those rows are predicted better by ", StrJoin(names, ", "),
                more > 0 ? StrCat(" and ", more, " more") : "", " than by ", group.best, " (", figures(best), ").");
}

std::string SaturationSentence(const ecm::GroupFit& group) {
  const std::string reason = group.saturation_reason.empty() ? "" : StrCat(": ", group.saturation_reason);
  if (group.saturation == "observed") return StrCat("A saturation bound was observed", reason, ".");
  if (group.saturation == "budget-limited") {
    return StrCat("Saturation is budget-limited", reason, ".");
  }
  return StrCat("Saturation was not observed", reason, ".");
}

}  // namespace

std::vector<std::string> FitSentences(const ecm::GroupFit& group) {
  if (!group.error.empty()) return {StrCat("No capacity model: ", group.error, ".")};
  const ecm::FormFit& best = group.forms.at(group.best);
  std::vector<std::string> sentences = {SaturationSentence(group), PreferenceSentence(group, best),
                                        BaselineSentence(group, best), HeldOutSentence(group, best)};
  if (best.heldout_coverage) {
    sentences.push_back(absl::StrFormat("%.0f %% of the held-out rows lie in the 95 %% prediction interval of %s.",
                                        100 * *best.heldout_coverage, group.best));
  }
  if (best.starts > 0 && best.starts_agreeing <= 2) {
    sentences.push_back(StrCat("Only ", best.starts_agreeing, " of ", best.starts,
                               " starts reached the best fit within 1 %; a better one may have been missed."));
  }
  for (const std::string& note : best.notes) sentences.push_back(StrCat("On ", group.best, ": ", note, "."));
  for (const std::string& warning : group.warnings) {
    if (!warning.starts_with("Saturation: ")) sentences.push_back(warning);  // that one was said above
  }
  return sentences;
}

std::string FitSection(const figures::FigureData& data) {
  std::string out;
  for (const ecm::GroupFit& group : data.fit.groups) {
    const std::string title = GroupTitle(group.group);
    out += HtmlHeading(3, title.empty() ? "all rows" : title);
    out += HtmlParagraph(RowsSentence(group));
    if (!group.error.empty()) {
      out += HtmlParagraph(StrCat("No fit: ", group.error, "."));
      continue;
    }
    const ecm::FormFit& best = group.forms.at(group.best);
    out += ErrorTable(group);
    out += HtmlParagraph(
        StrCat("Parameters of ", group.best, best.variant == "full" ? "" : StrCat(" (", best.variant, ")"), ":"));
    out += ParameterTable(group.best, best);
  }
  return out;
}

}  // namespace capsweep::cli
