// How likely each token is, as something that one random word can be looked up in.
#pragma once

#include <cstdint>
#include <vector>

#include "common/point.h"
#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {

// Probabilities of the tokens 0..vocab-1, which sum to 1: uniform; zipf P(k) ~ (k + 1)^-s; negbin
// P(k) ~ C(k + r - 1, k) p^r (1 - p)^k, both cut off at vocab and scaled up.
std::vector<double> TokenProbabilities(const PointSpec& point);

// One word, one token: the inverse of the distribution function, in steps of 2^-32. A token whose probability is below
// that may never come.
class TokenDistribution {
 public:
  explicit TokenDistribution(const PointSpec& point);

  int32_t operator()(uint32_t word) const {
    return ends_.empty() ? static_cast<int32_t>(UniformBelow(word, vocab_)) : Find(word);
  }

 private:
  int32_t Find(uint32_t word) const;

  uint32_t vocab_;
  std::vector<uint64_t> ends_;  // of skewed ones: token k holds the words from ends_[k - 1] to below ends_[k]
};

}  // namespace capsweep::trainer
