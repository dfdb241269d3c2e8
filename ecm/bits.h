// Bits memorized per parameter (Morris and others, 2025, "How much do language models memorize?").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace capsweep::ecm {

// Bits in a library of uniform tokens: items * targets * log2(vocab).
double LibraryBits(double items, double targets, double vocab);

// The headline of Morris and others: bits that a GPT-2 of half precision and long training holds per parameter.
inline constexpr double kMorrisBitsPerParameter = 3.6;

// What they print for a size of their Table 1 (fp32), where they printed it; vocab 2048, 64 tokens.
struct MorrisSize {
  int64_t layers, width;
  double parameters;  // as printed, three digits
  double bits;        // memorized, fp32
  double alpha_fp32, alpha_bf16;
};
const std::vector<MorrisSize>& MorrisTable1();
std::optional<MorrisSize> FindMorrisSize(int64_t layers, int64_t width, int64_t vocab, int64_t seq_len);

// The mean over seeds at one library size.
struct BitsCell {
  double dataset_size = 0;
  double bits_mem = 0, bits_sd = 0;
  int repeats = 0;
  int ended_by_budget = 0;  // of the repeats
  double library_bits = 0;
};

// Of one architecture, over library sizes.
struct BitsCapacity {
  double params_total = 0, params_train = 0;
  std::vector<BitsCell> cells;  // ascending by dataset_size

  // The largest mean, and where.
  const BitsCell& Best() const;
  double alpha_total() const { return Best().bits_mem / params_total; }
  double alpha_train() const { return Best().bits_mem / params_train; }
  // H(X) / (3.6 P) at the largest library: below about 1 the library was too small to fill such a model.
  double saturation_ratio() const;
  // The largest library gave at most 2 % more bits than a smaller one.
  bool settled() const;
};

// One sentence on what may be said of it: a capacity, or a lower bound and why.
std::string BitsVerdict(const BitsCapacity& capacity);

}  // namespace capsweep::ecm
