// The rows of a fit as arrays, scaled and weighted once, so that the solver's inner loop touches nothing else.
#pragma once

#include <string>
#include <vector>

#include "ecm/capacity.h"

namespace capsweep::ecm {

// All rows of one (heads, seq_len) share the slope f and the bound αH + β.
struct Series {
  double heads = 0;
  double log_n = 0;
  std::vector<int> rows;  // by width, ascending
};

struct FitData {
  double scale = 1;              // capacities below are divided by it (the median capacity)
  std::vector<double> width;     // [n]
  std::vector<double> capacity;  // [n], scaled
  std::vector<double> weight;    // [n], of the squared scaled residual
  std::vector<int> series_of;    // [n]
  std::vector<Series> series;
  int heads_levels = 0, width_levels = 0, seq_len_levels = 0;
  double max_capacity = 0;   // scaled
  double max_per_width = 0;  // max C/B, scaled
  double min_heads = 0;

  int rows() const { return static_cast<int>(width.size()); }
};

// `weighting`: "weighted" w = 1/(SD²/repeats + (0.05·C)²), an unknown SD counts as 0; "plain" w = 1. A capacity below
// 2 % of the median is weighted like that one, so that a row near zero cannot rule the fit.
FitData MakeFitData(const std::vector<Row>& rows, const std::string& weighting);

// Weight of one row under the rule above, in units of 1/items².
double RowWeight(const Row& row, const std::string& weighting, double median_capacity);
// Of all rows, with the median of their own capacities.
std::vector<double> RowWeights(const std::vector<Row>& rows, const std::string& weighting);

// Pooled SD²/C of the rows that have a spread, in items; 1 without any, since counts scatter about as their root.
double PooledSpread(const std::vector<Row>& rows);

}  // namespace capsweep::ecm
