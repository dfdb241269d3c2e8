// (sweep) -> points wanted. Pure.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/sweep/spec.h"

namespace capsweep::plan {

// Size of the full product of axes and seeds, before `where`; saturates at INT64_MAX.
int64_t CountProduct(const SweepSpec& sweep);

// Calls visit(point) for every point that `where` lets through, in canonical order (axes as declared in VisitFields,
// last axis fastest, seeds innermost). The whole grid is checked before the first visit, so a bad sweep visits nothing.
// Stops at the first error of visit and returns it.
// InvalidArgument, with every distinct error (at most 20) a line each: a product above limits.max_points (counted, not
// enumerated), a value of an expression that is not a finite number in range, a point that breaks ValidatePoint,
// two grid points with the same point_key (a repeated axis or seed that changes nothing), nothing left by `where`.
absl::Status EnumerateGrid(const SweepSpec& sweep, const std::function<absl::Status(const PointSpec&)>& visit);

// The same into a vector.
absl::StatusOr<std::vector<PointSpec>> EnumerateGrid(const SweepSpec& sweep);

}  // namespace capsweep::plan
