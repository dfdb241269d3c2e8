// A sweep file: parsed or refused with a line, and what was parsed enumerates or is refused, without a crash.
#include "common/sweep/parse.h"
#include "coordinator/plan/grid.h"
#include "tests/fuzz/target.h"

using namespace capsweep;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::StatusOr<SweepSpec> sweep = ParseSweep(fuzz::Text(data, size), "fuzz.yaml");
  if (!sweep.ok()) {
    fuzz::Require(sweep.status().message().find("fuzz.yaml") != std::string_view::npos, "an error names the file");
    return 0;
  }
  if (plan::CountProduct(*sweep) > 20'000) {
    return 0;
  }
  int64_t points = 0;
  (void)plan::EnumerateGrid(*sweep, [&points](const PointSpec& point) {
    fuzz::Require(ValidatePoint(point).ok(), "every point of a grid is valid");
    ++points;
    return absl::OkStatus();
  });
  fuzz::Require(points <= 20'000, "a grid has no more points than its product");
  return 0;
}
