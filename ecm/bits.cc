#include "ecm/bits.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace capsweep::ecm {

double LibraryBits(double items, double targets, double vocab) {
  return items * targets * std::log2(vocab);
}

const std::vector<MorrisSize>& MorrisTable1() {
  static const auto* const kTable = new std::vector<MorrisSize>{
      {1, 32, 8.04e4, 3.39e5, 4.23, 3.93},  {1, 64, 1.85e5, 7.27e5, 3.92, 3.74},  {1, 128, 4.69e5, 1.71e6, 3.65, 3.61},
      {1, 256, 1.33e6, 4.15e6, 3.12, 2.88}, {2, 32, 9.31e4, 3.87e5, 4.16, 3.56},  {2, 64, 2.35e5, 9.60e5, 4.08, 3.94},
      {2, 128, 6.67e5, 2.66e6, 3.99, 3.89}, {2, 256, 2.12e6, 8.49e6, 4.01, 3.66}, {4, 32, 1.18e5, 4.65e5, 3.92, 3.37},
      {4, 64, 3.35e5, 1.34e6, 3.98, 3.39},  {4, 128, 1.06e6, 4.02e6, 3.78, 3.53}, {4, 256, 3.70e6, 1.36e7, 3.68, 3.51},
      {8, 32, 1.69e5, 5.12e5, 3.02, 2.86},  {8, 64, 5.35e5, 2.05e6, 3.83, 3.19},  {8, 128, 1.86e6, 7.23e6, 3.89, 3.49},
      {8, 256, 6.86e6, 2.71e7, 3.96, 3.65}};
  return *kTable;
}

std::optional<MorrisSize> FindMorrisSize(int64_t layers, int64_t width, int64_t vocab, int64_t seq_len) {
  if (vocab != 2048 || seq_len != 64) return std::nullopt;
  for (const MorrisSize& size : MorrisTable1()) {
    if (size.layers == layers && size.width == width) return size;
  }
  return std::nullopt;
}

const BitsCell& BitsCapacity::Best() const {
  return *std::max_element(cells.begin(), cells.end(),
                           [](const BitsCell& a, const BitsCell& b) { return a.bits_mem < b.bits_mem; });
}

double BitsCapacity::saturation_ratio() const {
  return cells.back().library_bits / (kMorrisBitsPerParameter * params_total);
}

bool BitsCapacity::settled() const {
  if (cells.size() < 2) return false;
  double others = 0;
  for (size_t i = 0; i + 1 < cells.size(); ++i) others = std::max(others, cells[i].bits_mem);
  return cells.back().bits_mem < 1.02 * others;
}

std::string BitsVerdict(const BitsCapacity& c) {
  const BitsCell& best = c.Best();
  if (best.bits_mem > 0.98 * best.library_bits) {
    return absl::StrFormat("lower bound: the largest library (%.3g bits) was memorized whole", best.library_bits);
  }
  std::string text =
      c.settled() ? "a larger library gave no more bits" : "lower bound: larger libraries were not tried";
  if (!c.settled() && c.cells.size() > 1) text = "lower bound: bits still rose with the library";
  if (best.ended_by_budget > 0) {
    absl::StrAppend(&text, "; budget-limited lower bound: ", best.ended_by_budget, " of ", best.repeats,
                    " runs ended with their step budget");
  }
  return text;
}

}  // namespace capsweep::ecm
