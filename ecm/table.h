// From single measurements to cells; shared by BuildGroups and the CSV reader.
#pragma once

#include <array>
#include <vector>

#include "ecm/capacity.h"

namespace capsweep::ecm {

// items_mem / D from which a library counts as full.
inline constexpr double kFullShare = 0.95;

// One measurement, or the mean of several that the caller has averaged already.
struct Sample {
  double heads = 0, width = 0, seq_len = 0;
  double capacity = 0;
  double sd = -1;  // over `repeats`; < 0 = unknown
  int repeats = 1;
  double dataset_size = 0;
  double budget = 0;  // what makes two budgets different: steps or epochs, as asked; 0 = unknown
  double steps = 0;   // reported as Row::budget_steps
  bool full = false;  // nearly the whole library was memorized
  bool at_chance = false;
  double chance = 0;
  double params_total = 0, params_train = 0, bits_per_item = 0;
  std::array<double, 4> params_parts{};
};

// Averages the samples of one (heads, width, seq_len, budget, dataset_size), then keeps the dataset_size with the
// largest mean (MAC = max over D). Sorted by (heads, seq_len, width, budget).
std::vector<Row> MakeRows(const std::vector<Sample>& samples);

}  // namespace capsweep::ecm
