#include "common/cost_model.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "common/param_count.h"

namespace capsweep {
namespace {

// One core of the reference machine (docs/performance.md). A step costs something to begin, its matrix products, and
// memory traffic: over the inputs of the first layer, and over the parameters.
struct Speed {
  double seconds_per_step;
  double flops_per_second;
  double seconds_per_input;  // an element of the embedded batch
  double seconds_per_weight;
};
constexpr Speed kCpu = {6e-6, 1.05e11, 1e-9, 1.1e-9};
constexpr Speed kTorch = {8e-4, 1.5e10, 0, 2e-9};
constexpr double kStartSeconds = 0.02;

// Forward FLOPs of one sequence; a product of m×k by k×n counts 2·m·k·n. The letters are those of common/param_count.h.
struct Sizes {
  double n, b, h, inner, m, v, d, layers, targets, outputs;
  bool vectors;

  explicit Sizes(const PointSpec& p)
      : n(static_cast<double>(p.seq_len)),
        b(static_cast<double>(p.width)),
        h(static_cast<double>(p.heads)),
        inner(static_cast<double>(p.heads * p.head_dim)),
        m(static_cast<double>(MlpWidth(p))),
        v(static_cast<double>(p.vocab)),
        d(static_cast<double>(p.vector_dim)),
        layers(static_cast<double>(p.layers)),
        targets(static_cast<double>(MaxTargets(p))),
        outputs(p.loss == Loss::kMse ? 1 : static_cast<double>(p.vocab)),
        vectors(p.tokens == Tokens::kVectors) {}
};

double TransformerFlops(const PointSpec& p, Algebra algebra) {
  const Sizes s(p);
  const bool label = p.mode == Mode::kLabel;
  if (p.family == Family::kGpt2 && algebra == Algebra::kAbsorbed) {
    algebra = Algebra::kTrimmed;  // only the kernels absorb, and they serve xt
  }
  const double mlp = 4 * s.b * s.m;
  const double seen = p.mode == Mode::kLm ? (s.n + 1) / 2 : s.n;
  const double full = s.n * (8 * s.b * s.inner + 4 * seen * s.inner + mlp);
  double last = full;
  if (label && algebra == Algebra::kTrimmed) {
    last = s.n * 4 * s.b * s.inner + 4 * s.b * s.inner + 4 * s.n * s.inner + mlp;
  } else if (label && algebra == Algebra::kAbsorbed) {
    last = 8 * s.b * s.inner + 4 * s.n * s.h * s.b + mlp;
  }
  return (s.layers - 1) * full + last + (label ? 1 : s.n) * 2 * s.b * s.v;
}

double MlpFlops(const PointSpec& p) {
  const Sizes s(p);
  return 2 * s.n * (s.vectors ? s.d : s.b) * s.m + 2 * s.targets * s.outputs * s.m;
}

// The second half of the blocks is computed for the last position alone, unless plain.
double KsFlops(const PointSpec& p, Algebra algebra) {
  const Sizes s(p);
  const double input = s.vectors ? 2 * s.n * s.d * s.b : 0;
  const double after = algebra == Algebra::kPlain ? s.n : 1;
  return input + (s.n + after) * s.layers * 4 * s.b * s.m + 4 * s.b * s.b + 2 * s.b * s.outputs;
}

double ForwardFlops(const PointSpec& p, double samples, Algebra algebra = Algebra::kAbsorbed) {
  switch (p.family) {
    case Family::kXt:
    case Family::kGpt2:
      return samples * TransformerFlops(p, algebra);
    case Family::kMlp:
      return samples * MlpFlops(p);
    case Family::kKs:
      return samples * KsFlops(p, algebra);
  }
  return 0;
}

const Speed& SpeedOf(const PointSpec& p) {
  return p.backend == "torch" || !TorchOnlyField(p).empty() ? kTorch : kCpu;
}

// Elements of the first layer's input that `samples` sequences cause: their own, and a table of all tokens at all
// positions, or as many again where that would be larger.
double Inputs(const PointSpec& p, double samples) {
  return (samples + std::min(samples, static_cast<double>(p.vocab))) * static_cast<double>(p.seq_len * p.width);
}

// Floats that the forward pass of one sequence leaves for the backward pass.
double KeptFloats(const PointSpec& p) {
  const Sizes s(p);
  const double outputs = 3 * s.targets * s.outputs;
  switch (p.family) {
    case Family::kXt:
    case Family::kGpt2:
      return s.layers * s.n * (8 * s.b + 2 * s.m + 5 * s.inner + 3 * s.h * s.n + 3 * s.v);
    case Family::kMlp:
      return 2 * s.n * (s.vectors ? s.d : s.b) + 3 * s.m + outputs;
    case Family::kKs:  // its attention is a mean: no scores
      return s.n * ((s.vectors ? s.d : 0) + 3 * s.b) + 2 * s.layers * s.n * (4 * s.b + 3 * s.m) + outputs;
  }
  return 0;
}

}  // namespace

double ProductFlopsPerStep(const PointSpec& p, Algebra algebra) {
  return 3 * ForwardFlops(p, static_cast<double>(std::min(p.batch_size, p.dataset_size)), algebra);
}

double EstimateSeconds(const PointSpec& p) {
  const Speed& speed = SpeedOf(p);
  const double batch = static_cast<double>(std::min(p.batch_size, p.dataset_size));
  const double items = static_cast<double>(p.dataset_size + p.heldout_size);
  const double steps = static_cast<double>(BudgetSteps(p));
  const double flops =
      ProductFlopsPerStep(p, Algebra::kAbsorbed) + 12 * static_cast<double>(CountParams(p).train);  // and Adam
  const double step = speed.seconds_per_step + flops / speed.flops_per_second +
                      speed.seconds_per_input * Inputs(p, batch) +
                      speed.seconds_per_weight * static_cast<double>(CountParams(p).train);
  const double epochs = steps / static_cast<double>(StepsPerEpoch(p));
  const double evaluations = epochs / static_cast<double>(p.eval_every) + 1;
  const double evaluation = speed.seconds_per_step + ForwardFlops(p, items) / speed.flops_per_second +
                            speed.seconds_per_input / 2 * Inputs(p, items);
  return kStartSeconds + steps * step + evaluations * evaluation;
}

int32_t PackLanes(std::string_view shape_key) {
  constexpr int32_t kLanes = 16;
  // Every lane needs an embedding table of its own; together they must stay in the cache.
  constexpr int64_t kTableFloats = int64_t{1} << 17;
  int64_t width = 0, seq_len = 0, vocab = 0, batch_size = 0;
  bool cpu = true;
  while (!shape_key.empty()) {
    const size_t end = std::min(shape_key.find('/'), shape_key.size());
    const std::string_view part = shape_key.substr(0, end);
    shape_key.remove_prefix(std::min(end + 1, shape_key.size()));
    for (const auto& [letter, field] :
         {std::pair{'w', &width}, std::pair{'n', &seq_len}, std::pair{'v', &vocab}, std::pair{'b', &batch_size}}) {
      if (part.size() > 1 && part[0] == letter) {
        std::from_chars(part.data() + 1, part.data() + part.size(), *field);
      }
    }
    cpu = cpu && part != "torch" && part != "cuda";
  }
  if (!cpu || width <= 0 || seq_len <= 0 || vocab <= 0 || batch_size <= 0) {
    return 1;
  }
  // A full pack is 1.5 to 3 times as fast here as its models one by one; with larger batches it gains less, and a pack
  // of three, the repeats of a cell, would lose more.
  const bool narrow = (width <= 12 && batch_size <= 24) || (width <= 32 && batch_size < kLanes);
  const bool small = seq_len <= kTableFloats && vocab <= kTableFloats / (kLanes * width * seq_len);
  return narrow && small ? kLanes : 1;
}

double EstimateBytes(const PointSpec& p) {
  const Sizes s(p);
  const double batch = static_cast<double>(std::min(p.batch_size, p.dataset_size));
  const double weights = 16 * static_cast<double>(CountParams(p).total);  // value, gradient, two moments
  const double activations = 4 * 2 * batch * KeptFloats(p);
  const double element = s.vectors ? s.d : 1;
  const double library = 4 * 2 * static_cast<double>(p.dataset_size + p.heldout_size) * s.n * element;
  // The search for nearest neighbours holds what the head reads in double, twice for a moment.
  const double read = p.family == Family::kMlp ? s.m : s.b;
  const double neighbours = p.heldout_size > 0 ? 16 * std::min(50e3, static_cast<double>(p.dataset_size)) * read : 0;
  return weights + activations + library + neighbours;
}

}  // namespace capsweep
