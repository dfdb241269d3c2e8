#include "worker/trainer/evaluation.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "common/result.h"

namespace capsweep::trainer {
namespace {

struct Row {
  int64_t best = 0;        // arg max, lowest index on ties
  double log_sum_exp = 0;  // natural logarithm, NaN or infinite if a logit is
};

Row Summarize(const float* logits, int64_t vocab) {
  Row row;
  for (int64_t v = 1; v < vocab; ++v) {
    row.best = logits[v] > logits[row.best] ? v : row.best;
  }
  const double top = logits[row.best];
  double sum = 0;
  for (int64_t v = 0; v < vocab; ++v) {
    sum += std::exp(static_cast<double>(logits[v]) - top);
  }
  row.log_sum_exp = top + std::log(sum);
  return row;
}

}  // namespace

void Tally::Add(std::span<const float> logits, std::span<const int32_t> targets, int64_t targets_per_item,
                int64_t vocab) {
  const int64_t rows = static_cast<int64_t>(targets.size());
  const int64_t added = rows / targets_per_item;
  for (int64_t item = 0; item < added; ++item) {
    int64_t right = 0;
    for (int64_t t = 0; t < targets_per_item; ++t) {
      const int64_t position = item * targets_per_item + t;
      const float* row_logits = logits.data() + position * vocab;
      const int64_t target = targets[static_cast<size_t>(position)];
      const Row row = Summarize(row_logits, vocab);
      const double nll = row.log_sum_exp - static_cast<double>(row_logits[target]);
      finite = finite && std::isfinite(nll);
      nll_nats += nll;
      right += row.best == target ? 1 : 0;
    }
    tokens_mem += right;
    items_mem += right == targets_per_item ? 1 : 0;
  }
  items += added;
}

void Tally::AddCounted(std::span<const float> nll, std::span<const uint8_t> right, int64_t targets_per_item) {
  const auto targets = static_cast<size_t>(targets_per_item);
  for (size_t first = 0; first < nll.size(); first += targets) {
    int64_t count = 0;
    for (size_t at = first; at < first + targets; ++at) {
      finite = finite && std::isfinite(nll[at]);
      // Rounding may leave a certain target just below zero.
      nll_nats += std::max(0.0, static_cast<double>(nll[at]));
      count += right[at];
    }
    tokens_mem += count;
    items_mem += count == targets_per_item ? 1 : 0;
    ++items;
  }
}

double Tally::nll_bits() const {
  return nll_nats / std::numbers::ln2;
}

void HeldoutTally::Add(int64_t added, double loss) {
  items += added;
  loss_sum += std::isnan(loss) ? HUGE_VAL : loss;
}

double HeldoutTally::Mean(int64_t targets_per_item) const {
  return items == 0 ? kNotMeasured : loss_sum / static_cast<double>(items * targets_per_item);
}

int64_t NeighbourItems(int64_t items) {
  constexpr int64_t kAll = 50'000, kSample = 20'000;
  return items <= kAll ? items : kSample;
}

std::vector<double> MeanAndMedian(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t count = values.size();
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {sum / static_cast<double>(count), (values[(count - 1) / 2] + values[count / 2]) / 2};
}

double BitsMemorized(int64_t items, int64_t targets, int64_t vocab, double nll_bits) {
  return static_cast<double>(items) * static_cast<double>(targets) * std::log2(static_cast<double>(vocab)) - nll_bits;
}

double ItemsCorrected(int64_t items_mem, int64_t items, int64_t targets, int64_t vocab) {
  const double guess = std::pow(static_cast<double>(vocab), -static_cast<double>(targets));
  const double corrected = (static_cast<double>(items_mem) - static_cast<double>(items) * guess) / (1.0 - guess);
  return std::max(0.0, corrected);
}

}  // namespace capsweep::trainer
