// Points into the database, a million of them in seconds. Internal to coordinator/store.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/param_count.h"
#include "common/point.h"
#include "coordinator/store/db.h"
#include "coordinator/store/store.h"

namespace capsweep::store {

class ShapeNumbers;

// A point with all that follows from it alone.
struct PreparedPoint {
  PointSpec point;
  std::string key;
  std::string shape;
  double cost_seconds = 0;
  ParamCount params;
};
PreparedPoint PreparePoint(const PointSpec& point);

// Streams and prepares the points on another thread, while `use` has this one for SQLite. Ends with the first error of
// either; when it returns, the stream is over.
absl::Status ForEachPrepared(const Store::PointStream& points,
                             const std::function<absl::Status(const PreparedPoint&)>& use);

// Inserts the points of one sweep and notes in `out` what the core must hear. LinkFresh comes after the last Add, in
// the same transaction.
class PointAdder {
 public:
  static absl::StatusOr<PointAdder> Make(Database& db, int64_t sweep, ShapeNumbers& shapes, StoredSweep& out);

  absl::Status Add(const PreparedPoint& prepared);
  // Points that Add made are made part of the sweep here, in one statement.
  absl::Status LinkFresh();

  int64_t open_points() const { return open_points_; }

 private:
  PointAdder(Database& db, int64_t sweep, ShapeNumbers& shapes, StoredSweep& out)
      : db_(&db), sweep_(sweep), shapes_(&shapes), out_(&out) {}

  absl::StatusOr<bool> Insert(const PreparedPoint& prepared);  // false: it was there
  absl::Status AddFresh(const PreparedPoint& prepared);
  absl::Status AddKnown(const PreparedPoint& prepared);
  absl::Status Read(const std::string& key, core::PointRow& row);
  absl::Status ReadSweeps(core::PointRow& row);

  Database* db_;
  int64_t sweep_;
  ShapeNumbers* shapes_;
  StoredSweep* out_;
  int64_t open_points_ = 0;
  int64_t first_fresh_ = 0, last_fresh_ = -1;  // ids; without gaps, for nobody else writes meanwhile
  std::optional<Statement> insert_, find_, link_, link_fresh_, reopen_, sweeps_;
};

}  // namespace capsweep::store
