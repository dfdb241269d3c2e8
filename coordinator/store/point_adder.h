// Points into the database, a million of them in seconds. Internal to coordinator/store.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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
// any; when it returns, the stream is over. `pause` is called between points, also while none comes.
absl::Status ForEachPrepared(const Store::PointStream& points,
                             const std::function<absl::Status(const PreparedPoint&)>& use,
                             const std::function<absl::Status()>& pause);

// Points that belong to no sweep were left by a submission that was killed or failed: they have the highest ids, for
// submissions come one after the other. Removes some of them, in the caller's transaction. False: none is left.
absl::StatusOr<bool> RemoveStaged(Database& db);

// Inserts the points of one sweep and notes in `out` what the core must hear. After the last Add comes Link, in the
// transaction that makes the sweep; what Add wrote may be committed before.
class PointAdder {
 public:
  static absl::StatusOr<PointAdder> Make(Database& db, int64_t sweep, ShapeNumbers& shapes, StoredSweep& out);

  absl::Status Add(const PreparedPoint& prepared);
  // Makes all points part of the sweep, whose row must be there.
  absl::Status Link();

  int64_t open_points() const { return open_points_; }

 private:
  PointAdder(Database& db, int64_t sweep, ShapeNumbers& shapes, StoredSweep& out)
      : db_(&db), sweep_(sweep), shapes_(&shapes), out_(&out) {}

  absl::StatusOr<bool> Insert(const PreparedPoint& prepared);  // false: it was there
  absl::Status AddFresh(const PreparedPoint& prepared);
  absl::Status AddKnown(const PreparedPoint& prepared);
  absl::Status LinkKnown(core::PointRow& row);
  absl::Status Read(core::PointRow& row);
  absl::Status ReadSweeps(core::PointRow& row);

  Database* db_;
  int64_t sweep_;
  ShapeNumbers* shapes_;
  StoredSweep* out_;
  int64_t open_points_ = 0;
  int64_t first_fresh_ = 0, last_fresh_ = -1;  // ids; without gaps, for nobody else adds points meanwhile
  std::vector<size_t> known_;                  // places in the rows of `out` that Link completes
  std::optional<Statement> insert_, find_, read_, link_, link_fresh_, reopen_, sweeps_;
};

}  // namespace capsweep::store
