#include "ecm/bootstrap.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <optional>

#include "ecm/parallel.h"
#include "ecm/random.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr double kWorstCondition = 1e10;

std::vector<Row> Resample(const std::vector<Row>& rows, Random& random) {
  std::vector<Row> drawn;
  drawn.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    Row row = rows[random.Below(static_cast<int>(rows.size()))];
    if (row.values.size() > 1) {
      double sum = 0;
      const int n = static_cast<int>(row.values.size());
      for (int r = 0; r < n; ++r) sum += row.values[random.Below(n)];
      row.capacity = sum / n;
    }
    drawn.push_back(std::move(row));
  }
  return drawn;
}

// Standard errors of the free parameters, scaled; nullopt where the covariance cannot be trusted.
std::optional<std::vector<double>> StandardErrors(const FormSearch& search, const FitData& data) {
  const Form& form = *search.variant.form;
  const int n = data.rows(), k = search.variant.free_count();
  if (n <= k) return std::nullopt;
  std::vector<double> predicted(n), jacobian(static_cast<size_t>(n) * form.size());
  if (!Evaluate(search.variant, search.best.theta, data, predicted.data(), jacobian.data())) return std::nullopt;
  Eigen::MatrixXd j(n, k);
  int column = 0;
  for (int p = 0; p < form.size(); ++p) {
    if (!search.variant.free[p]) continue;
    for (int i = 0; i < n; ++i) {
      j(i, column) = std::sqrt(data.weight[i]) * jacobian[static_cast<size_t>(i) * form.size() + p];
    }
    ++column;
  }
  const Eigen::VectorXd norms = j.colwise().norm();
  if (norms.minCoeff() <= 0) return std::nullopt;
  const Eigen::MatrixXd unit = j * norms.cwiseInverse().asDiagonal();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(unit, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::VectorXd& singular = svd.singularValues();
  if (singular(k - 1) <= 0 || singular(0) / singular(k - 1) > std::sqrt(kWorstCondition)) return std::nullopt;
  const double variance = search.best.rss / (n - k);
  std::vector<double> errors(form.size(), 0);
  column = 0;
  for (int p = 0; p < form.size(); ++p) {
    if (!search.variant.free[p]) continue;
    const double inverse = svd.matrixV().row(column).cwiseQuotient(singular.transpose()).squaredNorm();
    errors[p] = std::sqrt(variance * inverse) / norms(column);
    ++column;
  }
  return errors;
}

// What the parameters of one branch are learnt from.
struct Branch {
  int rows = 0, parameters = 0;

  int degrees() const { return std::max(1, rows - parameters); }
  // Percentile level of each end of an expanded 95 % interval.
  double tail() const {
    const double inflate = std::sqrt(static_cast<double>(std::max(rows, 1)) / degrees());
    return 0.5 * std::erfc(inflate * StudentT975(degrees()) / std::sqrt(2.0));
  }
};

// The branch that grows with width, and αH + β.
std::pair<Branch, Branch> MeasureBranches(const FormSearch& search, const FitData& data) {
  const Variant& variant = search.variant;
  std::vector<double> predicted(data.rows());
  std::vector<bool> saturated;
  Evaluate(variant, search.best.theta, data, predicted.data(), nullptr, &saturated);
  Branch slope, bound;
  bound.rows = variant.linear ? static_cast<int>(std::count(saturated.begin(), saturated.end(), true)) : data.rows();
  slope.rows = data.rows() - bound.rows;
  bound.parameters = int{variant.free[variant.form->alpha()]} + int{variant.free[variant.form->beta()]};
  slope.parameters = variant.free_count() - bound.parameters;
  return {slope, bound};
}

}  // namespace

std::vector<Theta> BootstrapDraws(const FormSearch& search, const std::vector<Row>& rows,
                                  const BootstrapSettings& settings) {
  const Form& form = *search.variant.form;
  const double scale = MakeFitData(rows, settings.weighting).scale;
  std::vector<Theta> starts = {Unscale(form, search.best.theta, scale)};
  if (settings.restarts) {
    for (const Theta& other : search.others) starts.push_back(Unscale(form, other, scale));
  }
  std::vector<std::optional<Theta>> drawn(std::max(0, settings.draws));
  ParallelFor(static_cast<int>(drawn.size()), settings.threads, [&](int d) {
    Random random(settings.seed, 0xb007 + static_cast<uint64_t>(d));
    const std::vector<Row> sample = Resample(rows, random);
    const FitData data = MakeFitData(sample, settings.weighting);
    const Bounds bounds = ParameterBounds(form, data);
    std::optional<Solution> best;
    for (const Theta& start : starts) {
      const Solution solution =
          SolveFrom(search.variant, data, bounds, Unscale(form, start, 1 / data.scale), Effort::kQuick);
      if (std::isfinite(solution.rss) && (!best || solution.rss < best->rss)) best = solution;
    }
    if (best) drawn[d] = Unscale(form, best->theta, data.scale);
  });
  std::vector<Theta> draws;
  for (const std::optional<Theta>& theta : drawn) {
    if (theta) draws.push_back(*theta);
  }
  return draws;
}

ParameterIntervals MakeIntervals(const FormSearch& search, const FitData& data, const std::vector<Theta>& draws) {
  ParameterIntervals result;
  const Form& form = *search.variant.form;
  const std::optional<std::vector<double>> errors = StandardErrors(search, data);
  result.covariance_used = errors.has_value();
  const Bounds bounds = ParameterBounds(form, data);
  const Theta low_bound = Unscale(form, bounds.low, data.scale), high_bound = Unscale(form, bounds.high, data.scale);
  const Theta best = Unscale(form, search.best.theta, data.scale);
  const auto [slope, bound] = MeasureBranches(search, data);
  for (int p = 0; p < form.size(); ++p) {
    if (!search.variant.free[p]) continue;
    const Branch& branch = p < form.alpha() ? slope : bound;
    std::vector<double> sample;
    for (const Theta& theta : draws) sample.push_back(theta[p]);
    double low = best[p], high = best[p];
    if (!sample.empty()) {
      low = std::min(low, Quantile(sample, branch.tail()));
      high = std::max(high, Quantile(sample, 1 - branch.tail()));
    }
    if (errors) {
      Theta scaled_error{};
      scaled_error[p] = (*errors)[p];
      const double half = StudentT975(branch.degrees()) * Unscale(form, scaled_error, data.scale)[p];
      low = std::min(low, std::max(best[p] - half, low_bound[p]));
      high = std::max(high, std::min(best[p] + half, high_bound[p]));
    }
    result.intervals[form.parameters[p]] = {low, high};
  }
  return result;
}

}  // namespace capsweep::ecm
