#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ecm/capacity.h"
#include "ecm/table.h"

namespace capsweep::ecm {
namespace {

constexpr size_t kMostErrors = 50;
constexpr size_t kMostBytes = size_t{64} << 20;

struct Column {
  const char* name;
  bool required;
  bool whole;  // an integer of at least 1
  double minimum;
};
constexpr Column kColumns[] = {
    {"heads", true, true, 1},     {"width", true, true, 1},         {"seq_len", true, true, 1},
    {"capacity", true, false, 0}, {"dataset_size", false, true, 1}, {"capacity_sd", false, false, 0},
    {"repeats", false, true, 1},
};

struct Line {
  int number = 0;
  std::vector<std::string> fields;
};

// RFC 4180 with some tolerance: BOM, CRLF, blank lines, quoted fields, spaces around fields.
class CsvLines {
 public:
  CsvLines(std::string_view text, std::vector<std::string>& errors, const std::string& file)
      : text_(text), errors_(errors), file_(file) {
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") text_.remove_prefix(3);
  }

  bool Next(Line& line) {
    while (at_ < text_.size()) {
      line.number = number_;
      line.fields.clear();
      ReadLine(line);
      if (line.fields.size() > 1 || !line.fields[0].empty()) return true;
    }
    return false;
  }

 private:
  void ReadLine(Line& line) {
    std::string field;
    bool was_quoted = false;
    auto finish = [&] {
      line.fields.push_back(was_quoted ? field : std::string(absl::StripAsciiWhitespace(field)));
      field.clear();
      was_quoted = false;
    };
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"' && absl::StripAsciiWhitespace(field).empty() && !was_quoted) {
        field.clear();
        was_quoted = true;
        ReadQuoted(line.number, field);
      } else if (c == ',') {
        finish();
      } else if (c == '\n' || c == '\r') {
        if (c == '\r' && at_ < text_.size() && text_[at_] == '\n') ++at_;
        ++number_;
        finish();
        return;
      } else if (!was_quoted || !absl::ascii_isspace(static_cast<unsigned char>(c))) {
        field.push_back(c);
      }
    }
    finish();
  }

  void ReadQuoted(int start, std::string& field) {
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') {
        if (at_ >= text_.size() || text_[at_] != '"') return;
        ++at_;
      }
      if (c == '\n') ++number_;
      field.push_back(c);
    }
    errors_.push_back(absl::StrCat(file_, ":", start, ": a quoted field is not closed; add the missing \""));
  }

  std::string_view text_;
  std::vector<std::string>& errors_;
  const std::string& file_;
  size_t at_ = 0;
  int number_ = 1;
};

// "" or what is wrong with the value.
std::string ParseField(const Column& column, const std::string& text, double& value) {
  const std::string trimmed(absl::StripAsciiWhitespace(text));
  const std::string shown = absl::StrCat("'", trimmed.substr(0, 40), "'");
  std::string_view digits = trimmed;
  if (digits.empty()) return "is empty; give a number";
  if (digits.front() == '+') digits.remove_prefix(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return absl::StrCat(shown, " is not a number; write it like 16 or 1234.5");
  }
  if (!std::isfinite(value) || std::abs(value) > 1e15) {
    return absl::StrCat(shown, " is not a finite number of at most 1e15");
  }
  if (column.whole && (value != std::floor(value) || value < column.minimum)) {
    return absl::StrCat(shown, " must be a whole number of at least ", column.minimum);
  }
  if (value < column.minimum) return absl::StrCat(shown, " must be at least ", column.minimum);
  return "";
}

// Positions of kColumns in the header; −1 = absent.
std::vector<int> ReadHeader(const Line& line, const std::string& file, std::vector<std::string>& errors) {
  std::vector<int> positions(std::size(kColumns), -1);
  for (size_t f = 0; f < line.fields.size(); ++f) {
    const std::string name = absl::AsciiStrToLower(std::string(absl::StripAsciiWhitespace(line.fields[f])));
    bool known = false;
    for (size_t c = 0; c < std::size(kColumns); ++c) {
      if (name != kColumns[c].name) continue;
      known = true;
      if (positions[c] >= 0)
        errors.push_back(absl::StrCat(file, ":", line.number, ": ", name, ": stands twice; keep one"));
      positions[c] = static_cast<int>(f);
    }
    if (!known) {
      errors.push_back(absl::StrCat(file, ":", line.number, ": ", name.empty() ? "(no name)" : name,
                                    ": unknown column; known are heads, width, seq_len, capacity, dataset_size, "
                                    "capacity_sd, repeats"));
    }
  }
  for (size_t c = 0; c < std::size(kColumns); ++c) {
    if (kColumns[c].required && positions[c] < 0) {
      errors.push_back(absl::StrCat(file, ":", line.number, ": ", kColumns[c].name,
                                    ": column is missing; the header "
                                    "needs heads, width, seq_len and capacity"));
    }
  }
  return positions;
}

Sample ToSample(const std::vector<double>& values, const std::vector<int>& positions) {
  auto get = [&](size_t c, double otherwise) { return positions[c] >= 0 ? values[c] : otherwise; };
  Sample sample;
  sample.heads = values[0];
  sample.width = values[1];
  sample.seq_len = values[2];
  sample.capacity = values[3];
  sample.dataset_size = get(4, 0);
  sample.sd = get(5, -1);
  sample.repeats = static_cast<int>(std::min(get(6, 1), 1e9));
  // Without a count of items the capacity itself says how full the library was.
  sample.full = sample.dataset_size > 0 && sample.capacity >= kFullShare * sample.dataset_size;
  return sample;
}

}  // namespace

absl::StatusOr<Group> ReadCapacityCsv(std::string_view text, const std::string& file_name) {
  if (text.size() > kMostBytes) {
    return absl::InvalidArgumentError(absl::StrCat(file_name, ": larger than 64 MiB; is this the right file?"));
  }
  std::vector<std::string> errors;
  CsvLines lines(text, errors, file_name);
  Line line;
  if (!lines.Next(line)) {
    return absl::InvalidArgumentError(absl::StrCat(
        file_name, ":1: file is empty; the first line must name the columns heads,width,seq_len,capacity"));
  }
  const std::vector<int> positions = ReadHeader(line, file_name, errors);
  const size_t width = line.fields.size();
  std::vector<Sample> samples;
  while (errors.size() < kMostErrors && lines.Next(line)) {
    if (line.fields.size() != width) {
      errors.push_back(
          absl::StrCat(file_name, ":", line.number, ": has ", line.fields.size(), " fields, the header ", width));
      continue;
    }
    std::vector<double> values(std::size(kColumns), 0);
    const size_t errors_before = errors.size();
    for (size_t c = 0; c < std::size(kColumns); ++c) {
      if (positions[c] < 0) continue;
      const std::string wrong = ParseField(kColumns[c], line.fields[positions[c]], values[c]);
      if (!wrong.empty()) {
        errors.push_back(absl::StrCat(file_name, ":", line.number, ": ", kColumns[c].name, ": ", wrong));
      }
    }
    if (errors.size() == errors_before) samples.push_back(ToSample(values, positions));
  }
  if (errors.empty() && samples.empty()) {
    errors.push_back(absl::StrCat(file_name, ":1: no rows below the header"));
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
  return Group{.key = {}, .rows = MakeRows(samples)};
}

}  // namespace capsweep::ecm
