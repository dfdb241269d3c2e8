#include "common/point.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
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
constexpr Words<Family, 1> kFamilies{{{{Family::kXt, "xt"}}}};
constexpr Words<Optimizer, 1> kOptimizers{{{{Optimizer::kAdam, "adam"}}}};
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

// Whether a field can change the result of this point.
bool Matters(const PointSpec& p, std::string_view name) {
  if (name == "lm_targets") return p.mode == Mode::kLm;
  if (name == "lr_final") return p.schedule == Schedule::kCosine;
  if (name == "epochs") return p.epochs > 0;
  if (name == "steps") return p.steps > 0;
  if (name == "backend") return !p.backend.empty();
  return true;
}

class Checks {
 public:
  void Range(std::string_view field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      Fail(field, StrCat(value, " is out of range; use a whole number from ", low, " to ", high));
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
  if (p.vocab >= 2 && p.seq_len >= 1 && p.dataset_size >= 1 && bits < wanted - 1e-9) {
    checks.Fail("dataset_size",
                StrCat(p.dataset_size, " is too large for ", p.vocab, "^", p.seq_len, " = ",
                       static_cast<int64_t>(std::llround(std::exp2(bits))),
                       " different sequences; use at most a quarter of them, or a larger vocab or seq_len"));
  }
  if (p.mode == Mode::kLm && p.lm_targets == LmTargets::kDetermined) {
    const double prefix_bits = static_cast<double>(p.seq_len - 1) * std::log2(static_cast<double>(p.vocab));
    if (prefix_bits < std::log2(static_cast<double>(p.dataset_size)) - 1e-9) {
      checks.Fail("seq_len",
                  StrCat(p.seq_len, " is too short for mode lm: ", p.dataset_size, " prefixes of ", p.seq_len - 1,
                         " tokens cannot all differ; use a longer seq_len, a larger "
                         "vocab or lm_targets: all"));
    }
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
bool FromWord(std::string_view word, Optimizer& out) {
  return kOptimizers.Find(word, out);
}
bool FromWord(std::string_view word, Schedule& out) {
  return kSchedules.Find(word, out);
}

std::string CanonicalText(const PointSpec& point) {
  std::string text;
  text.reserve(320);
  VisitFields(point, [&](std::string_view name, const auto& value) {
    if (Matters(point, name)) StrAppend(&text, name, "=", ValueText(value), "\n");
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

std::string ShapeKey(const PointSpec& p) {
  return StrCat(ToWord(p.family), "/", ToWord(p.mode), "/l", p.layers, "/h", p.heads, "/d", p.head_dim, "/w", p.width,
                "/n", p.seq_len, "/v", p.vocab, "/b", p.batch_size, "/", ToWord(p.optimizer), "/fp32",
                p.freeze_mlp ? "/frozen" : "", p.backend.empty() ? "" : "/", p.backend);
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
  CheckTrain(p, checks);
  return checks.status();
}

}  // namespace capsweep
