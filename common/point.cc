#include "common/point.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "common/param_count.h"
#include "common/text.h"

namespace capsweep {
namespace {

template <class Enum, size_t N>
struct Words {
  std::array<std::pair<Enum, std::string_view>, N> entries;

  std::string_view Of(Enum v) const {
    for (const auto& [value, word] : entries) {
      if (value == v) return word;
    }
    return "?";
  }
  bool Find(std::string_view word, Enum& out) const {
    for (const auto& [value, name] : entries) {
      if (name == word) {
        out = value;
        return true;
      }
    }
    return false;
  }
};

constexpr Words<Mode, 3> kModes{{{{Mode::kLabel, "label"}, {Mode::kSeq, "seq"}, {Mode::kLm, "lm"}}}};
constexpr Words<LmTargets, 2> kLmTargets{{{{LmTargets::kDetermined, "determined"}, {LmTargets::kAll, "all"}}}};
constexpr Words<Family, 4> kFamilies{
    {{{Family::kXt, "xt"}, {Family::kGpt2, "gpt2"}, {Family::kMlp, "mlp"}, {Family::kKs, "ks"}}}};
constexpr Words<Activation, 3> kActivations{
    {{{Activation::kGelu, "gelu"}, {Activation::kRelu, "relu"}, {Activation::kSoftmax, "softmax"}}}};
constexpr Words<Positions, 3> kPositions{
    {{{Positions::kAbsolute, "absolute"}, {Positions::kNone, "none"}, {Positions::kRotary, "rotary"}}}};
constexpr Words<Tokens, 4> kTokens{{{{Tokens::kUniform, "uniform"},
                                     {Tokens::kZipf, "zipf"},
                                     {Tokens::kNegbin, "negbin"},
                                     {Tokens::kVectors, "vectors"}}}};
constexpr Words<Optimizer, 3> kOptimizers{
    {{{Optimizer::kAdam, "adam"}, {Optimizer::kAdamw, "adamw"}, {Optimizer::kSgd, "sgd"}}}};
constexpr Words<Loss, 2> kLosses{{{{Loss::kCrossEntropy, "cross_entropy"}, {Loss::kMse, "mse"}}}};
constexpr Words<Schedule, 2> kSchedules{{{{Schedule::kConstant, "constant"}, {Schedule::kCosine, "cosine"}}}};

std::string Shortest(double v) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
  return error == std::errc() ? std::string(buffer, end) : "?";
}

template <class T>
std::string ValueText(const T& v) {
  if constexpr (std::is_same_v<T, bool>) {
    return v ? "true" : "false";
  } else if constexpr (std::is_same_v<T, double>) {
    return Shortest(v);
  } else if constexpr (std::is_integral_v<T>) {
    return StrCat(v);
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(ToWord(v));
  } else {
    return v;
  }
}

bool HasAttentionHeads(const PointSpec& p) {
  return p.family == Family::kXt || p.family == Family::kGpt2;
}

// The circumstances in which a field can change the result of a point.
enum class Matters : uint8_t {
  kAlways,
  kNever,
  kLm,
  kHeads,
  kZipf,
  kNegbin,
  kVectors,
  kDrawn,
  kSgd,
  kCosine,
  kEpochs,
  kSteps,
  kPinned
};

// What is known of a field without its point.
struct FieldFacts {
  Matters matters = Matters::kAlways;
  bool later = false;                // came after format 1
  const void* by_default = nullptr;  // the value of a PointSpec()
};

FieldFacts FactsOf(std::string_view name) {
  constexpr std::pair<std::string_view, Matters> kMatters[] = {
      {"lm_targets", Matters::kLm},      {"heads", Matters::kHeads},     {"head_dim", Matters::kHeads},
      {"zipf_s", Matters::kZipf},        {"negbin_r", Matters::kNegbin}, {"negbin_p", Matters::kNegbin},
      {"vector_dim", Matters::kVectors}, {"file", Matters::kNever},      {"data_seed", Matters::kDrawn},
      {"momentum", Matters::kSgd},       {"lr_final", Matters::kCosine}, {"epochs", Matters::kEpochs},
      {"steps", Matters::kSteps},        {"backend", Matters::kPinned}};
  constexpr std::string_view kLater[] = {"mlp_width", "activation", "positions", "dropout",    "tokens",
                                         "zipf_s",    "negbin_r",   "negbin_p",  "vector_dim", "heldout_size",
                                         "file",      "file_hash",  "warmup",    "momentum",   "weight_decay",
                                         "clip_norm", "loss"};
  FieldFacts facts;
  for (const auto& [field, matters] : kMatters) {
    if (field == name) facts.matters = matters;
  }
  facts.later = std::find(std::begin(kLater), std::end(kLater), name) != std::end(kLater);
  return facts;
}

// By place in VisitFields: names are compared once, not for each of a million points.
const std::vector<FieldFacts>& AllFacts() {
  static const PointSpec& defaults = *new PointSpec();
  static const std::vector<FieldFacts>& facts = *[] {
    auto* all = new std::vector<FieldFacts>;
    VisitFields(defaults, [all](std::string_view name, const auto& value) {
      all->push_back(FactsOf(name));
      all->back().by_default = &value;
    });
    return all;
  }();
  return facts;
}

bool Applies(Matters matters, const PointSpec& p) {
  switch (matters) {
    case Matters::kAlways:
      return true;
    case Matters::kNever:
      return false;
    case Matters::kLm:
      return p.mode == Mode::kLm;
    case Matters::kHeads:
      return HasAttentionHeads(p);
    case Matters::kZipf:
      return p.tokens == Tokens::kZipf;
    case Matters::kNegbin:
      return p.tokens == Tokens::kNegbin;
    case Matters::kVectors:
      return p.tokens == Tokens::kVectors;
    case Matters::kDrawn:
      return p.file_hash.empty();
    case Matters::kSgd:
      return p.optimizer == Optimizer::kSgd;
    case Matters::kCosine:
      return p.schedule == Schedule::kCosine;
    case Matters::kEpochs:
      return p.epochs > 0;
    case Matters::kSteps:
      return p.steps > 0;
    case Matters::kPinned:
      return !p.backend.empty();
  }
  return true;
}

class Checks {
 public:
  void Range(std::string_view field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      Fail(field, StrCat(value, " is out of range; use a whole number from ", low, " to ", high));
    }
  }
  // `what` says what the value is not, and the fix. With `open_end` the upper limit itself is out.
  void Real(std::string_view field, double value, double low, double high, bool open_end, std::string_view what) {
    if (!std::isfinite(value) || value < low || value > high || (open_end && value == high)) {
      Fail(field, StrCat(ValueText(value), " is not ", what));
    }
  }
  void Fail(std::string_view field, std::string_view message) { errors_.push_back(StrCat(field, ": ", message)); }
  absl::Status status() const {
    if (errors_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(StrJoin(errors_, "\n"));
  }

 private:
  std::vector<std::string> errors_;
};

constexpr int64_t kMaxSeed = int64_t{1} << 53;  // exact in every JSON reader

void CheckTask(const PointSpec& p, Checks& checks) {
  checks.Range("vocab", p.vocab, 2, 1'000'000);
  checks.Range("seq_len", p.seq_len, 1, 65'536);
  checks.Range("dataset_size", p.dataset_size, 1, 100'000'000);
  const double bits = static_cast<double>(p.seq_len) * std::log2(static_cast<double>(p.vocab));
  const double wanted = std::log2(4.0 * static_cast<double>(p.dataset_size));
  const bool drawn = p.tokens != Tokens::kVectors && p.file.empty();
  if (drawn && p.vocab >= 2 && p.seq_len >= 1 && p.dataset_size >= 1 && bits < wanted - 1e-9) {
    checks.Fail("dataset_size",
                StrCat(p.dataset_size, " is too large for ", p.vocab, "^", p.seq_len, " = ",
                       static_cast<int64_t>(std::llround(std::exp2(bits))),
                       " different sequences; use at most a quarter of them, or a larger vocab or seq_len"));
  }
  if (drawn && p.mode == Mode::kLm && p.lm_targets == LmTargets::kDetermined) {
    const double prefix_bits = static_cast<double>(p.seq_len - 1) * std::log2(static_cast<double>(p.vocab));
    if (prefix_bits < std::log2(static_cast<double>(p.dataset_size)) - 1e-9) {
      checks.Fail("seq_len",
                  StrCat(p.seq_len, " is too short for mode lm: ", p.dataset_size, " prefixes of ", p.seq_len - 1,
                         " tokens cannot all differ; use a longer seq_len, a larger "
                         "vocab or lm_targets: all"));
    }
  }
}

// Which combinations of model fields exist. Ranges of single fields come first, so that messages name the simplest
// cause.
void CheckModel(const PointSpec& p, Checks& checks) {
  checks.Range("mlp_width", p.mlp_width, 0, 1'000'000);
  checks.Real("dropout", p.dropout, 0, 1, /*open_end=*/true, "a probability; use a number from 0 to below 1");
  const std::string_view family = ToWord(p.family);
  const auto need = [&](bool good, std::string_view field, std::string_view what) {
    if (!good) checks.Fail(field, StrCat("family ", family, " ", what));
  };
  const bool attends = HasAttentionHeads(p);
  need(attends || p.dropout == 0, "dropout", "has no dropout; use 0");
  need(attends || !p.freeze_mlp, "freeze_mlp", "has no MLP beside others that could stay frozen; use false");
  need(attends || p.activation != Activation::kSoftmax, "activation", "has no softmax activation; use gelu or relu");
  need(p.family == Family::kXt || p.positions != Positions::kRotary, "positions", "has no rotary positions");
  if (p.family == Family::kGpt2) {
    need(p.positions == Positions::kAbsolute, "positions", "has absolute positions; leave it out");
    need(p.heads * p.head_dim == p.width, "head_dim",
         StrCat("needs heads * head_dim = width, not ", p.heads, " * ", p.head_dim, " = ", p.heads * p.head_dim,
                "; use head_dim: split"));
  }
  if (p.family == Family::kMlp) {
    need(p.layers == 1, "layers", "has one hidden layer; use 1 and set mlp_width");
    need(p.mode != Mode::kLm, "mode", "sees all positions at once and cannot train lm; use label or seq");
    need(p.positions == Positions::kAbsolute, "positions", "knows positions by concatenation; leave it out");
  }
  need(p.family != Family::kKs || p.mode == Mode::kLabel, "mode", "reads one position; use label");
  if (p.positions == Positions::kRotary && p.head_dim % 2 != 0) {
    checks.Fail("head_dim", StrCat(p.head_dim, " is odd, but rotary positions turn pairs; use an even number"));
  }
}

void CheckData(const PointSpec& p, Checks& checks) {
  checks.Real("zipf_s", p.zipf_s, 0, 10, false, "an exponent; use a number from 0 to 10");
  checks.Real("negbin_r", p.negbin_r, 1e-6, 1e6, false, "a size; use a number from 1e-6 to 1e6");
  checks.Real("negbin_p", p.negbin_p, 1e-6, 1, true, "a probability; use a number from 1e-6 to below 1");
  checks.Range("vector_dim", p.vector_dim, 1, 4'096);
  checks.Range("heldout_size", p.heldout_size, 0, 100'000'000);
  if (p.tokens == Tokens::kVectors) {
    if (p.family != Family::kKs && p.family != Family::kMlp) {
      checks.Fail("tokens", StrCat("family ", ToWord(p.family), " takes no vectors; use family ks or mlp"));
    }
    if (p.mode != Mode::kLabel) checks.Fail("tokens", "vectors have labels only; use mode label");
  }
  if (!p.file.empty() && p.tokens != Tokens::kUniform) {
    checks.Fail("tokens", "a file brings its own tokens; leave tokens out");
  }
  const bool hex = p.file_hash.size() == 64 && p.file_hash.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!p.file_hash.empty() && !hex) checks.Fail("file_hash", "is not a SHA-256 in lower-case hex; leave it out");
  if (p.file.empty() != p.file_hash.empty()) checks.Fail("file", "file and file_hash belong together");
}

void CheckRecipe(const PointSpec& p, Checks& checks) {
  checks.Real("warmup", p.warmup, 0, 1, true, "a fraction of the budget; use a number from 0 to below 1");
  checks.Real("momentum", p.momentum, 0, 1, true, "a momentum; use a number from 0 to below 1");
  checks.Real("weight_decay", p.weight_decay, 0, 1000, false, "a decay; use a number from 0 to 1000");
  checks.Real("clip_norm", p.clip_norm, 0, 1e9, false, "a norm; use a number above 0, or 0 for no clipping");
  if (p.optimizer == Optimizer::kAdam && p.weight_decay != 0) {
    checks.Fail("weight_decay", "adam has none; use optimizer adamw");
  }
  if (p.loss == Loss::kMse && (p.mode != Mode::kLabel || p.vocab != 2)) {
    checks.Fail("loss", "mse is for labels of -1 and 1; use mode label and vocab 2");
  }
  if (p.loss == Loss::kMse && p.family != Family::kKs && p.family != Family::kMlp) {
    checks.Fail("loss", StrCat("family ", ToWord(p.family), " has cross_entropy only; use family ks or mlp"));
  }
}

void CheckTrain(const PointSpec& p, Checks& checks) {
  if (!std::isfinite(p.lr) || p.lr <= 0 || p.lr > 100) {
    checks.Fail("lr", StrCat(ValueText(p.lr), " is not a learning rate; use a number above 0 and at most 100"));
  }
  if (!std::isfinite(p.lr_final) || p.lr_final < 0 || p.lr_final > 1) {
    checks.Fail("lr_final", StrCat(ValueText(p.lr_final), " is not a fraction; use a number from 0 to 1"));
  }
  checks.Range("batch_size", p.batch_size, 1, 1'000'000);
  checks.Range("eval_every", p.eval_every, 1, 1'000'000'000);
  checks.Range("patience", p.patience, 0, 1'000'000'000);
  if (p.epochs != 0 && p.steps != 0) {
    checks.Fail("epochs", StrCat(p.epochs, " and steps: ", p.steps, " are both given; keep one of the two"));
  } else if (p.epochs == 0 && p.steps == 0) {
    checks.Fail("steps", "neither steps nor epochs is given; give one of the two");
  } else if (p.epochs != 0) {
    checks.Range("epochs", p.epochs, 1, 100'000'000);
  } else {
    checks.Range("steps", p.steps, 1, 10'000'000'000);
  }
  for (auto [name, seed] : {std::pair("data_seed", p.data_seed), std::pair("init_seed", p.init_seed)}) {
    if (seed > static_cast<uint64_t>(kMaxSeed)) checks.Fail(name, StrCat(seed, " is above 2^53"));
  }
  if (const std::string_view field = TorchOnlyField(p); (p.backend == "cpu" || p.backend == "cuda") && !field.empty()) {
    checks.Fail("backend", StrCat(p.backend, " does not serve this ", field, "; use torch, or leave backend out"));
  }
  if (!p.backend.empty() && p.backend != "torch" && p.backend != "cpu" && p.backend != "cuda") {
    checks.Fail("backend", StrCat("'", p.backend, "' is unknown; use torch, cpu or cuda, or leave it out"));
  }
}

}  // namespace

std::string_view ToWord(Mode v) {
  return kModes.Of(v);
}
std::string_view ToWord(LmTargets v) {
  return kLmTargets.Of(v);
}
std::string_view ToWord(Family v) {
  return kFamilies.Of(v);
}
std::string_view ToWord(Activation v) {
  return kActivations.Of(v);
}
std::string_view ToWord(Positions v) {
  return kPositions.Of(v);
}
std::string_view ToWord(Tokens v) {
  return kTokens.Of(v);
}
std::string_view ToWord(Loss v) {
  return kLosses.Of(v);
}
std::string_view ToWord(Optimizer v) {
  return kOptimizers.Of(v);
}
std::string_view ToWord(Schedule v) {
  return kSchedules.Of(v);
}
bool FromWord(std::string_view word, Mode& out) {
  return kModes.Find(word, out);
}
bool FromWord(std::string_view word, LmTargets& out) {
  return kLmTargets.Find(word, out);
}
bool FromWord(std::string_view word, Family& out) {
  return kFamilies.Find(word, out);
}
bool FromWord(std::string_view word, Activation& out) {
  return kActivations.Find(word, out);
}
bool FromWord(std::string_view word, Positions& out) {
  return kPositions.Find(word, out);
}
bool FromWord(std::string_view word, Tokens& out) {
  return kTokens.Find(word, out);
}
bool FromWord(std::string_view word, Loss& out) {
  return kLosses.Find(word, out);
}
bool FromWord(std::string_view word, Optimizer& out) {
  return kOptimizers.Find(word, out);
}
bool FromWord(std::string_view word, Schedule& out) {
  return kSchedules.Find(word, out);
}

std::string CanonicalText(const PointSpec& point) {
  std::string text;
  text.reserve(512);
  const std::vector<FieldFacts>& facts = AllFacts();
  const uint64_t left_out = LaterDefaults(point);
  size_t place = 0;
  VisitFields(point, [&](std::string_view name, const auto& value) {
    const bool written = (left_out >> place & 1) == 0 && Applies(facts[place].matters, point);
    if (written) StrAppend(&text, name, "=", ValueText(value), "\n");
    ++place;
  });
  return text;
}

std::string PointKey(const PointSpec& point) {
  return Sha256Hex(CanonicalText(point)).substr(0, 32);
}

uint64_t KeyPrefix(std::string_view point_key) {
  uint64_t prefix = 0;
  const std::string_view head = point_key.substr(0, 16);
  std::from_chars(head.data(), head.data() + head.size(), prefix, 16);
  return prefix;
}

uint64_t LaterDefaults(const PointSpec& point) {
  const std::vector<FieldFacts>& facts = AllFacts();
  uint64_t defaults = 0;
  size_t place = 0;
  VisitFields(point, [&](std::string_view, const auto& value) {
    const FieldFacts& field = facts[place];
    if (field.later && value == *static_cast<const std::decay_t<decltype(value)>*>(field.by_default)) {
      defaults |= uint64_t{1} << place;
    }
    ++place;
  });
  return defaults;
}

int64_t MlpWidth(const PointSpec& p) {
  return p.mlp_width > 0 ? p.mlp_width : 4 * p.width;
}

std::string_view TorchOnlyField(const PointSpec& p) {
  if (p.family != Family::kXt) return "family";
  if (MlpWidth(p) != 4 * p.width) return "mlp_width";
  if (p.activation != Activation::kGelu) return "activation";
  if (p.positions != Positions::kAbsolute) return "positions";
  if (p.dropout != 0) return "dropout";
  if (p.tokens == Tokens::kVectors) return "tokens";
  if (p.heldout_size != 0) return "heldout_size";
  if (p.optimizer != Optimizer::kAdam) return "optimizer";
  if (p.clip_norm != 0) return "clip_norm";
  if (p.loss != Loss::kCrossEntropy) return "loss";
  return "";
}

std::string ShapeKey(const PointSpec& p) {
  std::string key = StrCat(ToWord(p.family), "/", ToWord(p.mode));
  if (HasAttentionHeads(p)) {
    StrAppend(&key, "/l", p.layers, "/h", p.heads, "/d", p.head_dim);
  } else {
    StrAppend(&key, "/l", p.layers);
  }
  StrAppend(&key, "/w", p.width, "/n", p.seq_len, "/v", p.vocab, "/b", p.batch_size, "/", ToWord(p.optimizer), "/fp32",
            p.freeze_mlp ? "/frozen" : "");
  if (MlpWidth(p) != 4 * p.width) StrAppend(&key, "/m", p.mlp_width);
  if (p.activation != Activation::kGelu) StrAppend(&key, "/", ToWord(p.activation));
  if (p.positions != Positions::kAbsolute) StrAppend(&key, "/", ToWord(p.positions));
  if (p.tokens == Tokens::kVectors) StrAppend(&key, "/vectors", p.vector_dim);
  // Which back end serves a point is part of its shape: a pack has one.
  const std::string_view backend = TorchOnlyField(p).empty() ? std::string_view(p.backend) : "torch";
  if (!backend.empty()) StrAppend(&key, "/", backend);
  return key;
}

int64_t MaxTargets(const PointSpec& p) {
  return p.mode == Mode::kLabel ? 1 : p.seq_len;
}

int64_t StepsPerEpoch(const PointSpec& p) {
  return (p.dataset_size + p.batch_size - 1) / p.batch_size;
}

int64_t BudgetSteps(const PointSpec& p) {
  return p.steps > 0 ? p.steps : p.epochs * StepsPerEpoch(p);
}

absl::Status ValidatePoint(const PointSpec& p) {
  Checks checks;
  CheckTask(p, checks);
  checks.Range("layers", p.layers, 1, 256);
  checks.Range("heads", p.heads, 1, 1'024);
  checks.Range("head_dim", p.head_dim, 1, 4'096);
  checks.Range("width", p.width, 1, 65'536);
  CheckModel(p, checks);
  CheckData(p, checks);
  CheckTrain(p, checks);
  CheckRecipe(p, checks);
  return checks.status();
}

}  // namespace capsweep
