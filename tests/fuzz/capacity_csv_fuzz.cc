// A CSV of capacities, and the fit of what was read.
#include "ecm/capacity.h"
#include "tests/fuzz/target.h"

using namespace capsweep;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<ecm::Group> group = ecm::ReadCapacityCsv(fuzz::Text(data, size), "fuzz.csv");
  if (!group.ok()) {
    fuzz::Require(group.status().message().find("fuzz.csv") != std::string_view::npos, "an error names the file");
  } else {
    for (const ecm::Row& row : group->rows) {
      fuzz::Require(row.heads >= 1 && row.width >= 1 && row.seq_len >= 1 && row.repeats >= 1, "a row is a model");
    }
  }
  return 0;
}
