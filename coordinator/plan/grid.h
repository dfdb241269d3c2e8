// (sweep) -> points wanted. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/sweep/spec.h"

namespace capsweep::plan {

// Size of the full product of axes and seeds, and of those of all studies, before `where`; saturates at INT64_MAX.
int64_t CountProduct(const SweepSpec& sweep);

// Calls visit(point) for every point that `where` lets through, in canonical order (axes as declared in VisitFields,
// last axis fastest, seeds innermost); then for those of the studies, in the order of the file, that did not come
// before. The whole grid is checked before the first visit, so a bad sweep visits nothing. Stops at the first error of
// visit and returns it. InvalidArgument, with every distinct error (at most 20) a line each: a product above
// limits.max_points (counted, not enumerated), a value of an expression that is not a finite number in range, a point
// that breaks ValidatePoint, two grid points with the same point_key (a repeated axis or seed that changes nothing),
// nothing left by `where`.
absl::Status EnumerateGrid(const SweepSpec& sweep, const std::function<absl::Status(const PointSpec&)>& visit);

// The same into a vector.
absl::StatusOr<std::vector<PointSpec>> EnumerateGrid(const SweepSpec& sweep);

// How many points the base grid ("") and each study ask for, and how many of them nothing before asked for. Errors as
// EnumerateGrid.
struct StudyCount {
  std::string name;
  int64_t points = 0, added = 0;
};
absl::StatusOr<std::vector<StudyCount>> CountStudies(const SweepSpec& sweep);

}  // namespace capsweep::plan
