// Slots of the cuda back end on the host: shapes of every kind, and the memory a kernel works on.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <vector>

#include "tests/support/host_block.h"
#include "worker/trainer/cuda/parameters.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/model/layout.h"
#include "worker/trainer/training_run.h"

namespace capsweep::trainer::cuda {

struct SlotCase {
  const char* name;
  Mode mode;
  int64_t layers, heads, head_dim, width, seq_len, vocab, items;
  bool freeze_mlp = false;
};

inline void PrintTo(const SlotCase& c, std::ostream* os) {
  *os << c.name;
}

inline constexpr SlotCase kSlotCases[] = {
    {"LabelTiny", Mode::kLabel, 1, 1, 8, 8, 8, 16, 16},
    {"LabelOddSizesAndRest", Mode::kLabel, 1, 3, 5, 20, 5, 11, 37},
    {"LabelTwoLayers", Mode::kLabel, 2, 2, 3, 12, 6, 7, 25},
    {"LabelFrozen", Mode::kLabel, 1, 2, 8, 16, 8, 16, 40, true},
    {"LabelThreeLayersFrozen", Mode::kLabel, 3, 2, 4, 8, 4, 9, 27, true},
    {"LabelOneItem", Mode::kLabel, 1, 1, 1, 4, 3, 5, 1},
    {"LabelOnePosition", Mode::kLabel, 2, 2, 4, 8, 1, 40, 9},
    {"LabelWidthThree", Mode::kLabel, 1, 1, 1, 3, 2, 8, 16},
    {"SeqTiny", Mode::kSeq, 1, 1, 8, 8, 8, 16, 16},
    {"SeqTwoLayersRest", Mode::kSeq, 2, 3, 4, 20, 7, 10, 23},
    {"SeqFrozen", Mode::kSeq, 1, 2, 8, 16, 5, 8, 33, true},
    {"LmTiny", Mode::kLm, 1, 2, 4, 8, 8, 16, 16},
    {"LmTwoLayersRest", Mode::kLm, 2, 2, 5, 12, 9, 6, 27},
    {"LmFrozenManyTokens", Mode::kLm, 2, 1, 8, 16, 6, 70, 18, true},
};

inline PointSpec PointOf(const SlotCase& c) {
  PointSpec point;
  point.mode = c.mode, point.layers = c.layers, point.heads = c.heads, point.head_dim = c.head_dim;
  point.width = c.width, point.seq_len = c.seq_len, point.vocab = c.vocab, point.dataset_size = c.items;
  point.freeze_mlp = c.freeze_mlp, point.batch_size = c.items, point.epochs = 5, point.eval_every = 2;
  return point;
}

// One slot's memory on the host.
struct HostSlot {
  HostSlot(const SlotCase& c, int64_t shared_floats)
      : point(PointOf(c)), library(*MakeLibrary(point)), map(point), rates(MakeRates(point, 0, BudgetSteps(point))) {
    std::vector<float> initial = InitialWeights(map.layout(), 3);
    for (size_t i = 0; i < initial.size(); ++i) initial[i] += 0.1f * std::sin(static_cast<float>(i));
    flat = initial;
    weights = map.ToKernel(initial);
    moment1.assign(static_cast<size_t>(map.train()), 0.0f);
    moment2 = moment1;
    task.shape = ShapeOf(point);
    task.plan = MakeMemoryPlan(task.shape, std::min(point.batch_size, point.dataset_size), shared_floats);
    task.course = MakeCourse(point, library.targets);
    task.first_target = static_cast<int32_t>(library.first_target);
    task.init_seed = point.init_seed;
    task.tokens = library.tokens.data(), task.target_tokens = library.target_tokens.data();
    task.rates = rates.data();
    task.rates_end = BudgetSteps(point);
    task.weights = weights.data(), task.moment1 = moment1.data(), task.moment2 = moment2.data();
    memory = Poisoned(task.plan.global_floats);
    shared = Poisoned(task.plan.shared_floats);
    task.memory = &memory.data()->x;
    // Indices must stay in range even where a test makes a kernel read them too early: 0 is wrong enough.
    for (const Piece piece : {kItems, kTokens, kLinks, kRowRight, kItemRight}) {
      std::fill_n(Floats(piece), PieceFloats(task.shape, task.plan.samples, piece), 0.0f);
    }
  }
  float* Floats(Piece piece) {
    return (task.plan.shared[piece] ? &shared.data()->x : task.memory) + task.plan.offset[piece];
  }

  // The first step of the run. The gradients stay in kGrads.
  int64_t Step(HostRun& run) {
    const HostKernel kernel{task.shape, &task.plan, &shared.data()->x};
    Trainer<HostKernel> trainer(kernel, task, state, run);
    trainer.Begin();
    trainer.Step(1'000'000'000);
    return run.barriers();
  }

  // The first part of an evaluation of the initial weights.
  void EvaluateChunk(HostRun& run) {
    state.progress.evaluation_due = true;
    const HostKernel kernel{task.shape, &task.plan, &shared.data()->x};
    Trainer<HostKernel> trainer(kernel, task, state, run);
    trainer.Begin();
    trainer.EvaluateChunk(1'000'000'000);
  }

  // A launch.
  void RunFor(HostRun& run, uint64_t nanoseconds) {
    const HostKernel kernel{task.shape, &task.plan, &shared.data()->x};
    Trainer<HostKernel>(kernel, task, state, run).RunFor(nanoseconds);
  }

  PointSpec point;
  Library library;
  ParameterMap map;
  std::vector<float> rates, flat, weights, moment1, moment2;
  std::vector<Float4> memory, shared;
  Task task{};
  TaskState state{};
};

inline constexpr int64_t kAmpleShared = 1 << 20;  // floats

}  // namespace capsweep::trainer::cuda
