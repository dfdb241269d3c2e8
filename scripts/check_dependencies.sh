#!/usr/bin/env bash
# The dependency rules of docs/design.md, by what files include. Prints every breach; exit 1 if there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
breaches=0

# rule FOLDERS PATTERN REASON: no file in the folders may include what matches.
rule() {
  local folders=$1 pattern=$2 reason=$3 hits
  # shellcheck disable=SC2086
  hits=$(grep -rnE --include='*.cc' --include='*.h' "^[[:space:]]*#include[[:space:]]*[<\"]($pattern)" $folders 2>/dev/null || true)
  if [ -n "$hits" ]; then
    printf '%s\n  rule: %s\n' "$hits" "$reason"
    breaches=1
  fi
}

wire='grpc|google/protobuf|capsweep/v1|proto/'
rule "common" "coordinator/|worker/|ecm/|cli/|sqlite3|torch/|ATen/|ceres/|$wire" "common depends on nothing of the project, and on no engine"
rule "coordinator/core coordinator/plan ecm worker/trainer" "$wire" "core, plan, ecm and trainer never see the wire"
rule "coordinator/core" "coordinator/(plan|store|service)|worker/|ecm/|cli/|sqlite3|thread>|mutex>|fstream>|iostream>|absl/synchronization" "the core is pure: events in, effects out"
rule "coordinator/plan" "coordinator/(core|store|service)|worker/|ecm/|cli/|sqlite3" "plan is pure"
rule "ecm" "coordinator/|worker/|cli/|sqlite3" "ecm is pure maths"
rule "worker" "coordinator/|ecm/|cli/|sqlite3" "workers know nothing of the coordinator's inside"
rule "worker/trainer" "worker/agent" "the trainer is a program of its own"
rule "worker/agent" "worker/trainer" "the agent knows its trainers only by their lines"
rule "coordinator" "worker/|cli/" "the coordinator knows workers only by the wire"
service=$(find coordinator/service -name '*.cc' -o -name '*.h' | grep -v '^coordinator/service/advise.cc$')
rule "coordinator/core coordinator/plan coordinator/store coordinator/main.cc $service" "ecm/" "only the adviser of adaptive sweeps fits"
rule "coordinator/core coordinator/plan coordinator/service common worker ecm cli proto" "sqlite3" "only the store sees SQLite"
rule "common coordinator ecm cli proto worker/agent worker/trainer/data worker/trainer/model" "torch/|ATen/|c10/" "only worker/trainer/torch includes LibTorch"
rule "common coordinator ecm cli proto worker/agent worker/trainer/data worker/trainer/model worker/trainer/torch" "hwy/" "only worker/trainer/cpu includes Highway"
rule "common coordinator ecm cli proto worker/agent worker/trainer/data worker/trainer/model worker/trainer/cpu $(echo worker/trainer/cuda/*.h worker/trainer/cuda/*.cc)" "cuda_runtime" "only worker/trainer/cuda/device and the torch back end include CUDA"
rule "worker/trainer/cuda" "torch/|ATen/|c10/|hwy/" "the cuda back end needs neither LibTorch nor Highway"
others=$(find worker -maxdepth 2 -name '*.cc' -o -maxdepth 2 -name '*.h')
rule "$others worker/trainer/cpu" "torch/|ATen/|c10/" "only worker/trainer/torch includes LibTorch"
rule "$others" "hwy/" "only worker/trainer/cpu includes Highway"
exit $breaches
