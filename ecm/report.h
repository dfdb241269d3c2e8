// Fits all forms and baselines to every group, validates, and puts the outcome into words and stable JSON.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ecm/budget_study.h"
#include "ecm/capacity.h"
#include "ecm/validation_table.h"

namespace capsweep::ecm {

struct FitSettings {
  std::vector<std::string> forms = {"min", "max", "softmin", "minlin"};
  std::string holdout_field = "heads";  // "" = no hold-out; "heads" with value 0 = the largest number of heads
  double holdout_value = 0;
  int starts = 128;                    // of which the two-stage start is one; at least 64
  int bootstrap = 200;                 // 0 = none
  std::string weighting = "weighted";  // weighted | plain
  uint64_t seed = 1;
  int threads = 1;
  bool validate = false;  // fill GroupFit::validation
};

// Of a form or a baseline. rmse, mae, mape (percent) and r2 are plain, in items; aic, aicc and bic come from the
// weighted squares that the fit minimizes, RSS floored at a relative error of 1e-9: n ln(RSS/n) + 2K (+
// 2K(K+1)/(n−K−1)) and n ln(RSS/n) + K ln n with K = parameters_used + 1. aicc is infinite with too few rows (null in
// JSON).
struct FormFit {
  // a b c d e alpha beta (minlin: k h z alpha beta). Held at 0 by the chosen variant: 0. Of a branch that the chosen
  // variant does not have (alpha, beta; or those of the slope): NaN (null in JSON).
  std::map<std::string, double> parameters;
  std::map<std::string, std::pair<double, double>> intervals;  // 95 %, bootstrap; empty if not identified or not asked
  std::string variant;  // of a form: full | d=0 | d=e=0 | b=0 | …, chosen by AICc; may end in ", linear branch only"
  std::string skipped;  // not "": could not be fitted, and why; no figure below is set then
  std::vector<std::string> not_identified;  // parameters the data cannot tell, with the reason in `notes`
  std::vector<std::string> notes;
  double rmse = 0, mae = 0, mape = 0, r2 = 0, aic = 0, aicc = 0, bic = 0;
  std::optional<double> heldout_rmse, heldout_mape, heldout_bias, heldout_coverage;
  int parameters_used = 0;
  int rows_linear = 0, rows_saturated = 0;
  int starts = 0, starts_agreeing = 0;     // within 1 % of the best cost
  std::vector<std::string> dropped_terms;  // polynomials: terms the design cannot identify
};

struct PredictedRow {
  Row row;
  double predicted = 0;         // by `best`
  double lower = 0, upper = 0;  // 95 % bootstrap interval of the prediction; equal to predicted without bootstrap
  bool used = false;
  std::string why_not_used;
};

struct GroupFit {
  std::map<std::string, std::string> group;
  std::string best;               // among the forms, by AICc
  std::string best_overall;       // form or baseline with the lowest held-out error (AICc where nothing is held out)
  std::string saturation;         // observed | budget-limited | not observed
  std::string saturation_reason;  // the one sentence behind the word
  BudgetStudy budget_study;
  std::string weighting;  // weighted | plain
  std::string holdout;    // "heads=5"; "" = nothing was held out
  int rows_held_out = 0;
  int rows = 0, rows_used = 0;
  std::map<std::string, FormFit> forms;
  std::map<std::string, FormFit> baselines;  // see ecm/baselines.h
  std::vector<PredictedRow> points;
  std::vector<std::string> warnings;  // too few seq_len values, few rows, …
  // Bootstrap draws of `best`'s parameters, for intervals of predictions and safe designs. At most 200.
  std::vector<std::map<std::string, double>> draws;
  std::optional<Validation> validation;  // if asked for
  std::string error;                     // not "" : nothing could be fitted, and why (too few rows …)
};

struct FitReport {
  std::vector<GroupFit> groups;
};

// Never fails as a whole: a group that cannot be fitted says why in `error`. Deterministic for given settings.
FitReport FitGroups(const std::vector<Group>& groups, const FitSettings& settings);

// How many rows are left out of the fit for which reason, in few words: details that differ from row to row are
// dropped.
std::map<std::string, int> ReasonsLeftOut(const std::vector<PredictedRow>& points);

// Prediction of a fitted form or baseline at one place, in items. NaN for an unknown name and for the baselines bits,
// bits_parts and power, which need parameter counts as well.
double Predict(const std::string& form, const std::map<std::string, double>& parameters, double heads, double width,
               double seq_len);

// Stable JSON of docs/reference/fit-json.md, and back (for `design --fit ID`).
std::string ReportToJson(const FitReport& report);
absl::StatusOr<FitReport> ReportFromJson(std::string_view json);

// For people: per group a table of forms and baselines with errors, the parameters of the best form with intervals, and
// sentences that claim no more than the numbers show.
std::string ReportText(const FitReport& report);
// The one sentence for the end of `capsweep run`; it does not name the group.
std::string ReportSentence(const GroupFit& group);

}  // namespace capsweep::ecm
