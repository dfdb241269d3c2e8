#include "ecm/validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "ecm/baselines.h"
#include "ecm/bootstrap.h"
#include "ecm/fit.h"
#include "ecm/random.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr int kFewestTrainingRows = 8;
constexpr int kSamplesPerDraw = 5;

double Field(const Row& row, const std::string& field) {
  return field == "heads" ? row.heads : field == "width" ? row.width : row.seq_len;
}

// A variant's prediction from parameters in items.
double PredictVariant(const Variant& variant, Theta theta, const Row& row) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (!variant.saturated) theta[variant.form->beta()] = nan;
  if (!variant.linear) theta[0] = nan;
  return EvaluateAt(*variant.form, theta, row.heads, row.width, row.seq_len);
}

void FillHeldOut(const std::vector<double>& capacity, const std::vector<double>& predicted, FormFit& fit) {
  const PlainErrors errors = ComputeErrors(capacity, predicted);
  if (!std::isfinite(errors.rmse)) {
    fit.notes.push_back("the held-out prediction is not finite");
    return;
  }
  fit.heldout_rmse = errors.rmse;
  fit.heldout_mape = errors.mape;
  fit.heldout_bias = errors.bias;
}

double Coverage(const FormSearch& search, const Theta& best, const std::vector<Theta>& draws, const Split& split,
                uint64_t seed) {
  const double n = static_cast<double>(split.training.size());
  const double inflate = std::sqrt(n / std::max(1.0, n - search.variant.free_count()));
  std::vector<double> residuals;  // relative; the fit itself shrinks them
  for (const Row& row : split.training) {
    const double predicted = PredictVariant(search.variant, best, row);
    if (predicted > 0) residuals.push_back(inflate * (row.capacity / predicted - 1));
  }
  if (residuals.empty()) return 0;
  Random random(seed, 0xc03e4);
  int inside = 0;
  for (const Row& row : split.held_out) {
    std::vector<double> sample;
    for (const Theta& theta : draws) {
      const double predicted = PredictVariant(search.variant, theta, row);
      for (int s = 0; s < kSamplesPerDraw; ++s) {
        sample.push_back(predicted * (1 + residuals[random.Below(static_cast<int>(residuals.size()))]));
      }
    }
    // An exact fit has intervals of no width; rounding must not count as a miss.
    const double slack = 1e-6 * row.capacity;
    if (row.capacity >= Quantile(sample, 0.025) - slack && row.capacity <= Quantile(sample, 0.975) + slack) ++inside;
  }
  return static_cast<double>(inside) / static_cast<double>(split.held_out.size());
}

}  // namespace

Split SplitRows(const std::vector<Row>& rows, const std::string& field, double value) {
  Split split;
  if (field != "heads" && field != "width" && field != "seq_len") {
    split.why_not = absl::StrCat("'", field, "' cannot be held out; choose heads, width or seq_len");
    return split;
  }
  std::set<double> levels;
  for (const Row& row : rows) levels.insert(Field(row, field));
  if (value <= 0 && !levels.empty()) value = *levels.rbegin();
  split.name = absl::StrCat(field, "=", value);
  for (const Row& row : rows) (Field(row, field) == value ? split.held_out : split.training).push_back(row);
  if (split.held_out.empty()) {
    split.why_not = absl::StrCat("no usable row has ", split.name);
  } else if (levels.size() < 3) {
    split.why_not = absl::StrCat("without ", split.name, " only ", levels.size() - 1, " value",
                                 levels.size() == 2 ? "" : "s", " of ", field, " would remain, 2 are needed");
  } else if (static_cast<int>(split.training.size()) < kFewestTrainingRows) {
    split.why_not = absl::StrCat("without ", split.name, " only ", split.training.size(), " rows would remain, ",
                                 kFewestTrainingRows, " are needed");
  }
  return split;
}

void ValidateForm(const Form& form, const Split& split, const FitSettings& settings, const Theta& start, FormFit& fit) {
  const FitData data = MakeFitData(split.training, settings.weighting);
  SearchSettings search_settings{.starts = settings.starts / 2, .seed = settings.seed, .threads = settings.threads};
  search_settings.hints = {Unscale(form, start, 1 / data.scale)};
  const FormSearch search = SearchForm(form, data, search_settings);
  if (!search.found) {
    fit.notes.push_back(absl::StrCat("too few rows to fit without ", split.name));
    return;
  }
  const Theta best = Unscale(form, search.best.theta, data.scale);
  std::vector<double> capacity, predicted;
  for (const Row& row : split.held_out) {
    capacity.push_back(row.capacity);
    predicted.push_back(PredictVariant(search.variant, best, row));
  }
  FillHeldOut(capacity, predicted, fit);
  if (settings.bootstrap <= 0) return;
  const BootstrapSettings bootstrap{.draws = settings.bootstrap,
                                    .seed = settings.seed,
                                    .threads = settings.threads,
                                    .weighting = settings.weighting,
                                    .restarts = false};
  const std::vector<Theta> draws = BootstrapDraws(search, split.training, bootstrap);
  if (!draws.empty()) fit.heldout_coverage = Coverage(search, best, draws, split, settings.seed);
}

void ValidateBaseline(const std::string& name, const Split& split, const std::string& weighting, FormFit& fit) {
  std::vector<double> weights, training_capacity;
  for (const Row& row : split.training) training_capacity.push_back(row.capacity);
  const double median = Quantile(training_capacity, 0.5);
  for (const Row& row : split.training) weights.push_back(RowWeight(row, weighting, median));
  const BaselineFit baseline = FitBaseline(name, split.training, weights);
  if (!baseline.skipped.empty()) {
    fit.notes.push_back(absl::StrCat("not validated without ", split.name, ": ", baseline.skipped));
    return;
  }
  if (baseline.dropped_terms.size() > fit.dropped_terms.size()) {
    fit.notes.push_back(absl::StrCat("fitted without ", split.name, " it loses ",
                                     baseline.dropped_terms.size() - fit.dropped_terms.size(), " more terms"));
  }
  std::vector<double> capacity, predicted;
  for (const Row& row : split.held_out) {
    capacity.push_back(row.capacity);
    predicted.push_back(PredictBaseline(name, baseline.parameters, row));
  }
  FillHeldOut(capacity, predicted, fit);
}

}  // namespace capsweep::ecm
