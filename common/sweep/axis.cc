#include "common/sweep/axis.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "common/status.h"
#include "common/sweep/errors.h"
#include "common/sweep/scalars.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr std::string_view kForms =
    "use a value, a list, {from, to, step}, {log2: [low, high]} or {geometric: {from, to, count}}";

const YamlNode* Find(const YamlNode& map, std::string_view name) {
  for (const auto& [key, node] : map.fields) {
    if (key == name) return &node;
  }
  return nullptr;
}

// The numbers of a mapping that must hold exactly `names`.
absl::StatusOr<std::vector<double>> ReadNumbers(std::string_view form, const YamlNode& map,
                                                const std::vector<std::string_view>& names) {
  if (map.kind != YamlNode::Kind::kMap) {
    return Bad(form, " must be a mapping, not ", Describe(map), "; ", kForms);
  }
  for (const auto& [key, node] : map.fields) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      const std::string_view near = Nearest(key, names);
      return Bad("unknown word ", Show(key), " in ", form, near.empty() ? "" : StrCat(", did you mean ", near, "?"),
                 "; ", kForms);
    }
  }
  std::vector<double> numbers;
  for (const std::string_view name : names) {
    const YamlNode* node = Find(map, name);
    if (node == nullptr) {
      return Bad(form, " lacks ", name, "; ", kForms);
    }
    absl::StatusOr<double> number = ReadReal(*node);
    if (!number.ok()) {
      return Bad(name, " ", number.status().message());
    }
    numbers.push_back(*number);
  }
  return numbers;
}

absl::Status TooMany(double count) {
  return Bad("the axis would have ", count, " values; at most ", kMaxAxisValues, " are allowed, use larger steps");
}

absl::StatusOr<std::vector<double>> ExpandRange(const YamlNode& node) {
  ASSIGN_OR_RETURN(const std::vector<double> numbers, ReadNumbers("{from, to, step}", node, {"from", "to", "step"}));
  const double from = numbers[0], to = numbers[1], step = numbers[2];
  if (step <= 0) {
    return Bad("step ", step, " must be above 0");
  }
  if (from > to) {
    return Bad("from ", from, " is above to ", to, ", so the axis is empty; swap the two");
  }
  // The slack lets 0.1 to 0.3 by 0.1 end at 0.3 although the sum of the three rounds above it.
  const double count = std::floor((to - from) / step + 1e-9) + 1;
  if (!(count <= static_cast<double>(kMaxAxisValues))) {
    return TooMany(count);
  }
  std::vector<double> values;
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    values.push_back(RoundTo12Digits(from + static_cast<double>(i) * step));
  }
  return values;
}

absl::StatusOr<std::vector<double>> ExpandLog2(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kList || node.items.size() != 2) {
    return Bad("log2 needs a list of two powers of two, as in {log2: [4, 64]}");
  }
  double bounds[2];
  for (size_t i = 0; i < 2; ++i) {
    ASSIGN_OR_RETURN(bounds[i], ReadReal(node.items[i]));
    int exponent = 0;
    if (bounds[i] <= 0 || std::frexp(bounds[i], &exponent) != 0.5) {
      return Bad("log2 bound ", bounds[i], " is not a power of two; use 1, 2, 4, 8, ...");
    }
  }
  if (bounds[0] > bounds[1]) {
    return Bad("log2 [", bounds[0], ", ", bounds[1], "] is empty; swap the two");
  }
  std::vector<double> values;  // at most 2100: reals have no more powers of two
  for (double value = bounds[0]; value <= bounds[1] && std::isfinite(value); value *= 2) {
    values.push_back(value);
  }
  return values;
}

absl::StatusOr<std::vector<double>> ExpandGeometric(const YamlNode& node, bool whole) {
  ASSIGN_OR_RETURN(const std::vector<double> numbers, ReadNumbers("geometric", node, {"from", "to", "count"}));
  const double from = numbers[0], to = numbers[1], count = numbers[2];
  if (from <= 0 || to <= 0) {
    return Bad("geometric runs from ", from, " to ", to, ", but both must be above 0");
  }
  if (count != std::floor(count) || count < 1) {
    return Bad("count ", count, " must be a whole number of at least 1");
  }
  if (count > static_cast<double>(kMaxAxisValues)) {
    return TooMany(count);
  }
  if (count == 1 && from != to) {
    return Bad("count 1 cannot reach from ", from, " to ", to, "; use a count of 2 or more");
  }
  std::vector<double> values;
  const double ratio = std::log(to / from);
  for (double i = 0; i < count; ++i) {
    const double value = i == 0           ? from
                         : i == count - 1 ? to
                                          : RoundTo12Digits(from * std::exp(ratio * i / (count - 1)));
    values.push_back(whole ? std::round(value) : value);
  }
  return values;
}

// The numbers of one of the generating forms.
absl::StatusOr<std::vector<double>> Expand(const YamlNode& map, bool whole) {
  if (map.fields.empty()) {
    return Bad("an empty mapping has no values; ", kForms);
  }
  const YamlNode* log2 = Find(map, "log2");
  const YamlNode* geometric = Find(map, "geometric");
  if ((log2 != nullptr || geometric != nullptr) && map.fields.size() > 1) {
    return Bad("one axis has one form; ", kForms);
  }
  if (log2 != nullptr) return ExpandLog2(*log2);
  if (geometric != nullptr) return ExpandGeometric(*geometric, whole);
  return ExpandRange(map);
}

absl::StatusOr<Scalar> ToScalar(double value, bool whole) {
  if (!whole) return Scalar(value);
  if (value != std::floor(value)) {
    return Bad(value, " is not a whole number; choose from and step so that all values are whole");
  }
  if (std::fabs(value) > 9007199254740992.0) {
    return Bad(value, " is out of range");
  }
  return Scalar(static_cast<int64_t>(value));
}

// Values with their lines, before the checks that concern all of them together.
class AxisReader {
 public:
  AxisReader(std::string_view name, Errors& errors) : name_(name), errors_(errors) {}

  // `read` types a node; `check` says whether a typed value is in range.
  template <class Read, class Check>
  bool ReadAll(const YamlNode& node, bool numeric, bool whole, Read read, Check check) {
    const size_t before = errors_.size();
    if (node.kind == YamlNode::Kind::kMap) {
      if (!numeric) {
        errors_.Add(node.line, name_, "only numbers can be generated; use a value or a list");
      } else {
        Generate(node, whole, check);
      }
    } else if (node.kind == YamlNode::Kind::kList) {
      if (node.items.empty()) {
        errors_.Add(node.line, name_, "an empty list has no values; give at least one");
      }
      for (const YamlNode& item : node.items) AddItem(item, read);
    } else if (node.kind == YamlNode::Kind::kNull) {
      errors_.Add(node.line, name_, "has no value; give one or leave the field out");
    } else {
      Add(node.line, read(node));
    }
    return errors_.size() == before;
  }

  std::vector<Scalar> TakeValues() { return std::move(values_); }

 private:
  template <class Read>
  void AddItem(const YamlNode& item, Read read) {
    if (item.kind == YamlNode::Kind::kScalar && absl::StripLeadingAsciiWhitespace(item.text).substr(0, 1) == "=") {
      errors_.Add(item.line, name_,
                  StrCat("the expression ", Show(item.text), " stands in a list; make it the only value of the field"));
    } else {
      Add(item.line, read(item));
    }
  }

  template <class Check>
  void Generate(const YamlNode& node, bool whole, Check check) {
    const absl::StatusOr<std::vector<double>> numbers = Expand(node, whole);
    if (!numbers.ok()) {
      errors_.Add(node.line, name_, numbers.status());
      return;
    }
    for (const double number : *numbers) {
      absl::StatusOr<Scalar> value = ToScalar(number, whole);
      if (const absl::Status range = value.ok() ? check(*value) : value.status(); !range.ok()) {
        errors_.Add(node.line, name_, range);
        return;  // the values after it are wrong for the same reason
      }
      Add(node.line, value, whole ? " after rounding to whole numbers" : "");
    }
  }

  void Add(int line, const absl::StatusOr<Scalar>& value, std::string_view hint = "") {
    if (!value.ok()) {
      errors_.Add(line, name_, value.status());
      return;
    }
    const int times = ++seen_[ScalarText(*value)];
    if (times == 2) {  // once per value is enough
      errors_.Add(line, name_, StrCat(ScalarText(*value), " occurs twice among the values", hint, "; keep one"));
    } else if (times == 1) {
      values_.push_back(*value);
    }
  }

  std::string_view name_;
  Errors& errors_;
  std::vector<Scalar> values_;
  absl::flat_hash_map<std::string, int> seen_;  // how often
};

}  // namespace

std::optional<Axis> ReadAxis(int field_id, const YamlNode& node, Errors& errors) {
  const Field& field = Fields()[field_id];
  Axis axis;
  axis.field = std::string(field.name);
  axis.line = node.line;
  if (node.kind == YamlNode::Kind::kScalar) {
    const std::string text(absl::StripAsciiWhitespace(node.text));
    if (text.starts_with('=')) {
      axis.expression = std::string(absl::StripAsciiWhitespace(text.substr(1)));
      if (axis.expression.empty()) {
        errors.Add(node.line, field.name, "nothing follows the \"=\"; write an expression such as \"=2 * width\"");
        return std::nullopt;
      }
      return axis;
    }
  }
  const bool whole = field.kind == FieldKind::kInteger;
  AxisReader reader(field.name, errors);
  if (!reader.ReadAll(
          node, whole || field.kind == FieldKind::kReal, whole,
          [field_id](const YamlNode& item) { return ReadScalar(field_id, item); },
          [field_id](const Scalar& value) { return CheckRange(field_id, value); })) {
    return std::nullopt;
  }
  axis.values = reader.TakeValues();
  return axis;
}

std::optional<std::vector<uint64_t>> ReadSeeds(const YamlNode& node, Errors& errors) {
  const auto check = [](const Scalar& value) { return CheckRange(FieldId("data_seed"), value); };
  const auto read = [](const YamlNode& item) { return ReadScalar(FieldId("data_seed"), item); };
  AxisReader reader("seeds", errors);
  if (!reader.ReadAll(node, true, true, read, check)) {
    return std::nullopt;
  }
  std::vector<uint64_t> seeds;
  for (const Scalar& value : reader.TakeValues()) seeds.push_back(static_cast<uint64_t>(std::get<int64_t>(value)));
  return seeds;
}

std::optional<int64_t> ReadWhole(std::string_view field, const YamlNode& node, int64_t low, int64_t high,
                                 Errors& errors) {
  const absl::StatusOr<int64_t> value = ReadInteger(node);
  if (!value.ok()) {
    errors.Add(node.line, field, value.status());
    return std::nullopt;
  }
  if (*value < low || *value > high) {
    errors.Add(node.line, field, StrCat(*value, " is out of range; use a whole number from ", low, " to ", high));
    return std::nullopt;
  }
  return *value;
}

}  // namespace capsweep::sweep
