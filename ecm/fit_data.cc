#include "ecm/fit_data.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr double kRelativeError = 0.05;  // of a capacity, beside its measured spread
constexpr double kSmallestShare = 0.02;  // of the median: no row is weighted as if it were smaller

}  // namespace

double RowWeight(const Row& row, const std::string& weighting, double median_capacity) {
  if (weighting == "plain") return 1;
  const double floor = std::max(kSmallestShare * median_capacity, 1e-300);
  const double relative = kRelativeError * std::max(row.capacity, floor);
  const double spread = row.sd > 0 ? row.sd * row.sd / std::max(1, row.repeats) : 0;
  return 1 / (spread + relative * relative);
}

std::vector<double> RowWeights(const std::vector<Row>& rows, const std::string& weighting) {
  std::vector<double> capacities, weights;
  for (const Row& row : rows) capacities.push_back(row.capacity);
  const double median = Quantile(capacities, 0.5);
  for (const Row& row : rows) weights.push_back(RowWeight(row, weighting, median));
  return weights;
}

FitData MakeFitData(const std::vector<Row>& rows, const std::string& weighting) {
  FitData data;
  std::vector<double> capacities;
  for (const Row& row : rows) capacities.push_back(row.capacity);
  const double median = Quantile(capacities, 0.5);
  data.scale = median > 0 ? median : 1;

  std::map<std::pair<double, double>, int> series_of;
  std::set<double> heads, widths, lengths;
  for (const Row& row : rows) {
    const auto [it, is_new] = series_of.emplace(std::pair(row.heads, row.seq_len), data.series.size());
    if (is_new) data.series.push_back({.heads = row.heads, .log_n = std::log(row.seq_len), .rows = {}});
    data.series[it->second].rows.push_back(data.rows());
    data.series_of.push_back(it->second);
    data.width.push_back(row.width);
    data.capacity.push_back(row.capacity / data.scale);
    data.weight.push_back(RowWeight(row, weighting, median) * data.scale * data.scale);
    data.max_capacity = std::max(data.max_capacity, data.capacity.back());
    data.max_per_width = std::max(data.max_per_width, data.capacity.back() / row.width);
    heads.insert(row.heads);
    widths.insert(row.width);
    lengths.insert(row.seq_len);
  }
  for (Series& series : data.series) {
    std::stable_sort(series.rows.begin(), series.rows.end(),
                     [&](int x, int y) { return data.width[x] < data.width[y]; });
  }
  data.heads_levels = static_cast<int>(heads.size());
  data.width_levels = static_cast<int>(widths.size());
  data.seq_len_levels = static_cast<int>(lengths.size());
  data.min_heads = heads.empty() ? 1 : *heads.begin();
  return data;
}

double PooledSpread(const std::vector<Row>& rows) {
  double sum = 0;
  int count = 0;
  for (const Row& row : rows) {
    if (row.sd < 0 || row.repeats < 2 || row.capacity <= 0) continue;
    sum += row.sd * row.sd / row.capacity;
    ++count;
  }
  return count > 0 && sum > 0 ? sum / count : 1;
}

}  // namespace capsweep::ecm
