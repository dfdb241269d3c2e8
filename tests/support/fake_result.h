// What the fake trainer measures: a pure function of the point that passes ValidateResult.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "common/build_info.h"
#include "common/param_count.h"
#include "common/point.h"
#include "common/result.h"

namespace capsweep {

// Memorizes as many items as it has heads·width·(log2 seq_len + 1) of capacity, give or take the seed: enough structure
// for a fit to have something to find.
inline PointResult FakeResult(const PointSpec& point) {
  const ParamCount params = CountParams(point);
  const double capacity =
      static_cast<double>(point.heads * point.width) * (std::log2(static_cast<double>(point.seq_len)) + 1.0);
  const auto jitter = static_cast<int64_t>((point.init_seed + 3 * point.data_seed) % 3);
  PointResult r;
  r.point_key = PointKey(point);
  r.targets = MaxTargets(point);
  r.items_mem = std::clamp<int64_t>(static_cast<int64_t>(capacity) - jitter, 0, point.dataset_size);
  r.items_mem_best = r.items_mem;
  r.tokens_mem = r.items_mem * r.targets;
  const double bits_per_target = std::log2(static_cast<double>(point.vocab));
  r.nll_bits = static_cast<double>((point.dataset_size - r.items_mem) * r.targets) * bits_per_target;
  r.bits_mem = static_cast<double>(point.dataset_size * r.targets) * bits_per_target - r.nll_bits;
  const double chance = std::pow(static_cast<double>(point.vocab), -static_cast<double>(r.targets));
  r.items_corr = std::max(
      0.0, (static_cast<double>(r.items_mem) - static_cast<double>(point.dataset_size) * chance) / (1.0 - chance));
  r.steps = BudgetSteps(point);
  r.epochs = std::max<int64_t>(1, r.steps / StepsPerEpoch(point));
  r.presentations = r.epochs * point.dataset_size;
  r.train_loss = r.nll_bits * std::log(2.0) / static_cast<double>(point.dataset_size * r.targets);
  r.stop_reason = "budget";
  r.params_total = params.total;
  r.params_train = params.train;
  r.backend = "fake";
  r.device_kind = "cpu";
  r.device_name = "fake";
  r.version = std::string(kVersion);
  r.curve.push_back({r.epochs, r.steps, r.items_mem, r.tokens_mem, r.nll_bits, r.train_loss});
  return r;
}

}  // namespace capsweep
