// Rows in the four formats of the command line: aligned text, CSV (RFC 4180 quoting), a JSON array, JSON lines.
#pragma once

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/store/reader.h"

namespace capsweep::cli {

enum class Format { kTable, kCsv, kJson, kJsonl };

// table | csv | json | jsonl.
absl::StatusOr<Format> FormatFromWord(std::string_view word);

// Columns that hold 0 or 1 in SQLite, where there is no boolean, and true or false everywhere else.
bool IsBooleanColumn(std::string_view column);

// Shortest text that reads back as the same double; "null" for what JSON cannot hold (NaN, infinities).
std::string JsonNumber(double value);
std::string JsonString(std::string_view text);
std::string JsonCell(const store::Cell& cell, bool boolean);

// What a cell holds; "" or 0 where it holds something else.
std::string TextOf(const store::Cell& cell);
int64_t WholeOf(const store::Cell& cell);
double RealOf(const store::Cell& cell);  // of a whole number too

// One field of a CSV line: quoted if it holds a comma, a quote or a line break.
std::string CsvField(std::string_view text);

// Text columns aligned for people; a column is right-aligned if all its cells are numbers (or empty). Long cells are
// not wrapped. `rows` hold text as shown.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // Lines end in \n; no trailing blanks. `indent` blanks stand in front of each.
  std::string ToString(int indent = 0) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// Writes a result set as its rows arrive, so that memory does not grow with it; only kTable keeps what it shows, to
// align it. Columns named in `columns` that the rows lack are left out; an empty list shows all.
class RowWriter {
 public:
  RowWriter(std::ostream& out, Format format, std::vector<std::string> columns = {});
  // `names` are the columns of every row given later.
  void Header(const std::vector<std::string>& names);
  void Row(const std::vector<store::Cell>& row);
  // Must be called once, after the last row (also when there was none).
  void Finish();
  int64_t rows() const { return rows_; }

 private:
  void Keep(const std::vector<store::Cell>& row);
  void AppendCsv(const std::vector<store::Cell>& row);
  void AppendJson(const std::vector<store::Cell>& row);
  void Flush();

  std::ostream& out_;
  const Format format_;
  const std::vector<std::string> wanted_;
  std::vector<std::string> names_;      // of the shown columns
  std::vector<std::string> json_keys_;  // `"name": `, parallel to names_
  std::vector<size_t> shown_;           // indexes into a row
  std::vector<bool> boolean_;           // parallel to names_
  TextTable kept_{{}};
  std::string buffer_;
  int64_t rows_ = 0;
};

// The whole table at once.
void WriteTable(std::ostream& out, Format format, const store::Table& table,
                const std::vector<std::string>& columns = {});

}  // namespace capsweep::cli
