// The measurement of one point, as the trainer makes it and the store keeps it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep {

// One evaluation of the whole library.
struct Evaluation {
  int64_t epoch = 0;
  int64_t step = 0;
  int64_t items_mem = 0;
  int64_t tokens_mem = 0;
  double nll_bits = 0;
  double train_loss = 0;  // nats per target, mean over the epoch that ended at this step

  friend bool operator==(const Evaluation&, const Evaluation&) = default;
};

struct PointResult {
  std::string point_key;
  // Measures at the last step (docs/science.md, section "Measures").
  int64_t items_mem = 0;
  int64_t items_mem_best = 0;  // over all evaluations
  int64_t tokens_mem = 0;
  double nll_bits = 0;
  double bits_mem = 0;    // D·T·log2 V − nll_bits
  double items_corr = 0;  // (items_mem − D·q)/(1 − q), q = V^-T, not below 0
  int64_t targets = 0;    // T, target tokens per item
  int64_t lm_first_target = 0;
  int64_t redraws = 0;
  double train_loss = 0;
  // Work done.
  int64_t epochs = 0;
  int64_t steps = 0;
  int64_t presentations = 0;
  std::string stop_reason;  // memorized | plateau | budget
  int64_t params_total = 0;
  int64_t params_train = 0;
  // Provenance.
  std::string backend;
  std::string device_kind;
  std::string device_name;
  std::string version;
  std::string torch_version;
  std::string blas;
  int64_t threads = 1;
  double seconds = 0;
  double seconds_train = 0;
  double seconds_eval = 0;
  int64_t resumed_from_step = 0;  // 0 = trained in one go

  std::vector<Evaluation> curve;
};

// Calls v(name, field) for every scalar field above, in that order, `curve` left out.
template <class R, class Visitor>
void VisitResultFields(R& r, Visitor&& v) {
  v("point_key", r.point_key);
  v("items_mem", r.items_mem);
  v("items_mem_best", r.items_mem_best);
  v("tokens_mem", r.tokens_mem);
  v("nll_bits", r.nll_bits);
  v("bits_mem", r.bits_mem);
  v("items_corr", r.items_corr);
  v("targets", r.targets);
  v("lm_first_target", r.lm_first_target);
  v("redraws", r.redraws);
  v("train_loss", r.train_loss);
  v("epochs", r.epochs);
  v("steps", r.steps);
  v("presentations", r.presentations);
  v("stop_reason", r.stop_reason);
  v("params_total", r.params_total);
  v("params_train", r.params_train);
  v("backend", r.backend);
  v("device_kind", r.device_kind);
  v("device_name", r.device_name);
  v("version", r.version);
  v("torch_version", r.torch_version);
  v("blas", r.blas);
  v("threads", r.threads);
  v("seconds", r.seconds);
  v("seconds_train", r.seconds_train);
  v("seconds_eval", r.seconds_eval);
  v("resumed_from_step", r.resumed_from_step);
}

// Saved state of a half-trained slot; only the back end that wrote it can read it.
struct Checkpoint {
  std::string backend;
  std::string bytes;
};

// Why an attempt failed. Words of the protocol and of attempts.cause.
enum class FailureCause {
  kNanLoss,  // the loss became NaN or infinite
  kOutOfMemory,
  kUnsupported,  // no back end of this trainer can train the point
  kBadPoint,     // the point breaks a rule (the trainer validates again)
  kTrainerDied,
  kTrainerHung,
  kInternal,
};
std::string_view ToWord(FailureCause v);
bool FromWord(std::string_view word, FailureCause& out);

// Flat JSON object with the names above and "curve": [[epoch, step, items_mem, tokens_mem, nll_bits, train_loss], …].
std::string ResultToJson(const PointResult& result);
absl::StatusOr<PointResult> ResultFromJson(std::string_view json);

// Whether the numbers can belong together (0 ≤ items_mem ≤ best ≤ D, tokens_mem ≤ D·T, finite, …): what a coordinator
// checks before it believes a worker.
struct PointSpec;
absl::Status ValidateResult(const PointSpec& point, const PointResult& result);

}  // namespace capsweep
