#include "ecm/associative.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace capsweep::ecm {
namespace {

double Dot(const Pattern& a, const Pattern& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

double LogSumExp(const std::vector<double>& values) {
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (double v : values) sum += std::exp(v - largest);
  return largest + std::log(sum);
}

}  // namespace

double SquaredDistance(const Pattern& a, const Pattern& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

double NearestSquaredDistance(const Pattern& x, const std::vector<Pattern>& patterns) {
  double least = std::numeric_limits<double>::infinity();
  for (const Pattern& rho : patterns) least = std::min(least, SquaredDistance(x, rho));
  return least;
}

double DistanceEnergy(const Pattern& x, const std::vector<Pattern>& patterns) {
  std::vector<double> exponents;
  for (const Pattern& rho : patterns) exponents.push_back(-SquaredDistance(x, rho));
  return -LogSumExp(exponents);
}

double HopfieldEnergy(const Pattern& x, const std::vector<Pattern>& patterns, double beta) {
  std::vector<double> exponents;
  double largest = 0;
  for (const Pattern& rho : patterns) {
    exponents.push_back(beta * Dot(rho, x));
    largest = std::max(largest, Dot(rho, rho));
  }
  const auto d = static_cast<double>(patterns.size());
  return -LogSumExp(exponents) / beta + Dot(x, x) / 2 + std::log(d) / beta + largest / 2;
}

double GlobalEnergy(const std::vector<double>& layers) {
  std::vector<double> negative;
  for (double e : layers) negative.push_back(-e);
  return -LogSumExp(negative);
}

double BalancedLoss(double z) {
  return std::log(z) + 1 / z;
}

double TheoryRadius(double dimensions) {
  return std::sqrt(dimensions / (2 * std::numbers::pi * std::numbers::e));
}

double BalanceGap(const std::vector<LossPair>& curve, int window) {
  if (curve.empty()) return std::numeric_limits<double>::infinity();
  const auto least = std::min_element(curve.begin(), curve.end(),
                                      [](const LossPair& a, const LossPair& b) { return a.heldout < b.heldout; });
  const auto first = least + 1 == curve.end() ? least : least + 1;
  const auto last = first + std::min<std::ptrdiff_t>(std::max(window, 1), curve.end() - first);
  double sum = 0;
  for (auto at = first; at != last; ++at) sum += (at->train - least->heldout) * (at->train - least->heldout);
  return sum / static_cast<double>(last - first);
}

CriticalSize FindCriticalSize(const std::map<double, double>& gap_by_tokens, double sigma2) {
  CriticalSize found;
  for (const auto& [tokens, gap] : gap_by_tokens) {
    if (gap < sigma2 && found.tokens == 0) {
      found.tokens = tokens;
      found.below_smallest = tokens == gap_by_tokens.begin()->first;
    } else if (gap >= sigma2 && found.tokens > 0) {
      found.returns = true;
    }
  }
  return found;
}

}  // namespace capsweep::ecm
