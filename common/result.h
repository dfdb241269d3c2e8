// The measurement of one point, as the trainer makes it and the store keeps it.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace capsweep {

class JsonScan;

// Of a measure that a point did not ask for: NULL in the database, null in JSON.
inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

// One evaluation of the whole library.
struct Evaluation {
  int64_t epoch = 0;
  int64_t step = 0;
  int64_t items_mem = 0;
  int64_t tokens_mem = 0;
  double nll_bits = 0;
  double train_loss = 0;               // nats per target, mean over the epoch that ended at this step
  double heldout_loss = kNotMeasured;  // nats per target over the held-out items

  // Bit for bit, so that what was not measured equals itself.
  friend bool operator==(const Evaluation& a, const Evaluation& b) {
    const auto bits = [](double v) { return std::bit_cast<uint64_t>(v); };
    return a.epoch == b.epoch && a.step == b.step && a.items_mem == b.items_mem && a.tokens_mem == b.tokens_mem &&
           a.nll_bits == b.nll_bits && a.train_loss == b.train_loss && bits(a.heldout_loss) == bits(b.heldout_loss);
  }
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
  // Of points with held-out items, at the last step.
  double heldout_loss = kNotMeasured;  // nats per target over the held-out items
  // Euclidean distance to the nearest neighbour among the library's activations before the head (docs/science.md).
  double neighbour_mean = kNotMeasured;
  double neighbour_median = kNotMeasured;

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
  v("heldout_loss", r.heldout_loss);
  v("neighbour_mean", r.neighbour_mean);
  v("neighbour_median", r.neighbour_median);
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

// Flat JSON object with the names above and "curve": [[epoch, step, items_mem, tokens_mem, nll_bits, train_loss,
// heldout_loss], …]. What was not measured is null, or left out.
std::string ResultToJson(const PointResult& result);
absl::StatusOr<PointResult> ResultFromJson(std::string_view json);
absl::StatusOr<PointResult> ResultFromParsed(const nlohmann::ordered_json& json);
// The object as ResultToJson writes it; false for anything else, be it a result or not.
bool ScanResult(JsonScan& in, PointResult& out);

// Whether the numbers can belong together (0 ≤ items_mem ≤ best ≤ D, tokens_mem ≤ D·T, finite, …): what a coordinator
// checks before it believes a worker.
struct PointSpec;
absl::Status ValidateResult(const PointSpec& point, const PointResult& result);
// The same where the key has been compared with the one that is known for the point: working it out again costs more
// than all the rest.
absl::Status ValidateMeasures(const PointSpec& point, const PointResult& result);

}  // namespace capsweep
