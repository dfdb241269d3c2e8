#include "common/sweep/fields.h"

#include <array>
#include <charconv>
#include <cmath>
#include <type_traits>
#include <utility>

#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr std::array<std::string_view, 3> kBackends = {"torch", "cpu", "cuda"};

std::string_view SectionOf(std::string_view name) {
  constexpr std::string_view kTask[] = {"mode", "vocab", "seq_len", "lm_targets"};
  constexpr std::string_view kModel[] = {"family",     "layers",    "heads",      "head_dim",  "width",
                                         "freeze_mlp", "mlp_width", "activation", "positions", "dropout"};
  constexpr std::string_view kData[] = {"dataset_size", "data_seed",  "tokens",       "zipf_s", "negbin_r",
                                        "negbin_p",     "vector_dim", "heldout_size", "file",   "file_hash"};
  for (const auto field : kTask) {
    if (name == field) return "task";
  }
  for (const auto field : kModel) {
    if (name == field) return "model";
  }
  for (const auto field : kData) {
    if (name == field) return "data";
  }
  return "train";
}

std::vector<std::string_view> WordsOf(Mode) {
  return {ToWord(Mode::kLabel), ToWord(Mode::kSeq), ToWord(Mode::kLm)};
}
std::vector<std::string_view> WordsOf(LmTargets) {
  return {ToWord(LmTargets::kDetermined), ToWord(LmTargets::kAll)};
}
std::vector<std::string_view> WordsOf(Family) {
  return {ToWord(Family::kXt), ToWord(Family::kGpt2), ToWord(Family::kMlp), ToWord(Family::kKs)};
}
std::vector<std::string_view> WordsOf(Activation) {
  return {ToWord(Activation::kGelu), ToWord(Activation::kRelu), ToWord(Activation::kSoftmax)};
}
std::vector<std::string_view> WordsOf(Positions) {
  return {ToWord(Positions::kAbsolute), ToWord(Positions::kNone), ToWord(Positions::kRotary)};
}
std::vector<std::string_view> WordsOf(Tokens) {
  return {ToWord(Tokens::kUniform), ToWord(Tokens::kZipf), ToWord(Tokens::kNegbin), ToWord(Tokens::kVectors)};
}
std::vector<std::string_view> WordsOf(Optimizer) {
  return {ToWord(Optimizer::kAdam), ToWord(Optimizer::kAdamw), ToWord(Optimizer::kSgd)};
}
std::vector<std::string_view> WordsOf(Loss) {
  return {ToWord(Loss::kCrossEntropy), ToWord(Loss::kMse)};
}
std::vector<std::string_view> WordsOf(Schedule) {
  return {ToWord(Schedule::kConstant), ToWord(Schedule::kCosine)};
}
std::vector<std::string_view> WordsOf(const std::string&) {
  return {kBackends.begin(), kBackends.end()};
}

std::vector<Field> MakeFields() {
  std::vector<Field> fields;
  PointSpec point;
  VisitFields(point, [&fields](std::string_view name, auto& value) {
    using T = std::decay_t<decltype(value)>;
    Field field{name, SectionOf(name)};
    if constexpr (std::is_same_v<T, bool>) {
      field.kind = FieldKind::kBool;
    } else if constexpr (std::is_same_v<T, double>) {
      field.kind = FieldKind::kReal;
    } else if constexpr (std::is_same_v<T, std::string>) {
      field.kind = name == "backend" ? FieldKind::kWord : FieldKind::kText;
      if (name == "backend") field.words = WordsOf(value);
    } else if constexpr (!std::is_integral_v<T>) {
      field.kind = FieldKind::kWord;
      field.words = WordsOf(value);
    }
    fields.push_back(std::move(field));
  });
  return fields;
}

template <class T>
void Assign(T& out, const Scalar& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out = std::get<bool>(value);
  } else if constexpr (std::is_same_v<T, double>) {
    const auto* whole = std::get_if<int64_t>(&value);
    out = whole != nullptr ? static_cast<double>(*whole) : std::get<double>(value);
  } else if constexpr (std::is_integral_v<T>) {
    if (const auto* number = std::get_if<int64_t>(&value)) {
      out = static_cast<T>(*number);
    }
  } else if constexpr (std::is_enum_v<T>) {
    FromWord(std::get<std::string>(value), out);
  } else {
    out = std::get<std::string>(value);
  }
}

template <class T>
double Number(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return static_cast<double>(value);  // the words of a field are listed in the order of its enum
  } else if constexpr (std::is_same_v<T, std::string>) {
    for (size_t i = 0; i < kBackends.size(); ++i) {
      if (kBackends[i] == value) return static_cast<double>(i);
    }
    return -1;
  } else {
    return static_cast<double>(value);
  }
}

// A point that every value of any one field leaves valid.
PointSpec HarmlessPoint(std::string_view changed) {
  PointSpec point;
  point.seq_len = 64;
  point.dataset_size = 1;
  if (changed == "weight_decay") point.optimizer = Optimizer::kAdamw;
  if (changed == "tokens" || changed == "loss") point.family = Family::kKs;
  if (changed == "loss") point.vocab = 2;
  if (changed == "file") point.file_hash = std::string(64, '0');
  if (changed == "file_hash") point.file = "file";
  (changed == "epochs" ? point.epochs : point.steps) = 1;
  return point;
}

}  // namespace

const std::vector<Field>& Fields() {
  static const std::vector<Field>& fields = *new std::vector<Field>(MakeFields());
  return fields;
}

int FieldId(std::string_view name) {
  const auto& fields = Fields();
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

void SetField(PointSpec& point, int id, const Scalar& value) {
  int i = 0;
  VisitFields(point, [&](std::string_view, auto& field) {
    if (i++ == id) Assign(field, value);
  });
}

double FieldNumber(const PointSpec& point, int id) {
  double number = 0;
  int i = 0;
  VisitFields(point, [&](std::string_view, const auto& field) {
    if (i++ == id) number = Number(field);
  });
  return number;
}

absl::Status CheckRange(int id, const Scalar& value) {
  const std::string_view name = Fields()[id].name;
  if (Fields()[id].kind == FieldKind::kInteger && name.ends_with("_seed") && std::get<int64_t>(value) < 0) {
    return absl::InvalidArgumentError(
        StrCat(std::get<int64_t>(value), " is negative; use a whole number from 0 to 2^53"));
  }
  if ((name == "epochs" || name == "steps") && std::get<int64_t>(value) == 0) {
    return absl::InvalidArgumentError("0 is out of range; use a whole number of at least 1");  // 0 means not given
  }
  PointSpec point = HarmlessPoint(name);
  SetField(point, id, value);
  const absl::Status status = ValidatePoint(point);
  if (status.ok()) {
    return status;
  }
  std::string message(status.message());
  const std::string prefix = StrCat(name, ": ");
  return absl::InvalidArgumentError(message.starts_with(prefix) ? message.substr(prefix.size()) : message);
}

std::string ScalarText(const Scalar& value) {
  return std::visit([](const auto& v) { return StrCat(v); }, value);
}

double RoundTo12Digits(double value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific, 11);
  double rounded = value;
  if (error == std::errc() && std::isfinite(value)) {
    std::from_chars(buffer, end, rounded);
  }
  return rounded;
}

}  // namespace capsweep::sweep
