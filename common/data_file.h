// A user's own library: the numbers of a .csv or .jsonl file. Reading and parsing are apart, and a file is parsed as it
// is read.
//
// .csv    One item a line, whole numbers separated by commas, all lines equally many; a first line that begins with a
//         letter, a quote or _ is a header. The mode splits an item: in label the last number is the label, in seq the
//         first half are tokens and the second half targets, in lm all are tokens.
// .jsonl  One item a line: a list, read as a line of .csv, or {"tokens": [...], "targets": [...]}, {"tokens": [...],
//         "label": 3}, {"tokens": [...]}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/point.h"

namespace capsweep {

inline constexpr int64_t kMaxDataFileBytes = int64_t{256} << 20;
inline constexpr int64_t kMaxDataLineBytes = int64_t{4} << 20;

enum class DataFormat { kCsv, kJsonl };

struct DataFile {
  std::string name;    // as messages call it: the path
  std::string sha256;  // of the bytes, lower-case hex
  int64_t items = 0;
  int64_t columns = 0;          // numbers of an item, inputs before targets
  int64_t inputs = 0;           // how many of them are inputs, where the file says so; 0: the mode decides
  int64_t first_line = 1;       // line of item 0, from 1; the others follow without gaps
  std::vector<int32_t> values;  // [items, columns], each from 0 to 999,999
};

// How the items read in a mode.
struct DataShape {
  int64_t items = 0;
  int64_t seq_len = 0;
  int64_t targets = 0;  // numbers after the inputs: 1 in label, seq_len in seq, 0 in lm
  int32_t largest = 0;  // token, label or target: vocab must be above it
};

// Takes a file's bytes in pieces of any size. Errors name file, line, field and fix; after one the parser is done.
class DataParser {
 public:
  DataParser(std::string name, DataFormat format);
  absl::Status Feed(std::string_view bytes);
  // The items, without sha256.
  absl::StatusOr<DataFile> Finish();

 private:
  absl::Status Line(std::string_view line);
  absl::Status CsvItem(std::string_view line);
  absl::Status JsonItem(std::string_view line);
  absl::Status EndItem(int64_t inputs);
  absl::Status Fail(int64_t line, std::string_view message) const;

  DataFormat format_;
  DataFile file_;
  std::string rest_;        // the line that has begun
  int64_t line_ = 0;        // lines seen
  int64_t blank_line_ = 0;  // the first of the blank lines that may end the file
};

// InvalidArgument for what is wrong inside; NotFound, InvalidArgument and others for a file that cannot be read:
// missing, a folder, larger than max_bytes (known before reading), or with another ending.
absl::StatusOr<DataFile> LoadDataFile(const std::string& path, int64_t max_bytes = kMaxDataFileBytes);

// All at once, without sha256.
absl::StatusOr<DataFile> ParseData(std::string_view bytes, DataFormat format, const std::string& name);

// InvalidArgument, naming file and line, if the items do not split as the mode needs, or if two items have equal
// inputs.
absl::StatusOr<DataShape> ShapeOf(const DataFile& file, Mode mode);

// OK if the file is the one that the point means and fits it: file_hash, seq_len, vocab, and at least dataset_size +
// heldout_size items. Else FailedPrecondition for the hash, InvalidArgument for the others.
absl::Status CheckDataFits(const DataFile& file, const PointSpec& point);
// The same with the file's shape in the point's mode, which takes long to work out.
absl::Status CheckDataFits(const DataFile& file, const DataShape& shape, const PointSpec& point);

}  // namespace capsweep
