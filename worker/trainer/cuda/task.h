// What a kernel is given of one slot, and what it gives back. Plain data in device memory.
#pragma once

#include <cstdint>

#include "worker/trainer/course.h"
#include "worker/trainer/cuda/shape.h"

namespace capsweep::trainer::cuda {

// Fixed while the slot trains its point.
struct Task {
  RunShape shape;
  MemoryPlan plan;
  Course course;
  int32_t first_target;
  uint64_t init_seed;
  const int32_t* tokens;         // [D, seq_len]
  const int32_t* target_tokens;  // [D, targets]
  // Adam's factors of the steps rates_first to rates_end - 1: lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), t = step
  // + 1.
  const float* rates;  // [rates_end - rates_first][2]
  int64_t rates_first, rates_end;
  float* weights;  // [total] in the order of ParameterPlan
  float* moment1;  // [train]
  float* moment2;  // [train]
  float* memory;   // [plan.global_floats]
};

struct TaskEvaluation {
  int64_t step, items_mem, tokens_mem;
  double nll_nats, train_loss;
};

enum class TaskFailure : int32_t { kNone, kLoss, kEvaluation };

inline constexpr int32_t kEvaluationsKept = 8;

// How a shape is trained on a device: a fixed rule of shape, batch and the device's limits.
struct KernelChoice {
  int32_t kernel;  // 0 is the one for any shape
  int32_t threads;
  MemoryPlan plan;
};

// What changes. A launch ends when its time is over, when the run has stopped, when `evaluations` is full, or where the
// rates end.
struct TaskState {
  Progress progress;
  Stop stop;
  TaskFailure failure;  // a NaN or infinite loss, or one in an evaluation
  double failed_loss;   // that loss
  // The evaluation under way.
  int64_t evaluated;  // items
  int64_t items_mem, tokens_mem;
  double nll_nats;
  // Evaluations since the host last looked.
  int32_t count;
  TaskEvaluation evaluations[kEvaluationsKept];
  int64_t nanoseconds_train, nanoseconds_eval;  // since the host last looked
};

// Shared by the threads of a block: what thread 0 decided between two steps.
struct Control {
  double loss;  // of the step or the evaluation under way, nats summed over targets
  int64_t epoch, first;
  int64_t items_mem, tokens_mem;
  uint64_t since;  // nanoseconds at the last change from training to evaluation or back
  int32_t size;
  float rate, correction2;
  int32_t go, evaluate;
};
static_assert(sizeof(Control) <= kControlFloats * sizeof(float));

}  // namespace capsweep::trainer::cuda
