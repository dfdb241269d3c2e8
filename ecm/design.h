// Inverse design: the smallest model that memorizes a target number of items.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ecm/report.h"

namespace capsweep::ecm {

struct DesignRequest {
  double target = 0;  // items
  int64_t seq_len = 0;
  int64_t max_heads = 8;
  int64_t max_width = 4096;
  // What the fit does not hold when it came from a CSV; read from the group's key when present.
  int64_t vocab = 16, layers = 1, head_dim = 8;
  bool split_heads = false;  // head_dim = width / heads
  bool freeze_mlp = false;
};

struct Candidate {
  int64_t heads = 0, width = 0;
  int64_t params = 0, params_train = 0;
  double capacity = 0;          // point estimate
  double capacity_low = 0;      // lower 5 % of the bootstrap draws
  double memory_per_param = 0;  // capacity / params
  bool safe = false;            // capacity_low >= target
  bool extrapolated = false;    // heads, width or seq_len outside what was measured
};

// Candidates that reach the target, fewest parameters first (ties: fewer heads). The first is the point-estimate
// choice, the first with `safe` the safe one. OutOfRange, naming the largest attainable capacity, if none reaches it.
// `safe` needs bootstrap draws in the fit; a second, wider candidate per number of heads stands for it where needed.
// The bound alpha·H + beta is left out where the fit does not identify it. InvalidArgument: a value out of range;
// FailedPrecondition: the group has no fit.
absl::StatusOr<std::vector<Candidate>> Design(const GroupFit& fit, const DesignRequest& request);

// Stable JSON of docs/reference/design-json.md.
std::string DesignToJson(const std::vector<Candidate>& candidates);

}  // namespace capsweep::ecm
