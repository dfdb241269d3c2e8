#include "worker/trainer/data/distribution.h"

#include <algorithm>
#include <cmath>

namespace capsweep::trainer {
namespace {

// Natural logarithms of the probabilities up to a common summand: factors of size 1e6 to the power 1e6 stay finite.
std::vector<double> LogWeights(const PointSpec& point) {
  std::vector<double> logs(static_cast<size_t>(point.vocab));
  for (size_t k = 1; k < logs.size(); ++k) {
    const auto n = static_cast<double>(k);
    if (point.tokens == Tokens::kZipf) {
      logs[k] = -point.zipf_s * std::log(n + 1);
    } else if (point.tokens == Tokens::kNegbin) {
      logs[k] = logs[k - 1] + std::log((n - 1 + point.negbin_r) / n) + std::log1p(-point.negbin_p);
    }
  }
  return logs;
}

}  // namespace

std::vector<double> TokenProbabilities(const PointSpec& point) {
  std::vector<double> weights = LogWeights(point);
  const double top = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(weight - top);
    sum += weight;
  }
  for (double& weight : weights) {
    weight /= sum;
  }
  return weights;
}

TokenDistribution::TokenDistribution(const PointSpec& point) : vocab_(static_cast<uint32_t>(point.vocab)) {
  if (point.tokens != Tokens::kZipf && point.tokens != Tokens::kNegbin) {
    return;
  }
  constexpr double kWords = 4294967296.0;  // 2^32
  double below = 0;
  for (const double probability : TokenProbabilities(point)) {
    below += probability;
    ends_.push_back(static_cast<uint64_t>(std::min(below, 1.0) * kWords));
  }
  ends_.back() = uint64_t{1} << 32;
}

int32_t TokenDistribution::Find(uint32_t word) const {
  return static_cast<int32_t>(std::upper_bound(ends_.begin(), ends_.end(), uint64_t{word}) - ends_.begin());
}

}  // namespace capsweep::trainer
