#include "coordinator/store/load.h"

#include <utility>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::store {
namespace {

absl::Status LoadSweeps(Database& db, std::vector<core::SweepRow>& sweeps) {
  ASSIGN_OR_RETURN(Statement rows, db.Prepare("SELECT sweep_id, name, state, priority, max_failures, attempts, measure "
                                              "FROM sweeps ORDER BY sweep_id"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return absl::OkStatus();
    }
    core::SweepRow sweep;
    sweep.sweep = SweepId(rows.Int(0));
    sweep.name = std::string(rows.Text(1));
    if (!core::FromWord(rows.Text(2), sweep.state)) {
      return absl::DataLossError(StrCat("sweep ", sweep.name, " has the unknown state '", rows.Text(2), "'"));
    }
    sweep.priority = static_cast<int32_t>(rows.Int(3));
    sweep.max_failures = rows.Int(4);
    sweep.attempts = rows.Int(5);
    sweep.searches = MeasureSearches(rows.Text(6));
    sweeps.push_back(std::move(sweep));
  }
}

absl::Status LoadPoints(Database& db, ShapeNumbers& shapes, std::vector<core::PointRow>& points) {
  ASSIGN_OR_RETURN(const int64_t count, db.QueryInt("SELECT COUNT(*) FROM points"));
  points.reserve(static_cast<size_t>(count));
  ASSIGN_OR_RETURN(Statement rows, db.Prepare("SELECT point_id, point_key, state, failures, lost, shape, cost_seconds "
                                              "FROM points ORDER BY point_id"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return absl::OkStatus();
    }
    core::PointRow point;
    point.point = PointId(rows.Int(0));
    point.key_prefix = KeyPrefix(rows.Text(1));
    if (!core::FromWord(rows.Text(2), point.state)) {
      return absl::DataLossError(StrCat("point ", rows.Text(1), " has the unknown state '", rows.Text(2), "'"));
    }
    point.failures = static_cast<uint16_t>(rows.Int(3));
    point.lost = static_cast<uint16_t>(rows.Int(4));
    point.shape = shapes.Number(rows.Text(5));
    point.pack_lanes = shapes.Lanes(point.shape);
    point.cost_seconds = static_cast<float>(rows.Real(6));
    points.push_back(std::move(point));
  }
}

// Rows of (point, …) in point order, merged with the points in the same order: no index, no lookups.
class Cursor {
 public:
  explicit Cursor(std::vector<core::PointRow>& points) : points_(points) {}
  core::PointRow* Seek(int64_t point) {
    while (next_ < points_.size() && points_[next_].point.value() < point) {
      ++next_;
    }
    return next_ < points_.size() && points_[next_].point.value() == point ? &points_[next_] : nullptr;
  }

 private:
  std::vector<core::PointRow>& points_;
  size_t next_ = 0;
};

absl::Status LoadMemberships(Database& db, core::Recovered& recovered) {
  for (const core::SweepRow& sweep : recovered.sweeps) {
    ASSIGN_OR_RETURN(Statement rows,
                     db.Prepare("SELECT point_id FROM sweep_points WHERE sweep_id = ?1 ORDER BY point_id"));
    rows.Bind(1, sweep.sweep.value());
    Cursor cursor(recovered.points);
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) {
        break;
      }
      if (core::PointRow* point = cursor.Seek(rows.Int(0)); point != nullptr) {
        point->sweeps.push_back(sweep.sweep);
      }
    }
  }
  return absl::OkStatus();
}

bool IsSettled(core::PointState state) {
  return state != core::PointState::kPending && state != core::PointState::kRunning;
}

absl::Status LoadAttempts(Database& db, core::Recovered& recovered) {
  // A point stored as running whose attempts have all ended is open again.
  for (core::PointRow& point : recovered.points) {
    if (point.state == core::PointState::kRunning) {
      point.state = core::PointState::kPending;
    }
  }
  ASSIGN_OR_RETURN(Statement rows,
                   db.Prepare("SELECT point_id, attempt, ended_ms IS NULL, worker, incarnation, device, "
                              "outcome = 'accepted' FROM attempts ORDER BY point_id, attempt"));
  Cursor cursor(recovered.points);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return absl::OkStatus();
    }
    core::PointRow* point = cursor.Seek(rows.Int(0));
    if (point == nullptr) {
      continue;
    }
    const AttemptNumber attempt(static_cast<int32_t>(rows.Int(1)));
    point->last_attempt = attempt.value();
    if (rows.Int(6) != 0) {
      point->accepted_attempt = attempt.value();
    }
    if (rows.Int(2) != 0 && !IsSettled(point->state)) {
      point->state = core::PointState::kRunning;
      recovered.running.push_back({{point->point, attempt},
                                   WorkerId(std::string(rows.Text(3))),
                                   Incarnation(std::string(rows.Text(4))),
                                   std::string(rows.Text(5))});
    }
  }
}

}  // namespace

absl::StatusOr<Loaded> LoadAll(Database& db, ShapeNumbers& shapes) {
  ASSIGN_OR_RETURN(const Transaction snapshot, Transaction::BeginRead(db));
  Loaded loaded;
  RETURN_IF_ERROR(LoadSweeps(db, loaded.recovered.sweeps));
  RETURN_IF_ERROR(LoadPoints(db, shapes, loaded.recovered.points));
  RETURN_IF_ERROR(LoadMemberships(db, loaded.recovered));
  RETURN_IF_ERROR(LoadAttempts(db, loaded.recovered));
  loaded.shapes = shapes.Texts();
  return loaded;
}

}  // namespace capsweep::store
