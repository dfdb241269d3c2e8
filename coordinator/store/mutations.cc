#include "coordinator/store/mutations.h"

#include <spdlog/spdlog.h>

#include <string>
#include <variant>

#include "common/fail_point.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/columns.h"

namespace capsweep::store {
namespace {

// Order of the statements in Mutations::statements_.
enum Sql : size_t {
  kStartAttempt,
  kPointRuns,
  kEndAttempt,
  kPointWaits,
  kAcceptResult,
  kPointDone,
  kAddEvaluation,
  kDropCheckpoint,
  kChangePoint,
  kSaveCheckpoint,
  kChangeSweep,
  kChangeWorker,
  kDropDevices,
  kAddDevice,
  kAddEvent,
  kFindHost,
  kSqlCount,
};

// Parameters of kAcceptResult before those of the result itself.
constexpr int kFirstResultParameter = 7;

std::string SqlText(Sql which) {
  switch (which) {
    case kStartAttempt:
      return "INSERT INTO attempts (point_id, attempt, worker, incarnation, device, started_ms) "
             "VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    case kPointRuns:
      return "UPDATE points SET state = 'running', reason = '' WHERE point_id = ?1 AND state = 'pending'";
    case kEndAttempt:
      return "UPDATE attempts SET ended_ms = ?3, outcome = ?4, cause = ?5, message = ?6, late_result = ?7 "
             "WHERE point_id = ?1 AND attempt = ?2";
    case kPointWaits:
      return "UPDATE points SET state = 'pending' WHERE point_id = ?1 AND state = 'running' AND NOT EXISTS "
             "(SELECT 1 FROM attempts a WHERE a.point_id = ?1 AND a.ended_ms IS NULL)";
    case kAcceptResult:
      return StrCat("INSERT INTO results (point_id, attempt, worker, host, device, accepted_ms, ", ResultColumnList(),
                    ") VALUES (?1, ?2, ?3, ?6, ?4, ?5, ", Parameters(kFirstResultParameter, ResultColumnCount()),
                    ") ON CONFLICT (point_id) DO NOTHING");
    case kPointDone:
      return "UPDATE points SET state = 'done', reason = '' WHERE point_id = ?1";
    case kAddEvaluation:
      return "INSERT OR REPLACE INTO curves (point_id, step, epoch, items_mem, tokens_mem, nll_bits, train_loss, "
             "heldout_loss) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    case kDropCheckpoint:
      return "DELETE FROM checkpoints WHERE point_id = ?1";
    case kChangePoint:
      return "UPDATE points SET state = ?2, failures = ?3, lost = ?4, reason = ?5 "
             "WHERE point_id = ?1 AND (?2 = 'done' OR state <> 'done')";
    case kSaveCheckpoint:
      return "INSERT OR REPLACE INTO checkpoints (point_id, attempt, backend, saved_ms, bytes) "
             "SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM results WHERE point_id = ?1)";
    case kChangeSweep:
      return "UPDATE sweeps SET state = ?2, reason = ?3, changed_ms = ?4 WHERE sweep_id = ?1";
    case kChangeWorker:
      return "INSERT INTO workers (worker, incarnation, host, version, state, reason, first_ms, changed_ms) "
             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (worker) DO UPDATE SET "
             "incarnation = ?2, host = ?3, version = ?4, state = ?5, reason = ?6, changed_ms = ?7";
    case kDropDevices:
      return "DELETE FROM devices WHERE worker = ?1";
    case kAddDevice:
      return "INSERT OR REPLACE INTO devices (worker, device, kind, memory_bytes, slots, ready, reason) "
             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    case kAddEvent:
      return "INSERT INTO events (at_ms, kind, subject, message) VALUES (?1, ?2, ?3, ?4)";
    case kFindHost:
      return "SELECT host FROM workers WHERE worker = ?1";
    case kSqlCount:
      break;
  }
  return "";
}

}  // namespace

absl::StatusOr<Mutations> Mutations::Prepare(Database& db) {
  Mutations mutations(db.handle());
  for (size_t i = 0; i < kSqlCount; ++i) {
    ASSIGN_OR_RETURN(Statement statement, db.Prepare(SqlText(static_cast<Sql>(i))));
    mutations.statements_.push_back(std::move(statement));
  }
  ASSIGN_OR_RETURN(const int64_t checkpoints, db.QueryInt("SELECT EXISTS (SELECT 1 FROM checkpoints)"));
  mutations.any_checkpoints_ = checkpoints != 0;
  return mutations;
}

absl::Status Mutations::Apply(const core::Mutation& mutation, int64_t now_ms) {
  return std::visit([&](const auto& m) { return On(m, now_ms); }, mutation);
}

absl::Status Mutations::On(const core::AttemptStarted& m, int64_t now_ms) {
  const int64_t point = m.id.point.value();
  RETURN_IF_ERROR(statements_[kStartAttempt]
                      .Bind(1, point)
                      .Bind(2, m.id.attempt.value())
                      .Bind(3, m.worker.value())
                      .Bind(4, m.incarnation.value())
                      .Bind(5, m.device)
                      .Bind(6, now_ms)
                      .Run());
  return statements_[kPointRuns].Bind(1, point).Run();
}

absl::Status Mutations::EndAttempt(core::AttemptRef id, core::AttemptOutcome outcome, std::string_view cause,
                                   std::string_view message, const std::string* late_result, int64_t now_ms) {
  Statement& end = statements_[kEndAttempt];
  end.Bind(1, id.point.value()).Bind(2, id.attempt.value()).Bind(3, now_ms).Bind(4, core::ToWord(outcome));
  end.Bind(5, cause).Bind(6, message);
  if (late_result == nullptr) {
    end.BindNull(7);
  } else {
    end.Bind(7, *late_result);
  }
  RETURN_IF_ERROR(end.Run());
  if (sqlite3_changes64(db_) == 0) {
    spdlog::warn("attempt {} of point {} ended ({}) but was never stored", id.attempt.value(), id.point.value(),
                 std::string(core::ToWord(outcome)));
  }
  return absl::OkStatus();
}

absl::Status Mutations::On(const core::AttemptEnded& m, int64_t now_ms) {
  const std::string late = m.result == nullptr ? "" : ResultToJson(*m.result);
  RETURN_IF_ERROR(EndAttempt(m.id, m.outcome, m.cause, m.message, m.result == nullptr ? nullptr : &late, now_ms));
  return statements_[kPointWaits].Bind(1, m.id.point.value()).Run();
}

absl::Status Mutations::InsertCurve(const core::ResultAccepted& m) {
  Statement& add = statements_[kAddEvaluation];
  for (const Evaluation& e : m.result->curve) {
    add.Bind(1, m.id.point.value()).Bind(2, e.step).Bind(3, e.epoch).Bind(4, e.items_mem).Bind(5, e.tokens_mem);
    RETURN_IF_ERROR(add.Bind(6, e.nll_bits).Bind(7, e.train_loss).Bind(8, e.heldout_loss).Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<const std::string*> Mutations::HostOf(const std::string& worker) {
  const auto known = hosts_.find(worker);
  if (known != hosts_.end()) {
    return &known->second;
  }
  Statement& find = statements_[kFindHost];
  find.Bind(1, worker);
  ASSIGN_OR_RETURN(const bool found, find.Step());
  std::string& host = hosts_[worker];
  host = found ? std::string(find.Text(0)) : "";
  find.Reset();
  return &host;
}

absl::Status Mutations::On(const core::ResultAccepted& m, int64_t now_ms) {
  const int64_t point = m.id.point.value();
  Statement& accept = statements_[kAcceptResult];
  ASSIGN_OR_RETURN(const std::string* const host, HostOf(m.worker.value()));
  accept.Bind(1, point).Bind(2, m.id.attempt.value()).Bind(3, m.worker.value()).Bind(4, m.device).Bind(5, now_ms);
  accept.Bind(6, *host);
  BindResult(accept, kFirstResultParameter, *m.result);
  RETURN_IF_ERROR(accept.Run());
  if (sqlite3_changes64(db_) == 0) {
    spdlog::error("point {} has a result already; that of attempt {} from {} is kept as late", point,
                  m.id.attempt.value(), m.worker.value());
    const std::string late = ResultToJson(*m.result);
    return EndAttempt(m.id, core::AttemptOutcome::kLate, "", "the point had a result already", &late, now_ms);
  }
  RETURN_IF_ERROR(Reach(FailPoint::kResultInserted));
  RETURN_IF_ERROR(InsertCurve(m));
  RETURN_IF_ERROR(Reach(FailPoint::kResultCurve));
  RETURN_IF_ERROR(EndAttempt(m.id, core::AttemptOutcome::kAccepted, "", "", nullptr, now_ms));
  RETURN_IF_ERROR(Reach(FailPoint::kResultEnded));
  RETURN_IF_ERROR(statements_[kPointDone].Bind(1, point).Run());
  RETURN_IF_ERROR(Reach(FailPoint::kResultDone));
  return any_checkpoints_ ? statements_[kDropCheckpoint].Bind(1, point).Run() : absl::OkStatus();
}

absl::Status Mutations::On(const core::PointChanged& m, int64_t) {
  return statements_[kChangePoint]
      .Bind(1, m.point.value())
      .Bind(2, core::ToWord(m.state))
      .Bind(3, m.failures)
      .Bind(4, m.lost)
      .Bind(5, m.reason)
      .Run();
}

absl::Status Mutations::On(const core::CheckpointSaved& m, int64_t now_ms) {
  if (m.checkpoint == nullptr) {
    return absl::OkStatus();
  }
  any_checkpoints_ = true;
  return statements_[kSaveCheckpoint]
      .Bind(1, m.id.point.value())
      .Bind(2, m.id.attempt.value())
      .Bind(3, m.checkpoint->backend)
      .Bind(4, now_ms)
      .BindBlob(5, m.checkpoint->bytes)
      .Run();
}

absl::Status Mutations::On(const core::SweepChanged& m, int64_t now_ms) {
  return statements_[kChangeSweep]
      .Bind(1, m.sweep.value())
      .Bind(2, core::ToWord(m.state))
      .Bind(3, m.reason)
      .Bind(4, now_ms)
      .Run();
}

absl::Status Mutations::On(const core::WorkerChanged& m, int64_t now_ms) {
  const std::string& worker = m.worker.value();
  hosts_.erase(worker);
  RETURN_IF_ERROR(statements_[kChangeWorker]
                      .Bind(1, worker)
                      .Bind(2, m.incarnation.value())
                      .Bind(3, m.host)
                      .Bind(4, m.version)
                      .Bind(5, core::ToWord(m.state))
                      .Bind(6, m.reason)
                      .Bind(7, now_ms)
                      .Run());
  RETURN_IF_ERROR(statements_[kDropDevices].Bind(1, worker).Run());
  for (const core::DeviceReport& d : m.devices) {
    Statement& add = statements_[kAddDevice];
    add.Bind(1, worker).Bind(2, d.name).Bind(3, d.kind).Bind(4, d.memory_bytes).Bind(5, d.slots);
    RETURN_IF_ERROR(add.Bind(6, d.ready).Bind(7, d.reason).Run());
  }
  return absl::OkStatus();
}

absl::Status Mutations::On(const core::Audit& m, int64_t now_ms) {
  return statements_[kAddEvent].Bind(1, now_ms).Bind(2, m.kind).Bind(3, m.subject).Bind(4, m.message).Run();
}

}  // namespace capsweep::store
