// A sweep of known capacities for the tests of figures and reports.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cli/figures/figures.h"

namespace capsweep {

struct SyntheticGrid {
  std::vector<int64_t> heads = {1, 2, 3, 4}, widths = {8, 12, 16, 24, 32, 48}, lengths = {4, 8};
  std::vector<std::string> frozen = {"true", "false"}, batches = {"100"};
  std::vector<int64_t> budgets = {3000};
  int seeds = 3;
  bool epochs = false;
};

// C = min(6 (H + 1) N^0.1 B, 240 H + 300), half as much with a frozen MLP, longer budgets gain `gain` for each
// doubling; the seeds lie 4 % below, on and above it.
inline double SyntheticCapacity(double heads, double width, double seq_len, bool frozen) {
  const double capacity = std::min(6 * (heads + 1) * std::pow(seq_len, 0.1) * width, 240 * heads + 300);
  return frozen ? capacity / 2 : capacity;
}

inline std::vector<ecm::Measurement> SyntheticMeasurements(const SyntheticGrid& grid, double gain = 0) {
  std::vector<ecm::Measurement> all;
  for (const std::string& frozen : grid.frozen) {
    for (const std::string& batch : grid.batches) {
      for (const int64_t heads : grid.heads) {
        for (const int64_t width : grid.widths) {
          for (const int64_t length : grid.lengths) {
            for (const int64_t budget : grid.budgets) {
              for (int seed = 1; seed <= grid.seeds; ++seed) {
                ecm::Measurement m;
                m.group = {{"mode", "label"}, {"vocab", "16"}, {"freeze_mlp", frozen}, {"batch_size", batch}};
                m.heads = heads;
                m.width = width;
                m.seq_len = length;
                m.head_dim = 8;
                m.vocab = 16;
                m.freeze_mlp = frozen == "true";
                m.dataset_size = 5000;
                m.targets = 2;  // guessing gets 20 items
                (grid.epochs ? m.budget_epochs : m.budget_steps) = budget;
                m.steps = budget;
                m.seed = static_cast<uint64_t>(seed);
                const double longer = std::log2(static_cast<double>(budget) / static_cast<double>(grid.budgets[0]));
                m.items_corr = SyntheticCapacity(static_cast<double>(heads), static_cast<double>(width),
                                                 static_cast<double>(length), m.freeze_mlp) *
                               (1 + gain * longer) * (1 + 0.04 * (seed - 2));
                m.items_mem = static_cast<int64_t>(m.items_corr) + 20;
                m.bits_mem = 8 * m.items_corr;
                m.params_total = 100 * width * heads;
                m.params_train = 50 * width * heads;
                all.push_back(m);
              }
            }
          }
        }
      }
    }
  }
  return all;
}

inline figures::FigureData SyntheticData(const SyntheticGrid& grid = {}, double gain = 0) {
  figures::FigureData data{.sweep = "known", .measurements = SyntheticMeasurements(grid, gain)};
  data.measure = "grid";
  data.topics = {cli::Topic::kCapacity};
  data.groups = ecm::BuildGroups(data.measurements);
  return data;
}

// A report with the true law in place of a fit: quick, and the same in every run.
inline ecm::FitReport SyntheticFit(const std::vector<ecm::Group>& groups) {
  ecm::FitReport report;
  for (const ecm::Group& group : groups) {
    ecm::GroupFit& fit = report.groups.emplace_back();
    const double scale = group.key.at("freeze_mlp") == "true" ? 0.5 : 1;
    fit.group = group.key;
    fit.best = fit.best_overall = "minlin";
    fit.saturation = "not observed";
    fit.saturation_reason = "a test says so";
    fit.weighting = "weighted";
    ecm::FormFit& form = fit.forms["minlin"];
    form.parameters = {{"k", 6 * scale}, {"h", 1}, {"z", 0.1}, {"alpha", 240 * scale}, {"beta", 300 * scale}};
    form.variant = "full";
    form.parameters_used = 5;
    form.rmse = 12.5;
    form.mape = 3.25;
    for (const ecm::Row& row : group.rows) {
      const double predicted = ecm::Predict("minlin", form.parameters, row.heads, row.width, row.seq_len);
      fit.points.push_back({.row = row, .predicted = predicted, .lower = predicted, .upper = predicted, .used = true});
    }
    fit.rows = fit.rows_used = static_cast<int>(fit.points.size());
  }
  return report;
}

}  // namespace capsweep
