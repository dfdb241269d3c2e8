#include "ecm/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace capsweep::ecm {
namespace {

constexpr double kExactRelativeError = 1e-9;

}  // namespace

double Quantile(std::vector<double> sample, double q) {
  if (sample.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(sample.begin(), sample.end());
  const double position = q * static_cast<double>(sample.size() - 1);
  const size_t low = static_cast<size_t>(position);
  const size_t high = std::min(low + 1, sample.size() - 1);
  return sample[low] + (position - static_cast<double>(low)) * (sample[high] - sample[low]);
}

double StudentT975(int degrees) {
  if (degrees <= 1) return 12.706;
  if (degrees == 2) return 4.303;
  const double z = 1.959964, v = degrees;
  const double z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
  return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

double FlooredRss(const std::vector<double>& capacity, const std::vector<double>& predicted,
                  const std::vector<double>& weight) {
  double rss = 0, floor = 0;
  for (size_t i = 0; i < capacity.size(); ++i) {
    const double residual = capacity[i] - predicted[i];
    const double exact = kExactRelativeError * capacity[i];
    rss += weight[i] * residual * residual;
    floor += weight[i] * exact * exact;
  }
  return std::max({rss, floor, std::numeric_limits<double>::min()});
}

double Aicc(double rss, int rows, int parameters) {
  const double n = rows, k = parameters + 1;
  if (n <= k + 1) return std::numeric_limits<double>::infinity();
  return n * std::log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1);
}

PlainErrors ComputeErrors(const std::vector<double>& capacity, const std::vector<double>& predicted) {
  PlainErrors errors;
  const double n = static_cast<double>(capacity.size());
  int positive = 0;
  for (size_t i = 0; i < capacity.size(); ++i) {
    const double error = predicted[i] - capacity[i];
    errors.rmse += error * error / n;
    errors.mae += std::abs(error) / n;
    errors.bias += error / n;
    if (capacity[i] > 0) {
      errors.mape += 100 * std::abs(error) / capacity[i];
      ++positive;
    }
  }
  errors.rmse = std::sqrt(errors.rmse);
  if (positive > 0) errors.mape /= positive;
  return errors;
}

void FillErrors(const std::vector<double>& capacity, const std::vector<double>& predicted,
                const std::vector<double>& weight, int parameters, FormFit& fit) {
  const PlainErrors errors = ComputeErrors(capacity, predicted);
  fit.rmse = errors.rmse;
  fit.mae = errors.mae;
  fit.mape = errors.mape;
  const double n = static_cast<double>(capacity.size());
  double mean = 0, tss = 0;
  for (double c : capacity) mean += c / n;
  for (double c : capacity) tss += (c - mean) * (c - mean);
  fit.r2 = tss > 0 ? 1 - errors.rmse * errors.rmse * n / tss : 0;

  const double rss = FlooredRss(capacity, predicted, weight);
  const int k = parameters + 1;
  fit.parameters_used = parameters;
  fit.aic = n * std::log(rss / n) + 2 * k;
  fit.aicc = Aicc(rss, static_cast<int>(n), parameters);
  fit.bic = n * std::log(rss / n) + k * std::log(n);
}

}  // namespace capsweep::ecm
