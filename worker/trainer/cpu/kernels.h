// The two entries into code that is compiled once for each instruction set.
#pragma once

#include "worker/trainer/cpu/cpu_model.h"

namespace capsweep::trainer::cpu {

float TrainKernel(const ModelView& model, const Items& items, const AdamStep* adam);
void TrainModelsKernel(const ModelView& model, const LaneItems& items, const AdamStep* adam, float* loss);
void EvaluateKernel(const ModelView& model, const Items& items, float* nll, uint8_t* right);
const char* KernelTarget();

}  // namespace capsweep::trainer::cpu
