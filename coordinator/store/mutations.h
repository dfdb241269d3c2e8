// Row changes as SQL. Internal to coordinator/store; used on the writer thread inside its transaction.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "coordinator/core/events.h"
#include "coordinator/store/db.h"

namespace capsweep::store {

// The prepared statements of one writing connection. Apply in the order given by the core.
class Mutations {
 public:
  static absl::StatusOr<Mutations> Prepare(Database& db);

  // The law of results: a point's first result stays. A later one is logged and kept as `late` in its attempt.
  absl::Status Apply(const core::Mutation& mutation, int64_t now_ms);

 private:
  explicit Mutations(sqlite3* db) : db_(db) {}

  absl::Status On(const core::AttemptStarted& m, int64_t now_ms);
  absl::Status On(const core::AttemptEnded& m, int64_t now_ms);
  absl::Status On(const core::ResultAccepted& m, int64_t now_ms);
  absl::Status On(const core::PointChanged& m, int64_t now_ms);
  absl::Status On(const core::CheckpointSaved& m, int64_t now_ms);
  absl::Status On(const core::SweepChanged& m, int64_t now_ms);
  absl::Status On(const core::WorkerChanged& m, int64_t now_ms);
  absl::Status On(const core::Audit& m, int64_t now_ms);
  absl::Status EndAttempt(core::AttemptRef id, core::AttemptOutcome outcome, std::string_view cause,
                          std::string_view message, const std::string* late_result, int64_t now_ms);
  absl::Status InsertCurve(const core::ResultAccepted& m);
  absl::StatusOr<const std::string*> HostOf(const std::string& worker);  // valid until the next mutation

  sqlite3* db_;  // not the Database: that moves
  std::vector<Statement> statements_;
  absl::flat_hash_map<std::string, std::string> hosts_;  // of workers, as the rows say
  bool any_checkpoints_ = true;                          // false: the table has been empty since it was opened
};

}  // namespace capsweep::store
