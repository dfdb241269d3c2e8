// A library of the user's own. The first byte chooses format, mode and where the bytes are cut in two.
#include <algorithm>

#include "common/data_file.h"
#include "tests/fuzz/target.h"

using namespace capsweep;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const DataFormat format = (data[0] & 1) != 0 ? DataFormat::kJsonl : DataFormat::kCsv;
  const Mode mode = static_cast<Mode>((data[0] >> 1) % 3);
  const std::string_view bytes = fuzz::Text(data + 1, size - 1);
  const absl::StatusOr<DataFile> whole = ParseData(bytes, format, "fuzz");

  DataParser parser("fuzz", format);
  const size_t cut = std::min<size_t>(bytes.size(), data[0] >> 3);
  absl::Status fed = parser.Feed(bytes.substr(0, cut));
  if (fed.ok()) {
    fed = parser.Feed(bytes.substr(cut));
  }
  const absl::StatusOr<DataFile> pieces = fed.ok() ? parser.Finish() : absl::StatusOr<DataFile>(fed);
  fuzz::Require(whole.ok() == pieces.ok(), "pieces of a file read as the whole");
  if (!whole.ok()) {
    return 0;
  }
  fuzz::Require(whole->values == pieces->values, "pieces of a file read as the whole");
  fuzz::Require(static_cast<int64_t>(whole->values.size()) == whole->items * whole->columns, "every item is whole");
  (void)ShapeOf(*whole, mode);
  return 0;
}
