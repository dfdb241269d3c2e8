// Read-only access to a capsweep database: for the CLI straight from the file and for the coordinator's read verbs.
// A reader can never fail a write, and its SQL can never write.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"

namespace capsweep::store {

using Cell = std::variant<std::monostate, int64_t, double, std::string>;

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
  bool truncated = false;  // a limit cut the rows off
};

struct QueryLimits {
  int64_t max_rows = 1'000'000;
  int64_t max_bytes = 256 << 20;
  Duration max_time = std::chrono::seconds(30);
};

// One row of v_progress.
struct SweepProgress {
  std::string sweep, state, reason;
  int64_t points = 0, done = 0, failed = 0, running = 0, pending = 0;
  double rate_per_second = 0, eta_seconds = -1;
  int64_t architectures = 0, architectures_settled = 0;  // of a sweep that searches; 0 = not known, or no search
};

class Reader {
 public:
  // Same errors as Store::Open; never creates, never migrates (an older schema says how to migrate).
  static absl::StatusOr<std::unique_ptr<Reader>> Open(const std::string& path);
  ~Reader();

  // User SQL: exactly one statement that only reads, enforced by the connection (read-only), an authorizer (no ATTACH,
  // no PRAGMA writes, no load_extension) and limits. InvalidArgument with SQLite's message for bad SQL,
  // PermissionDenied for a statement that would write, DeadlineExceeded at max_time, truncated at max_rows/max_bytes.
  absl::StatusOr<Table> Query(const std::string& sql, const QueryLimits& limits = {});

  // v_results of one sweep ordered by point id, optionally `where` (an SQL expression over its columns).
  absl::StatusOr<Table> Results(const std::string& sweep, const std::string& where = "", int64_t after_point = 0,
                                const QueryLimits& limits = {});
  // v_progress; all sweeps if `sweep` is "". NotFound names the sweeps there are.
  absl::StatusOr<std::vector<SweepProgress>> Progress(const std::string& sweep = "");
  // v_cells of one sweep.
  absl::StatusOr<Table> Cells(const std::string& sweep, const QueryLimits& limits = {});
  absl::StatusOr<Table> Workers();  // v_workers
  // fits.fit_json of an id.
  absl::StatusOr<std::string> Fit(int64_t id);

 private:
  struct Impl;
  explicit Reader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace capsweep::store
