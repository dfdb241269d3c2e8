// Submitting, extending and counting sweeps in SQL. Internal to coordinator/store.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/store/db.h"
#include "coordinator/store/store.h"

namespace capsweep::store {

// Gives shapes dense numbers, in the order they are first seen, the same for a whole process. Thread-safe.
class ShapeNumbers;

struct SubmitRequest {
  const SweepSpec& sweep;
  int32_t priority = 0;
  bool extend = false;
  const Store::PointStream& points;
  int64_t now_ms = 0;
  // Called between points: lets others write, in which case the caller's transaction is another one afterwards.
  std::function<absl::Status()> give_way;
};

// Store::AddSweep inside the caller's transactions. One submission at a time: nobody else adds points or sweeps.
absl::StatusOr<StoredSweep> AddSweepRows(Database& db, const SubmitRequest& request, ShapeNumbers& shapes);

// Store::ReadSearch; only reads.
absl::StatusOr<SearchInput> ReadSearchRows(Database& db, SweepId sweep);

// Store::AddProbes inside the caller's transaction.
absl::StatusOr<StoredSweep> AddProbeRows(Database& db, SweepId sweep, const std::vector<PointSpec>& points,
                                         const std::vector<SearchRow>& found, int64_t now_ms, ShapeNumbers& shapes);

// Store::CountSweep; only reads.
absl::StatusOr<Store::DryRun> CountSweepRows(Database& db, const Store::PointStream& points);

// "; the sweeps there are: a, b" or "; there is no sweep yet".
absl::StatusOr<std::string> NameSweeps(Database& db);

}  // namespace capsweep::store
