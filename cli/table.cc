#include "cli/table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "cli/console.h"
#include "common/json_text.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr size_t kFlushBytes = 1 << 16;

std::string_view IntegerText(int64_t value, std::array<char, 24>& space) {
  const auto end = std::to_chars(space.data(), space.data() + space.size(), value).ptr;
  return {space.data(), static_cast<size_t>(end - space.data())};
}

std::string_view RealText(double value, std::array<char, 40>& space) {
  const auto end = std::to_chars(space.data(), space.data() + space.size(), value).ptr;
  return {space.data(), static_cast<size_t>(end - space.data())};
}

void AppendJsonCell(std::string& out, const store::Cell& cell, bool boolean) {
  std::array<char, 24> integer_space;
  std::array<char, 40> real_space;
  if (const auto* integer = std::get_if<int64_t>(&cell)) {
    out += boolean && (*integer == 0 || *integer == 1) ? (*integer == 1 ? "true" : "false")
                                                       : IntegerText(*integer, integer_space);
  } else if (const auto* real = std::get_if<double>(&cell)) {
    out += std::isfinite(*real) ? RealText(*real, real_space) : "null";
  } else if (const auto* text = std::get_if<std::string>(&cell)) {
    AppendJsonText(out, *text);
  } else {
    out += "null";
  }
}

void AppendCsvField(std::string& out, std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    out += text;
    return;
  }
  out += '"';
  for (char c : text) {
    out += c;
    if (c == '"') {
      out += '"';
    }
  }
  out += '"';
}

void AppendCsvCell(std::string& out, const store::Cell& cell, bool boolean) {
  std::array<char, 24> integer_space;
  std::array<char, 40> real_space;
  if (const auto* integer = std::get_if<int64_t>(&cell)) {
    out += boolean && (*integer == 0 || *integer == 1) ? (*integer == 1 ? "true" : "false")
                                                       : IntegerText(*integer, integer_space);
  } else if (const auto* real = std::get_if<double>(&cell)) {
    out += RealText(*real, real_space);
  } else if (const auto* text = std::get_if<std::string>(&cell)) {
    AppendCsvField(out, *text);
  }
}

std::string TextCell(const store::Cell& cell, bool boolean) {
  if (const auto* integer = std::get_if<int64_t>(&cell)) {
    return boolean && (*integer == 0 || *integer == 1) ? (*integer == 1 ? "true" : "false") : StrCat(*integer);
  }
  if (const auto* real = std::get_if<double>(&cell)) {
    return FormatNumber(*real, 6);
  }
  if (const auto* text = std::get_if<std::string>(&cell)) {
    // A line break or tab inside a cell would break the alignment of all lines.
    std::string flat = *text;
    std::replace_if(
        flat.begin(), flat.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    return flat;
  }
  return "";
}

bool LooksNumeric(std::string_view text) {
  return text.empty() || text == "?" || text == "-" || text == "nan" || text == "inf" ||
         (text.find_first_of("0123456789") != std::string_view::npos &&
          text.find_first_not_of("0123456789.,+-e%: dh<>=~") == std::string_view::npos);
}

}  // namespace

absl::StatusOr<Format> FormatFromWord(std::string_view word) {
  if (word == "table") return Format::kTable;
  if (word == "csv") return Format::kCsv;
  if (word == "json") return Format::kJson;
  if (word == "jsonl") return Format::kJsonl;
  return absl::InvalidArgumentError(StrCat("--format ", word, ": unknown format; use table, csv, json or jsonl"));
}

bool IsBooleanColumn(std::string_view column) {
  return column == "freeze_mlp";
}

std::string JsonNumber(double value) {
  std::string out;
  AppendJsonCell(out, value, false);
  return out;
}

std::string JsonString(std::string_view text) {
  std::string out;
  AppendJsonText(out, text);
  return out;
}

std::string JsonCell(const store::Cell& cell, bool boolean) {
  std::string out;
  AppendJsonCell(out, cell, boolean);
  return out;
}

std::string TextOf(const store::Cell& cell) {
  const auto* text = std::get_if<std::string>(&cell);
  return text == nullptr ? "" : *text;
}
int64_t WholeOf(const store::Cell& cell) {
  const auto* whole = std::get_if<int64_t>(&cell);
  return whole == nullptr ? 0 : *whole;
}
double RealOf(const store::Cell& cell) {
  const auto* real = std::get_if<double>(&cell);
  return real == nullptr ? static_cast<double>(WholeOf(cell)) : *real;
}

std::string CsvField(std::string_view text) {
  std::string out;
  AppendCsvField(out, text);
  return out;
}

RowWriter::RowWriter(std::ostream& out, Format format, std::vector<std::string> columns)
    : out_(out), format_(format), wanted_(std::move(columns)) {}

void RowWriter::Header(const std::vector<std::string>& names) {
  if (!names_.empty()) {
    return;  // every page of a paged answer carries it
  }
  const auto show = [&](size_t index) {
    shown_.push_back(index);
    names_.push_back(names[index]);
    json_keys_.push_back(JsonString(names[index]) + ": ");
    boolean_.push_back(IsBooleanColumn(names[index]));
  };
  if (wanted_.empty()) {
    for (size_t i = 0; i < names.size(); ++i) {
      show(i);
    }
  }
  for (const std::string& name : wanted_) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) {
      show(static_cast<size_t>(found - names.begin()));
    }
  }
  kept_ = TextTable(names_);
  if (format_ == Format::kCsv) {
    for (size_t i = 0; i < names_.size(); ++i) {
      buffer_ += i == 0 ? "" : ",";
      AppendCsvField(buffer_, names_[i]);
    }
    buffer_ += '\n';
  }
}

void RowWriter::Row(const std::vector<store::Cell>& row) {
  switch (format_) {
    case Format::kTable:
      Keep(row);
      break;
    case Format::kCsv:
      AppendCsv(row);
      break;
    case Format::kJson:
      buffer_ += rows_ == 0 ? "[\n  " : ",\n  ";
      AppendJson(row);
      break;
    case Format::kJsonl:
      AppendJson(row);
      buffer_ += '\n';
      break;
  }
  ++rows_;
  if (buffer_.size() >= kFlushBytes) {
    Flush();
  }
}

void RowWriter::Finish() {
  if (format_ == Format::kJson) {
    buffer_ += rows_ == 0 ? "[]\n" : "\n]\n";
  }
  if (format_ == Format::kTable) {
    buffer_ += kept_.ToString();
  }
  Flush();
  out_.flush();
}

void RowWriter::Keep(const std::vector<store::Cell>& row) {
  std::vector<std::string> cells;
  cells.reserve(shown_.size());
  for (size_t i = 0; i < shown_.size(); ++i) {
    cells.push_back(TextCell(row[shown_[i]], boolean_[i]));
  }
  kept_.Add(std::move(cells));
}

void RowWriter::AppendCsv(const std::vector<store::Cell>& row) {
  for (size_t i = 0; i < shown_.size(); ++i) {
    buffer_ += i == 0 ? "" : ",";
    AppendCsvCell(buffer_, row[shown_[i]], boolean_[i]);
  }
  buffer_ += '\n';
}

void RowWriter::AppendJson(const std::vector<store::Cell>& row) {
  buffer_ += '{';
  for (size_t i = 0; i < shown_.size(); ++i) {
    buffer_ += i == 0 ? "" : ", ";
    buffer_ += json_keys_[i];
    AppendJsonCell(buffer_, row[shown_[i]], boolean_[i]);
  }
  buffer_ += '}';
}

void RowWriter::Flush() {
  out_.write(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  buffer_.clear();
}

void WriteTable(std::ostream& out, Format format, const store::Table& table, const std::vector<std::string>& columns) {
  RowWriter writer(out, format, columns);
  writer.Header(table.columns);
  for (const auto& row : table.rows) {
    writer.Row(row);
  }
  writer.Finish();
}

std::string TextTable::ToString(int indent) const {
  std::vector<int> width(header_.size(), 0);
  std::vector<bool> right(header_.size(), true);
  for (size_t c = 0; c < header_.size(); ++c) {
    width[c] = DisplayWidth(header_[c]);
    for (const auto& row : rows_) {
      width[c] = std::max(width[c], DisplayWidth(row[c]));
      right[c] = right[c] && LooksNumeric(row[c]);
    }
  }
  std::string text;
  const auto append = [&](const std::vector<std::string>& row) {
    std::string line(static_cast<size_t>(indent), ' ');
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string padding(static_cast<size_t>(width[c] - DisplayWidth(row[c])), ' ');
      StrAppend(&line, c == 0 ? "" : "  ", right[c] ? padding : "", row[c], right[c] ? "" : padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    StrAppend(&text, line, "\n");
  };
  append(header_);
  for (const auto& row : rows_) {
    append(row);
  }
  return text;
}

}  // namespace capsweep::cli
