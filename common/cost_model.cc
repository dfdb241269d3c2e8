#include "common/cost_model.h"

#include <algorithm>

#include "common/param_count.h"

namespace capsweep {
namespace {

// Measured on one reference core (docs/performance.md): the torch back end spends a fixed time per layer and step on
// dispatch, and sustains this rate on the products.
constexpr double kSecondsPerStep = 3.5e-4;
constexpr double kSecondsPerLayerStep = 4.5e-4;
constexpr double kFlopsPerSecond = 1.5e10;
constexpr double kStartSeconds = 0.02;

// Forward FLOPs of `samples` sequences; a product of m×k by k×n counts 2·m·k·n.
double ForwardFlops(const PointSpec& p, double samples) {
  const double n = static_cast<double>(p.seq_len), b = static_cast<double>(p.width);
  const double inner = static_cast<double>(p.heads * p.head_dim), v = static_cast<double>(p.vocab);
  const double tokens = samples * n;
  auto layer = [&](double queries) {  // `queries` = tokens whose output is needed
    const double key_value = 2 * 2 * tokens * b * inner;
    const double query_out = 2 * 2 * queries * b * inner;
    const double attention = 2 * 2 * queries * n * inner;
    const double mlp = 2 * queries * 8 * b * b;
    return key_value + query_out + attention + mlp;
  };
  const double outputs = p.mode == Mode::kLabel ? samples : tokens;
  return static_cast<double>(p.layers - 1) * layer(tokens) + layer(outputs) + 2 * outputs * b * v;
}

}  // namespace

double FlopsPerStep(const PointSpec& p) {
  const double batch = static_cast<double>(std::min(p.batch_size, p.dataset_size));
  return 3 * ForwardFlops(p, batch) + 12 * static_cast<double>(CountParams(p).train);
}

double EstimateSeconds(const PointSpec& p) {
  const double steps = static_cast<double>(BudgetSteps(p));
  const double step =
      kSecondsPerStep + kSecondsPerLayerStep * static_cast<double>(p.layers) + FlopsPerStep(p) / kFlopsPerSecond;
  const double epochs = steps / static_cast<double>(StepsPerEpoch(p));
  const double evaluations = epochs / static_cast<double>(p.eval_every) + 1;
  const double evaluation = 1e-3 + ForwardFlops(p, static_cast<double>(p.dataset_size)) / kFlopsPerSecond;
  return kStartSeconds + steps * step + evaluations * evaluation;
}

double EstimateBytes(const PointSpec& p) {
  const double batch = static_cast<double>(std::min(p.batch_size, p.dataset_size)), n = static_cast<double>(p.seq_len);
  const double b = static_cast<double>(p.width), inner = static_cast<double>(p.heads * p.head_dim);
  const double weights = 16 * static_cast<double>(CountParams(p).total);  // value, gradient, two moments
  const double per_token = 16 * b + 5 * inner + 3 * static_cast<double>(p.heads) * n + 3 * static_cast<double>(p.vocab);
  const double activations = 4 * 2 * batch * n * per_token * static_cast<double>(p.layers);
  const double library = 4 * 2 * static_cast<double>(p.dataset_size) * n;
  return weights + activations + library;
}

}  // namespace capsweep
