#include "coordinator/store/point_adder.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "common/cost_model.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/columns.h"
#include "coordinator/store/shapes.h"

namespace capsweep::store {
namespace {

constexpr int kFirstSpecParameter = 7;

// Batches on their way from the thread that makes points to the one that stores them.
class Batches {
 public:
  using Batch = std::vector<PreparedPoint>;
  static constexpr size_t kPoints = 256;

  // False: nobody takes any more.
  bool Put(Batch batch) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return batches_.size() < kWaiting || ended_; });
    if (ended_) {
      return false;
    }
    batches_.push_back(std::move(batch));
    changed_.notify_all();
    return true;
  }

  // Waits a moment for a batch; empty: none came. False after End.
  bool Take(Batch& batch) {
    std::unique_lock lock(mutex_);
    batch.clear();
    changed_.wait_for(lock, kMoment, [this] { return !batches_.empty() || ended_; });
    if (batches_.empty()) {
      return !ended_;
    }
    batch = std::move(batches_.front());
    batches_.pop_front();
    changed_.notify_all();
    return true;
  }

  // By either side: nothing more comes, or nothing more is wanted.
  void End() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

 private:
  static constexpr size_t kWaiting = 16;
  static constexpr std::chrono::milliseconds kMoment{10};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> batches_;  // guarded by mutex_
  bool ended_ = false;         // guarded by mutex_
};

absl::Status Produce(const Store::PointStream& points, Batches& batches) {
  Batches::Batch batch;
  const absl::Status status = points([&](const PointSpec& point) -> absl::Status {
    batch.push_back(PreparePoint(point));
    if (batch.size() < Batches::kPoints) {
      return absl::OkStatus();
    }
    return batches.Put(std::exchange(batch, {})) ? absl::OkStatus() : absl::CancelledError("not stored");
  });
  if (status.ok() && !batch.empty()) {
    batches.Put(std::move(batch));
  }
  batches.End();
  return status;
}

}  // namespace

PreparedPoint PreparePoint(const PointSpec& point) {
  return {point, PointKey(point), ShapeKey(point), EstimateSeconds(point), CountParams(point)};
}

absl::Status ForEachPrepared(const Store::PointStream& points,
                             const std::function<absl::Status(const PreparedPoint&)>& use,
                             const std::function<absl::Status()>& pause) {
  Batches batches;
  absl::Status produced, used;
  std::thread producer([&] { produced = Produce(points, batches); });
  for (Batches::Batch batch; used.ok() && batches.Take(batch);) {
    for (auto point = batch.begin(); point != batch.end() && used.ok(); ++point) {
      used = use(*point);
    }
    used = used.ok() ? pause() : used;
  }
  batches.End();
  producer.join();
  return used.ok() ? produced : used;
}

absl::StatusOr<bool> RemoveStaged(Database& db) {
  constexpr int64_t kAtOnce = 20'000;  // of a large submission; some tenths of a second
  ASSIGN_OR_RETURN(const int64_t linked, db.QueryInt("SELECT coalesce(MAX(point_id), 0) FROM sweep_points"));
  ASSIGN_OR_RETURN(const int64_t last, db.QueryInt("SELECT coalesce(MAX(point_id), 0) FROM points"));
  if (last <= linked) {
    return false;
  }
  // From the end, so that what is left still has the highest ids. A salvaged file may have lost the sweep of a point
  // that was trained: that one stays.
  RETURN_IF_ERROR(db.Execute(StrCat("DELETE FROM points WHERE point_id > ", std::max(linked, last - kAtOnce),
                                    " AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.point_id = points.point_id) "
                                    "AND NOT EXISTS (SELECT 1 FROM results r WHERE r.point_id = points.point_id)")));
  return db.Changes() > 0;
}

absl::StatusOr<PointAdder> PointAdder::Make(Database& db, int64_t sweep, ShapeNumbers& shapes, StoredSweep& out) {
  PointAdder adder(db, sweep, shapes, out);
  const std::string insert = StrCat(
      "INSERT INTO points (point_key, shape, cost_seconds, params_total, params_train, max_targets, ", SpecColumnList(),
      ") VALUES (", Parameters(1, kFirstSpecParameter - 1 + SpecColumnCount()), ") ON CONFLICT (point_key) DO NOTHING");
  const std::pair<std::optional<Statement>*, std::string> statements[] = {
      {&adder.insert_, insert},
      {&adder.find_,
       "SELECT point_id, EXISTS (SELECT 1 FROM sweep_points sp WHERE sp.sweep_id = ?2 AND sp.point_id = p.point_id) "
       "FROM points p WHERE point_key = ?1"},
      {&adder.read_, StrCat("SELECT point_key, state, failures, lost, shape, cost_seconds, coalesce((SELECT "
                            "MAX(attempt) FROM attempts a WHERE a.point_id = p.point_id), 0) "
                            "FROM points p WHERE point_id = ?1")},
      {&adder.link_, "INSERT INTO sweep_points (sweep_id, point_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING"},
      {&adder.link_fresh_,
       "INSERT INTO sweep_points (sweep_id, point_id) SELECT ?1, point_id FROM points WHERE point_id BETWEEN ?2 AND "
       "?3"},
      {&adder.reopen_, "UPDATE points SET state = 'pending', reason = '' WHERE point_id = ?1"},
      {&adder.sweeps_, "SELECT sweep_id FROM sweep_points WHERE point_id = ?1 ORDER BY sweep_id"},
  };
  for (const auto& [slot, sql] : statements) {
    ASSIGN_OR_RETURN(Statement statement, db.Prepare(sql));
    *slot = std::move(statement);
  }
  return adder;
}

absl::Status PointAdder::Add(const PreparedPoint& prepared) {
  ASSIGN_OR_RETURN(const bool fresh, Insert(prepared));
  return fresh ? AddFresh(prepared) : AddKnown(prepared);
}

absl::StatusOr<bool> PointAdder::Insert(const PreparedPoint& prepared) {
  insert_->Bind(1, prepared.key).Bind(2, prepared.shape).Bind(3, prepared.cost_seconds);
  insert_->Bind(4, prepared.params.total).Bind(5, prepared.params.train).Bind(6, MaxTargets(prepared.point));
  BindSpec(*insert_, kFirstSpecParameter, prepared.point);
  RETURN_IF_ERROR(insert_->Run());
  return db_->Changes() > 0;
}

absl::Status PointAdder::AddFresh(const PreparedPoint& prepared) {
  last_fresh_ = db_->LastRowId();
  first_fresh_ = first_fresh_ == 0 ? last_fresh_ : first_fresh_;
  core::PointRow row;
  row.point = PointId(last_fresh_);
  row.key_prefix = KeyPrefix(prepared.key);
  row.shape = shapes_->Number(prepared.shape);
  row.pack_lanes = shapes_->Lanes(row.shape);
  row.cost_seconds = static_cast<float>(prepared.cost_seconds);
  row.sweeps.emplace_back(sweep_);
  ++out_->new_points;
  ++out_->points;
  ++open_points_;
  out_->event.points.push_back(std::move(row));
  return absl::OkStatus();
}

absl::Status PointAdder::AddKnown(const PreparedPoint& prepared) {
  ++out_->known_points;
  find_->Bind(1, prepared.key).Bind(2, sweep_);
  ASSIGN_OR_RETURN(const bool found, find_->Step());
  if (!found) {
    return absl::DataLossError(StrCat("point ", prepared.key, " cannot be read back"));
  }
  core::PointRow row;
  row.point = PointId(find_->Int(0));
  const int64_t id = row.point.value();
  const bool linked = find_->Int(1) != 0;
  find_->Reset();
  if (linked || (id >= first_fresh_ && id <= last_fresh_)) {
    return absl::OkStatus();  // of this sweep already, or named twice by it
  }
  known_.push_back(out_->event.points.size());
  out_->event.points.push_back(std::move(row));
  return absl::OkStatus();
}

absl::Status PointAdder::Link() {
  if (first_fresh_ <= last_fresh_) {
    RETURN_IF_ERROR(link_fresh_->Bind(1, sweep_).Bind(2, first_fresh_).Bind(3, last_fresh_).Run());
  }
  for (const size_t place : known_) {
    RETURN_IF_ERROR(LinkKnown(out_->event.points[place]));
  }
  std::erase_if(out_->event.points, [](const core::PointRow& row) { return row.sweeps.empty(); });
  return absl::OkStatus();
}

// Read only now: a result may have come between Add and the transaction that makes the sweep.
absl::Status PointAdder::LinkKnown(core::PointRow& row) {
  const int64_t id = row.point.value();
  RETURN_IF_ERROR(link_->Bind(1, sweep_).Bind(2, id).Run());
  if (db_->Changes() == 0) {
    return absl::OkStatus();  // named twice; the row without sweeps is dropped
  }
  RETURN_IF_ERROR(Read(row));
  ++out_->points;
  out_->done_points += row.state == core::PointState::kDone ? 1 : 0;
  if (row.state == core::PointState::kCancelled) {
    RETURN_IF_ERROR(reopen_->Bind(1, id).Run());
    row.state = core::PointState::kPending;
  }
  open_points_ += row.state == core::PointState::kPending || row.state == core::PointState::kRunning ? 1 : 0;
  return ReadSweeps(row);
}

absl::Status PointAdder::Read(core::PointRow& row) {
  read_->Bind(1, row.point.value());
  ASSIGN_OR_RETURN(const bool found, read_->Step());
  if (!found || !core::FromWord(read_->Text(1), row.state)) {
    return absl::DataLossError(StrCat("point ", row.point.value(), " cannot be read back"));
  }
  row.key_prefix = KeyPrefix(read_->Text(0));
  row.failures = static_cast<uint16_t>(read_->Int(2));
  row.lost = static_cast<uint16_t>(read_->Int(3));
  row.shape = shapes_->Number(read_->Text(4));
  row.pack_lanes = shapes_->Lanes(row.shape);
  row.cost_seconds = static_cast<float>(read_->Real(5));
  row.last_attempt = static_cast<int32_t>(read_->Int(6));
  read_->Reset();
  return absl::OkStatus();
}

absl::Status PointAdder::ReadSweeps(core::PointRow& row) {
  sweeps_->Bind(1, row.point.value());
  while (true) {
    ASSIGN_OR_RETURN(const bool more, sweeps_->Step());
    if (!more) {
      break;
    }
    row.sweeps.emplace_back(sweeps_->Int(0));
  }
  sweeps_->Reset();
  return absl::OkStatus();
}

}  // namespace capsweep::store
