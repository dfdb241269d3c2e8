#include "common/sweep/scalars.h"

#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "common/status.h"
#include "common/sweep/errors.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr double kMaxWhole = 9007199254740992.0;  // 2^53: beyond it reals skip whole numbers

bool IsDigitAt(std::string_view text, size_t i) {
  return i < text.size() && absl::ascii_isdigit(text[i]);
}

// The number without its sign "+" and its underscores, or "" if the text is no number.
std::string PlainNumber(std::string_view text) {
  std::string plain;
  size_t digits = 0;
  bool has_point = false, has_exponent = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool at_start = i == 0 || text[i - 1] == 'e' || text[i - 1] == 'E';
    if (absl::ascii_isdigit(c)) {
      ++digits;
    } else if ((c == '+' || c == '-') && at_start) {
      if (c == '+') continue;
    } else if (c == '.' && !has_point && !has_exponent) {
      has_point = true;
    } else if ((c == 'e' || c == 'E') && !has_exponent && digits > 0) {
      has_exponent = true;
      digits = 0;
    } else if (c == '_' && i > 0 && IsDigitAt(text, i - 1) && IsDigitAt(text, i + 1)) {
      continue;
    } else {
      return "";
    }
    plain.push_back(c);
  }
  return digits > 0 ? plain : "";
}

bool HasLeadingZero(std::string_view plain) {
  const size_t start = plain.starts_with('-') ? 1 : 0;
  return plain.size() > start + 1 && plain[start] == '0' && IsDigitAt(plain, start + 1);
}

std::string WordList(const Field& field) {
  std::string list;
  for (const std::string_view word : field.words) StrAppend(&list, list.empty() ? "" : ", ", word);
  return list;
}

absl::StatusOr<Scalar> ReadWord(const Field& field, const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kScalar) {
    return Bad(Describe(node), " is not a word; use one of ", WordList(field));
  }
  for (const std::string_view word : field.words) {
    if (node.text == word) return Scalar(node.text);
  }
  const std::string_view near = Nearest(node.text, field.words);
  return Bad(Show(node.text), " is unknown; use one of ", WordList(field),
             near.empty() ? "" : StrCat(" (did you mean ", near, "?)"));
}

absl::StatusOr<Scalar> ReadBool(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar && !node.quoted) {
    if (node.text == "true" || node.text == "True" || node.text == "TRUE") return Scalar(true);
    if (node.text == "false" || node.text == "False" || node.text == "FALSE") return Scalar(false);
  }
  return Bad(Describe(node), " is neither true nor false; write true or false without quotes");
}

}  // namespace

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return Show(node.text);
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a mapping";
  }
  return "";
}

absl::StatusOr<double> ReadReal(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kScalar) {
    return Bad(Describe(node), " is not a number; write one number here");
  }
  const std::string plain = PlainNumber(node.text);
  const std::string lower = absl::AsciiStrToLower(node.text);
  if (lower == ".nan" || lower == "nan" || lower.ends_with("inf") || lower.ends_with("infinity")) {
    return Bad(node.text, " is not a finite number; write a number such as 0.003");
  }
  if (plain.empty()) {
    return Bad(Show(node.text), " is not a number; write digits such as 8 or 3.0e-3");
  }
  if (node.quoted) {
    return Bad(Show(node.text), " is text because of its quotes; write ", node.text, " without quotes");
  }
  if (HasLeadingZero(plain)) {
    return Bad(node.text, " starts with 0, which some YAML readers take for an octal number; write it without");
  }
  double value = 0;
  const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (error == std::errc::result_out_of_range) {
    return Bad(Show(node.text), " is too large or too small to be kept; use a number of ordinary size");
  }
  if (error != std::errc() || end != plain.data() + plain.size() || !std::isfinite(value)) {
    return Bad(Show(node.text), " is not a number; write digits such as 8 or 3.0e-3");
  }
  return value == 0 ? 0.0 : value;  // -0 is 0
}

absl::StatusOr<int64_t> ReadInteger(const YamlNode& node) {
  ASSIGN_OR_RETURN(const double value, ReadReal(node));
  if (value != std::floor(value)) {
    return Bad(node.text, " is not a whole number; write ", static_cast<int64_t>(std::floor(value)), " or ",
               static_cast<int64_t>(std::ceil(value)));
  }
  if (std::fabs(value) > kMaxWhole) {
    return Bad(node.text, " is out of range; use a whole number of ordinary size (at most 2^53)");
  }
  return static_cast<int64_t>(value);
}

absl::StatusOr<Scalar> ReadScalar(int field_id, const YamlNode& node) {
  const Field& field = Fields()[field_id];
  Scalar value;
  switch (field.kind) {
    case FieldKind::kWord:
      return ReadWord(field, node);
    case FieldKind::kBool:
      return ReadBool(node);
    case FieldKind::kText:
      if (node.kind != YamlNode::Kind::kScalar || node.text.empty()) {
        return Bad(Describe(node), " is not a text; write one");
      }
      return Scalar(node.text);
    case FieldKind::kInteger: {
      if (field.name == "head_dim" && node.kind == YamlNode::Kind::kScalar && node.text == kSplit) {
        return Scalar(std::string(kSplit));
      }
      absl::StatusOr<int64_t> whole = ReadInteger(node);
      if (!whole.ok() && field.name == "head_dim") {
        return Bad(whole.status().message(), ", or split for width / heads");
      }
      if (!whole.ok()) return whole.status();
      value = *whole;
      break;
    }
    case FieldKind::kReal: {
      ASSIGN_OR_RETURN(value, ReadReal(node));
      break;
    }
  }
  RETURN_IF_ERROR(CheckRange(field_id, value));
  return value;
}

}  // namespace capsweep::sweep
