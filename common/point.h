// The fully specified grid point and everything that is a pure function of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace capsweep {

class JsonScan;

enum class Mode { kLabel, kSeq, kLm };
enum class LmTargets { kDetermined, kAll };
enum class Family { kXt, kGpt2, kMlp, kKs };
enum class Activation { kGelu, kRelu, kSoftmax };
enum class Positions { kAbsolute, kNone, kRotary };
enum class Tokens { kUniform, kZipf, kNegbin, kVectors };
enum class Optimizer { kAdam, kAdamw, kSgd };
enum class Schedule { kConstant, kCosine };
enum class Loss { kCrossEntropy, kMse };

// The words of the sweep file. FromWord returns false for an unknown word and leaves `out` alone.
std::string_view ToWord(Mode v);
std::string_view ToWord(LmTargets v);
std::string_view ToWord(Family v);
std::string_view ToWord(Activation v);
std::string_view ToWord(Positions v);
std::string_view ToWord(Tokens v);
std::string_view ToWord(Optimizer v);
std::string_view ToWord(Schedule v);
std::string_view ToWord(Loss v);
bool FromWord(std::string_view word, Mode& out);
bool FromWord(std::string_view word, LmTargets& out);
bool FromWord(std::string_view word, Family& out);
bool FromWord(std::string_view word, Activation& out);
bool FromWord(std::string_view word, Positions& out);
bool FromWord(std::string_view word, Tokens& out);
bool FromWord(std::string_view word, Optimizer& out);
bool FromWord(std::string_view word, Schedule& out);
bool FromWord(std::string_view word, Loss& out);

// What to train, on which data, by which recipe. Units and meaning: docs/science.md. Field names equal those of the
// sweep file, the database, the protocol and the trainer's JSON.
struct PointSpec {
  // task
  Mode mode = Mode::kLabel;
  int64_t vocab = 16;   // input and output alphabet
  int64_t seq_len = 8;  // input positions
  // Which positions of mode lm are trained and counted: `determined` starts at the first index at which all prefixes of
  // the library differ, `all` at 0. Ignored elsewhere.
  LmTargets lm_targets = LmTargets::kDetermined;
  // model
  Family family = Family::kXt;
  int64_t layers = 1;
  int64_t heads = 1;
  int64_t head_dim = 8;  // `split` of the sweep file is resolved to width / heads before this
  int64_t width = 8;
  bool freeze_mlp = false;
  int64_t mlp_width = 0;  // hidden units of the MLP; 0 = 4 * width
  Activation activation = Activation::kGelu;
  Positions positions = Positions::kAbsolute;
  double dropout = 0;
  // data
  int64_t dataset_size = 100;
  uint64_t data_seed = 1;
  Tokens tokens = Tokens::kUniform;  // how input tokens are drawn; targets are uniform
  double zipf_s = 1;                 // P(k) ~ (k + 1)^-s
  double negbin_r = 1;               // P(k) ~ C(k + r - 1, k) p^r (1 - p)^k, cut off at vocab
  double negbin_p = 0.5;
  int64_t vector_dim = 6;    // of tokens: vectors, whose elements are uniform on [0, 1)
  int64_t heldout_size = 0;  // items after the library that are evaluated and never trained
  std::string file;          // a library of one's own; "" = drawn
  std::string file_hash;     // SHA-256 of that file in hex: its identity, wherever it lies
  // train
  Optimizer optimizer = Optimizer::kAdam;
  double lr = 3e-3;
  Schedule schedule = Schedule::kCosine;
  double lr_final = 0.02;   // last learning rate as a fraction of lr; only read with cosine
  double warmup = 0;        // fraction of the budget in which the learning rate rises linearly from 0
  double momentum = 0.9;    // of sgd
  double weight_decay = 0;  // adamw: decoupled; sgd: added to the gradient
  double clip_norm = 0;     // largest Euclidean norm of the whole gradient; 0 = not clipped
  Loss loss = Loss::kCrossEntropy;
  int64_t batch_size = 100;
  int64_t epochs = 0;       // budget. Invariant: exactly one of epochs and steps is > 0
  int64_t steps = 0;        // budget
  int64_t eval_every = 10;  // epochs between evaluations of the whole library
  // Epochs over which the best epoch-mean training loss must improve by 1e-4 relative, else the run stops as a plateau;
  // 0 = never.
  int64_t patience = 200;
  uint64_t init_seed = 1;  // initial weights and batch order
  std::string backend;     // "" = any back end; else torch | cpu | cuda

  friend bool operator==(const PointSpec&, const PointSpec&) = default;
};

// Calls v(name, field) for every field in canonical order. The one list of fields: JSON, database columns, protocol and
// canonical text are made from it.
template <class Spec, class Visitor>
void VisitFields(Spec& s, Visitor&& v) {
  v("mode", s.mode);
  v("vocab", s.vocab);
  v("seq_len", s.seq_len);
  v("lm_targets", s.lm_targets);
  v("family", s.family);
  v("layers", s.layers);
  v("heads", s.heads);
  v("head_dim", s.head_dim);
  v("width", s.width);
  v("freeze_mlp", s.freeze_mlp);
  v("mlp_width", s.mlp_width);
  v("activation", s.activation);
  v("positions", s.positions);
  v("dropout", s.dropout);
  v("dataset_size", s.dataset_size);
  v("data_seed", s.data_seed);
  v("tokens", s.tokens);
  v("zipf_s", s.zipf_s);
  v("negbin_r", s.negbin_r);
  v("negbin_p", s.negbin_p);
  v("vector_dim", s.vector_dim);
  v("heldout_size", s.heldout_size);
  v("file", s.file);
  v("file_hash", s.file_hash);
  v("optimizer", s.optimizer);
  v("lr", s.lr);
  v("schedule", s.schedule);
  v("lr_final", s.lr_final);
  v("warmup", s.warmup);
  v("momentum", s.momentum);
  v("weight_decay", s.weight_decay);
  v("clip_norm", s.clip_norm);
  v("loss", s.loss);
  v("batch_size", s.batch_size);
  v("epochs", s.epochs);
  v("steps", s.steps);
  v("eval_every", s.eval_every);
  v("patience", s.patience);
  v("init_seed", s.init_seed);
  v("backend", s.backend);
}

// The fields that came after format 1 and hold the value that reproduces format 1, as bits by their place in
// VisitFields. They are left out of the canonical text and of JSON, so that older identities stay and lines stay short.
uint64_t LaterDefaults(const PointSpec& point);

// Canonical text: one `name=value` line per field in the order above; numbers in shortest round-trip form. A field that
// cannot change the result is left out (lm_targets outside lm, lr_final outside cosine, heads of a family without
// attention, an unused budget, an unpinned backend), and so is a later default. A file counts by its hash alone.
std::string CanonicalText(const PointSpec& point);

// Identity of a point: the first 32 hex digits of SHA-256 of the canonical text.
std::string PointKey(const PointSpec& point);

// The first 64 bits of the point key; the core keeps this to check that a report belongs to the point it names.
uint64_t KeyPrefix(std::string_view point_key);

// What must be equal for points to train together: all that decides which tensors there are and which of them move.
// Text like "xt/label/l1/h2/d8/w16/n8/v16/b100/adam/fp32", with "/frozen" and a pinned back end where they apply.
std::string ShapeKey(const PointSpec& point);

// The hidden units of its MLP: mlp_width or 4 * width.
int64_t MlpWidth(const PointSpec& point);

// The first field of a point whose value only the torch back end implements, or "" where the kernels serve it too.
std::string_view TorchOnlyField(const PointSpec& point);

// Target tokens per item: 1 in label, seq_len in seq. In lm this is the upper bound seq_len; the exact number depends
// on the drawn library and stands in the result.
int64_t MaxTargets(const PointSpec& point);

// Optimizer steps per epoch (the last batch of an epoch may be smaller) and the whole budget in steps.
int64_t StepsPerEpoch(const PointSpec& point);
int64_t BudgetSteps(const PointSpec& point);

// Every rule a single point must obey (ranges, V^N large enough, exactly one budget...). The message names field,
// value and fix. Used by the sweep parser, the service edge and the trainer alike.
absl::Status ValidatePoint(const PointSpec& point);

// Flat JSON object with the names above. Absent fields keep their defaults; unknown or mistyped ones are errors.
std::string PointToJson(const PointSpec& point);
absl::StatusOr<PointSpec> PointFromJson(std::string_view json);
absl::StatusOr<PointSpec> PointFromParsed(const nlohmann::ordered_json& json);
// The object as PointToJson writes it; false for anything else, be it a point or not.
bool ScanPoint(JsonScan& in, PointSpec& out);

}  // namespace capsweep
