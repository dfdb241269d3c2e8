// Counting what a model knows, from its logits. Back ends that bring logits to the host all count with this.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace capsweep::trainer {

// The measures of docs/science.md over the items added so far. An item is memorized when every one of its targets is
// the arg max of its logits, the lowest index winning a tie.
struct Tally {
  int64_t items = 0;
  int64_t items_mem = 0;
  int64_t tokens_mem = 0;
  double nll_nats = 0;
  bool finite = true;  // false once a logit was NaN or infinite

  // logits: [items, targets_per_item, vocab], targets: [items, targets_per_item], both row-major. Sums run in double in
  // the order of the items, so that the same logits give the same bits however they are cut into calls.
  void Add(std::span<const float> logits, std::span<const int32_t> targets, int64_t targets_per_item, int64_t vocab);

  // The same from what a back end has counted already: of every target its negative log likelihood in nats and whether
  // it is the arg max, [items, targets_per_item].
  void AddCounted(std::span<const float> nll, std::span<const uint8_t> right, int64_t targets_per_item);

  double nll_bits() const;
};

// The loss over the held-out items added so far.
struct HeldoutTally {
  int64_t items = 0;
  double loss_sum = 0;  // over targets

  void Add(int64_t added, double loss);
  double Mean(int64_t targets_per_item) const;  // kNotMeasured without items; infinite once a loss was no number
};

// Of how many of a library's items, the first ones, distances are measured: all, or 20,000 of more than 50,000, for the
// work grows with the square.
int64_t NeighbourItems(int64_t items);

// {mean, median}; of an even number the median is the mean of the middle two. Not of nothing.
std::vector<double> MeanAndMedian(std::vector<double> values);

// Information of a library that the model holds: items * targets * log2(vocab) - nll_bits.
double BitsMemorized(int64_t items, int64_t targets, int64_t vocab, double nll_bits);

// Memorized items corrected for guessing: (items_mem - D q) / (1 - q) with q = vocab^-targets, not below 0.
double ItemsCorrected(int64_t items_mem, int64_t items, int64_t targets, int64_t vocab);

}  // namespace capsweep::trainer
