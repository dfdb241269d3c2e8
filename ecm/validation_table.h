// The whole validation of a group: every form and baseline, in-sample and held out in four ways, under both losses.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ecm/capacity.h"

namespace capsweep::ecm {

struct FitSettings;

// The word of ValidationSplit::name for errors on the fitted rows themselves, and for the five folds.
inline constexpr char kInSample[] = "in-sample";
inline constexpr char kFiveFold[] = "5-fold";

// Of one model on the rows of one split; in items, mape in percent, bias = mean of predicted − measured.
struct ValidationErrors {
  double rmse = 0, mape = 0, bias = 0;
  std::optional<double> coverage;  // of the 95 % prediction interval; forms with a bootstrap only
  int parameters_used = 0;         // the most of all fits behind this entry
  std::string skipped;             // not "": could not be fitted, and why; no figure is set then
};

struct ValidationSplit {
  std::string name;       // in-sample | heads=5 | width=64 | seq_len=32 | 5-fold
  std::string weighting;  // weighted | plain: of the fits; the errors are plain always
  int rows = 0;           // that are predicted
  std::string why_not;    // not "": the rows do not allow this split; `models` is empty
  std::map<std::string, ValidationErrors> models;
  // Baselines with at least as many parameters as the ECM whose RMSE is below its, best first.
  std::vector<std::string> beat_ecm;
  // The RMSE of the ECM is below that of every such baseline, and there is one. Never set in-sample.
  bool ecm_wins = false;
};

struct Validation {
  std::string ecm;  // the form that the verdicts are about: `min`, or else the first ECM form that was asked for
  std::vector<ValidationSplit> splits;  // weighted, then plain; each in the order of ValidationSplit::name
  std::string verdict;                  // one sentence
};

// `rows`: those that a fit may use. Held out are the largest heads, the largest width, the largest seq_len, and each of
// five random folds of the cells; all models see the same rows. Fits of forms use max(64, settings.starts / 2) starts
// and, as a further start, the optimum of all rows. settings.bootstrap draws per fit give the coverage; 0 = none.
// Deterministic for given settings, whatever the number of threads.
Validation Validate(const std::vector<Row>& rows, const FitSettings& settings);

// One table per split, both losses side by side, and the verdict.
std::string ValidationText(const Validation& validation);

}  // namespace capsweep::ecm
