// The fields of PointSpec as the sweep file sees them: section, kind, words, and access by position.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/point.h"
#include "common/sweep/spec.h"

namespace capsweep::sweep {

enum class FieldKind { kInteger, kReal, kBool, kWord, kText };

struct Field {
  std::string_view name;
  std::string_view section;  // "task", "model", "data" or "train"
  FieldKind kind = FieldKind::kInteger;
  std::vector<std::string_view> words;  // of kWord: the values it may take; a word's number is its index here
};

// All fields in the order of VisitFields; a field's id is its index.
const std::vector<Field>& Fields();

// Id by name, or -1.
int FieldId(std::string_view name);

// The word that stands for width / heads in head_dim.
inline constexpr std::string_view kSplit = "split";

// Sets field `id`. Precondition: `value` has the type of the field (an int64_t also serves a real field). "split" sets
// nothing.
void SetField(PointSpec& point, int id, const Scalar& value);

// The field as a number for expressions: booleans 0 or 1, words their index in Field::words.
double FieldNumber(const PointSpec& point, int id);

// OK if the value is in the range of its field whatever the other fields are. The ranges are those of ValidatePoint,
// whose words the message has, without "FIELD: " in front.
absl::Status CheckRange(int id, const Scalar& value);

// As written in a sweep file: shortest form of numbers, true, false, words.
std::string ScalarText(const Scalar& value);

// Twelve significant digits: hides the last bits, in which mathematical libraries differ, from the point key.
double RoundTo12Digits(double value);

}  // namespace capsweep::sweep
