#include "ecm/next_cells.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "ecm/baselines.h"
#include "ecm/fit_data.h"
#include "ecm/report.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr char kQuadratic[] = "log_quadratic";
constexpr char kSmooth[] = "softmin";
constexpr int kDegrees = 3;  // rows beyond the terms

Group TakeGroup(const std::vector<Measurement>& measurements) {
  std::vector<Measurement> one = measurements;
  for (Measurement& m : one) m.group = {{"mode", m.group["mode"]}};
  const std::vector<Group> groups = BuildGroups(one);
  return groups.empty() ? Group() : groups[0];
}

// A single repeat says nothing of its scatter: all rows get that of the pooled SD²/C, so that a count of one small run
// does not weigh as much as a mean of three.
void PoolSpread(std::vector<Row>& rows) {
  const double spread = PooledSpread(rows);
  for (Row& row : rows) row.sd = std::sqrt(spread * std::max(row.capacity, 1.0));
}

GroupFit FitRound(const std::vector<Measurement>& measurements, const std::string& form) {
  FitSettings settings;
  settings.forms.clear();
  if (form == kSmooth) settings.forms = {kSmooth};
  settings.holdout_field = "";
  settings.starts = 64;
  settings.bootstrap = 200;
  Group group = TakeGroup(measurements);
  if (form == kQuadratic) PoolSpread(group.rows);
  return FitGroups({group}, settings).groups.at(0);
}

std::string WhyUnfitted(const GroupFit& fit, const std::string& form) {
  if (form != kQuadratic) return fit.error;
  const FormFit& quadratic = fit.baselines.at(kQuadratic);
  if (!quadratic.skipped.empty()) return absl::StrCat(kQuadratic, " ", quadratic.skipped);
  if (fit.rows_used >= quadratic.parameters_used + kDegrees) return "";
  return absl::StrCat(kQuadratic, " needs ", quadratic.parameters_used + kDegrees, " cells for its ",
                      quadratic.parameters_used, " terms, and ", fit.rows_used, " of ", fit.rows, " can be used");
}

double PredictWith(const GroupFit& fit, const std::string& form, double heads, double width, double seq_len) {
  const auto& parameters = form == kQuadratic ? fit.baselines.at(form).parameters : fit.forms.at(form).parameters;
  return Predict(form, parameters, heads, width, seq_len);
}

// The model with the fewest parameters that reaches the items.
bool FindSmallest(const GroupFit& fit, const NextRequest& request, NextCells& next) {
  std::optional<int64_t> fewest;
  for (int64_t heads = 1; heads <= request.max_heads; ++heads) {
    for (int64_t width = 1; width <= request.max_width; ++width) {
      const double capacity =
          PredictWith(fit, request.form, static_cast<double>(heads), static_cast<double>(width), request.seq_len);
      if (!(capacity >= request.items)) continue;
      const int64_t params = request.params(heads, width);
      if (params < 0) continue;
      if (!fewest.has_value() || params < *fewest) {
        fewest = params;
        next.heads = static_cast<double>(heads);
        next.width = static_cast<double>(width);
      }
      break;  // a wider one has more parameters
    }
  }
  return fewest.has_value();
}

// From the bootstrap draws of a form.
bool DrawInterval(const GroupFit& fit, NextCells& next) {
  std::vector<double> sample;
  for (const auto& draw : fit.draws) {
    const double value = Predict(kSmooth, draw, next.heads, next.width, next.seq_len);
    if (std::isfinite(value)) sample.push_back(value);
  }
  if (sample.size() < 2) return false;
  next.low = Quantile(sample, 0.025);
  next.high = Quantile(sample, 0.975);
  return true;
}

}  // namespace

absl::StatusOr<NextCells> ChooseNextCells(const std::vector<Measurement>& measurements,
                                          std::vector<SuggestCell> candidates, const NextRequest& request) {
  NextCells next{.heads = request.heads, .width = request.width, .seq_len = request.seq_len};
  if (measurements.empty()) {
    next.unfitted = "nothing is measured yet";
    return next;
  }
  const GroupFit fit = FitRound(measurements, request.form);
  next.unfitted = WhyUnfitted(fit, request.form);
  if (!next.unfitted.empty()) return next;
  if (request.items > 0 && !FindSmallest(fit, request, next)) {
    next.unfitted = absl::StrCat("no model up to twice the grid's size reaches ", request.items, " items by the fit");
    return next;
  }
  std::vector<Row> rows;
  for (const PredictedRow& point : fit.points) {
    if (point.used) rows.push_back(point.row);
  }
  for (SuggestCell& cell : candidates) {
    if (cell.heads == next.heads && cell.width == next.width && cell.seq_len == next.seq_len) cell.most_repeats = 0;
  }
  const auto plan = Suggest(fit, rows, candidates,
                            {.heads = next.heads,
                             .width = next.width,
                             .seq_len = next.seq_len,
                             .seconds = request.seconds,
                             .points = request.points,
                             .form = request.form == kQuadratic ? kQuadratic : ""});
  if (!plan.ok()) return plan.status();
  next.predicted = plan->predicted;
  bool known = std::isfinite(next.predicted) && next.predicted > 0;
  if (known && request.form == kQuadratic) {
    const double half = plan->interval_before / 2 / next.predicted;
    next.low = next.predicted * std::exp(-half);
    next.high = next.predicted * std::exp(half);
    known = std::isfinite(next.high);
  } else if (known) {
    known = DrawInterval(fit, next);
  }
  if (!known) {
    next.unfitted = "the fit gives no prediction with an interval yet";
    return next;
  }
  for (const Suggestion& step : plan->order) next.order.push_back(step.cell);
  return next;
}

}  // namespace capsweep::ecm
