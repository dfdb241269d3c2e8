#include "ecm/validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

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
constexpr int kFewestHeldOutStarts = 64;
constexpr int kFolds = 5;
constexpr int kFewestFoldRows = 10;

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

// Which held-out rows lie in their 95 % prediction interval.
std::vector<bool> InsideIntervals(const FormSearch& search, const Theta& best, const std::vector<Theta>& draws,
                                  const Split& split, uint64_t seed) {
  const double n = static_cast<double>(split.training.size());
  const double inflate = std::sqrt(n / std::max(1.0, n - search.variant.free_count()));
  std::vector<double> residuals;  // relative; the fit itself shrinks them
  for (const Row& row : split.training) {
    const double predicted = PredictVariant(search.variant, best, row);
    if (predicted > 0) residuals.push_back(inflate * (row.capacity / predicted - 1));
  }
  if (residuals.empty()) return std::vector<bool>(split.held_out.size(), false);
  Random random(seed, 0xc03e4);
  std::vector<bool> inside;
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
    inside.push_back(row.capacity >= Quantile(sample, 0.025) - slack &&
                     row.capacity <= Quantile(sample, 0.975) + slack);
  }
  return inside;
}

std::vector<double> Capacities(const std::vector<Row>& rows) {
  std::vector<double> capacity;
  for (const Row& row : rows) capacity.push_back(row.capacity);
  return capacity;
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

std::vector<Split> MakeFolds(const std::vector<Row>& rows, uint64_t seed) {
  const int n = static_cast<int>(rows.size());
  if (n < kFewestFoldRows) return {};
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  Random random(seed, 0xf01d5);
  for (int i = n - 1; i > 0; --i) std::swap(order[i], order[random.Below(i + 1)]);
  std::vector<int> fold_of(n);
  for (int i = 0; i < n; ++i) fold_of[order[i]] = i % kFolds;
  std::vector<Split> folds(kFolds);
  for (int f = 0; f < kFolds; ++f) {
    folds[f].name = absl::StrCat("fold ", f + 1);
    for (int i = 0; i < n; ++i) (fold_of[i] == f ? folds[f].held_out : folds[f].training).push_back(rows[i]);
  }
  return folds;
}

HeldOut HoldOutForm(const Form& form, const Split& split, const FitSettings& settings, const Theta& start) {
  const FitData data = MakeFitData(split.training, settings.weighting);
  SearchSettings search_settings{.starts = std::max(kFewestHeldOutStarts, settings.starts / 2),
                                 .seed = settings.seed,
                                 .threads = settings.threads};
  search_settings.hints = {Unscale(form, start, 1 / data.scale)};
  const FormSearch search = SearchForm(form, data, search_settings);
  HeldOut out;
  if (!search.found) {
    out.why_not = absl::StrCat("too few rows to fit without ", split.name);
    return out;
  }
  out.parameters_used = search.variant.free_count();
  const Theta best = Unscale(form, search.best.theta, data.scale);
  for (const Row& row : split.held_out) out.predicted.push_back(PredictVariant(search.variant, best, row));
  if (settings.bootstrap <= 0) return out;
  const BootstrapSettings bootstrap{.draws = settings.bootstrap,
                                    .seed = settings.seed,
                                    .threads = settings.threads,
                                    .weighting = settings.weighting,
                                    .restarts = false};
  const std::vector<Theta> draws = BootstrapDraws(search, split.training, bootstrap);
  if (!draws.empty()) out.inside = InsideIntervals(search, best, draws, split, settings.seed);
  return out;
}

HeldOut HoldOutBaseline(const std::string& name, const Split& split, const std::string& weighting) {
  const BaselineFit baseline = FitBaseline(name, split.training, RowWeights(split.training, weighting));
  HeldOut out;
  if (!baseline.skipped.empty()) {
    out.why_not = baseline.skipped;
    return out;
  }
  out.parameters_used = baseline.parameters_used;
  out.dropped_terms = baseline.dropped_terms;
  for (const Row& row : split.held_out) out.predicted.push_back(PredictBaseline(name, baseline.parameters, row));
  return out;
}

void ValidateForm(const Form& form, const Split& split, const FitSettings& settings, const Theta& start, FormFit& fit) {
  const HeldOut out = HoldOutForm(form, split, settings, start);
  if (!out.why_not.empty()) {
    fit.notes.push_back(out.why_not);
    return;
  }
  FillHeldOut(Capacities(split.held_out), out.predicted, fit);
  if (out.inside.empty()) return;
  fit.heldout_coverage = static_cast<double>(std::count(out.inside.begin(), out.inside.end(), true)) /
                         static_cast<double>(out.inside.size());
}

void ValidateBaseline(const std::string& name, const Split& split, const std::string& weighting, FormFit& fit) {
  const HeldOut out = HoldOutBaseline(name, split, weighting);
  if (!out.why_not.empty()) {
    fit.notes.push_back(absl::StrCat("not validated without ", split.name, ": ", out.why_not));
    return;
  }
  if (out.dropped_terms.size() > fit.dropped_terms.size()) {
    fit.notes.push_back(absl::StrCat("fitted without ", split.name, " it loses ",
                                     out.dropped_terms.size() - fit.dropped_terms.size(), " more terms"));
  }
  FillHeldOut(Capacities(split.held_out), out.predicted, fit);
}

}  // namespace capsweep::ecm
