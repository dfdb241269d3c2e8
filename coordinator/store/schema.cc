#include "coordinator/store/schema.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/inspect.h"

namespace capsweep::store {
namespace {

// Times are milliseconds since 1970-01-01 UTC. REAL columns may be NULL: SQLite has no NaN.
constexpr std::string_view kTables = R"sql(
CREATE TABLE store_info (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  database_id TEXT    NOT NULL,
  created_ms  INTEGER NOT NULL,
  generation  INTEGER NOT NULL,            -- grows with every coordinator that opens the file
  opened_ms   INTEGER NOT NULL,
  opened_by   TEXT    NOT NULL             -- version, host and pid of that coordinator
) STRICT;

CREATE TABLE sweeps (
  sweep_id     INTEGER PRIMARY KEY,
  name         TEXT    NOT NULL UNIQUE,
  state        TEXT    NOT NULL CHECK (state IN ('running', 'paused', 'cancelled', 'stopped', 'finished')),
  reason       TEXT    NOT NULL DEFAULT '',
  priority     INTEGER NOT NULL DEFAULT 0,
  max_failures INTEGER NOT NULL,
  attempts     INTEGER NOT NULL,
  measure      TEXT    NOT NULL,
  text         TEXT    NOT NULL,           -- the sweep file as last submitted or extended
  file_name    TEXT    NOT NULL,
  created_ms   INTEGER NOT NULL,
  changed_ms   INTEGER NOT NULL
) STRICT;

CREATE TABLE points (
  point_id      INTEGER PRIMARY KEY,
  point_key     TEXT    NOT NULL UNIQUE,
  state         TEXT    NOT NULL DEFAULT 'pending'
                CHECK (state IN ('pending', 'running', 'done', 'failed', 'cancelled')),
  failures      INTEGER NOT NULL DEFAULT 0,
  lost          INTEGER NOT NULL DEFAULT 0,
  reason        TEXT    NOT NULL DEFAULT '',
  shape         TEXT    NOT NULL,
  cost_seconds  REAL    NOT NULL,
  params_total  INTEGER NOT NULL,
  params_train  INTEGER NOT NULL,
  max_targets   INTEGER NOT NULL,
  mode          TEXT    NOT NULL,
  vocab         INTEGER NOT NULL,
  seq_len       INTEGER NOT NULL,
  lm_targets    TEXT    NOT NULL,
  family        TEXT    NOT NULL,
  layers        INTEGER NOT NULL,
  heads         INTEGER NOT NULL,
  head_dim      INTEGER NOT NULL,
  width         INTEGER NOT NULL,
  freeze_mlp    INTEGER NOT NULL,
  dataset_size  INTEGER NOT NULL,
  data_seed     INTEGER NOT NULL,
  optimizer     TEXT    NOT NULL,
  lr            REAL    NOT NULL,
  schedule      TEXT    NOT NULL,
  lr_final      REAL    NOT NULL,
  batch_size    INTEGER NOT NULL,
  budget_epochs INTEGER NOT NULL,          -- 0 = the budget is in steps
  budget_steps  INTEGER NOT NULL,          -- 0 = the budget is in epochs
  eval_every    INTEGER NOT NULL,
  patience      INTEGER NOT NULL,
  init_seed     INTEGER NOT NULL,
  backend       TEXT    NOT NULL           -- '' = any back end may train it
) STRICT;

CREATE TABLE sweep_points (
  sweep_id INTEGER NOT NULL REFERENCES sweeps,
  point_id INTEGER NOT NULL REFERENCES points,
  PRIMARY KEY (sweep_id, point_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sweep_points_by_point ON sweep_points (point_id);

CREATE TABLE attempts (
  point_id    INTEGER NOT NULL REFERENCES points,
  attempt     INTEGER NOT NULL,            -- the fencing token, from 1
  worker      TEXT    NOT NULL,
  incarnation TEXT    NOT NULL,
  device      TEXT    NOT NULL,
  started_ms  INTEGER NOT NULL,
  ended_ms    INTEGER,                     -- NULL while it runs
  outcome     TEXT CHECK (outcome IN ('accepted', 'late', 'failed', 'lost', 'handed_back', 'dropped')),
  cause       TEXT    NOT NULL DEFAULT '',
  message     TEXT    NOT NULL DEFAULT '',
  late_result TEXT,                        -- JSON of a result that came after the point had one
  PRIMARY KEY (point_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_running ON attempts (worker, device) WHERE ended_ms IS NULL;

CREATE TABLE results (
  point_id          INTEGER PRIMARY KEY REFERENCES points,
  attempt           INTEGER NOT NULL,
  worker            TEXT    NOT NULL,
  host              TEXT    NOT NULL,
  device            TEXT    NOT NULL,
  accepted_ms       INTEGER NOT NULL,
  point_key         TEXT    NOT NULL,
  items_mem         INTEGER NOT NULL,
  items_mem_best    INTEGER NOT NULL,
  tokens_mem        INTEGER NOT NULL,
  nll_bits          REAL,
  bits_mem          REAL,
  items_corr        REAL,
  targets           INTEGER NOT NULL,
  lm_first_target   INTEGER NOT NULL,
  redraws           INTEGER NOT NULL,
  train_loss        REAL,
  epochs            INTEGER NOT NULL,
  steps             INTEGER NOT NULL,
  presentations     INTEGER NOT NULL,
  stop_reason       TEXT    NOT NULL,
  params_total      INTEGER NOT NULL,
  params_train      INTEGER NOT NULL,
  backend           TEXT    NOT NULL,
  device_kind       TEXT    NOT NULL,
  device_name       TEXT    NOT NULL,
  version           TEXT    NOT NULL,
  torch_version     TEXT    NOT NULL,
  blas              TEXT    NOT NULL,
  threads           INTEGER NOT NULL,
  seconds           REAL,
  seconds_train     REAL,
  seconds_eval      REAL,
  resumed_from_step INTEGER NOT NULL
) STRICT;
CREATE INDEX results_by_time ON results (accepted_ms);

CREATE TABLE curves (
  point_id   INTEGER NOT NULL REFERENCES points,
  step       INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  items_mem  INTEGER NOT NULL,
  tokens_mem INTEGER NOT NULL,
  nll_bits   REAL,
  train_loss REAL,
  PRIMARY KEY (point_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
  point_id INTEGER PRIMARY KEY REFERENCES points,
  attempt  INTEGER NOT NULL,
  backend  TEXT    NOT NULL,
  saved_ms INTEGER NOT NULL,
  bytes    BLOB    NOT NULL
) STRICT;

CREATE TABLE workers (
  worker      TEXT    PRIMARY KEY,
  incarnation TEXT    NOT NULL,
  host        TEXT    NOT NULL,
  version     TEXT    NOT NULL,
  state       TEXT    NOT NULL CHECK (state IN ('idle', 'busy', 'draining', 'quarantined', 'lost')),
  reason      TEXT    NOT NULL,
  first_ms    INTEGER NOT NULL,
  changed_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
  worker       TEXT    NOT NULL REFERENCES workers,
  device       TEXT    NOT NULL,
  kind         TEXT    NOT NULL,
  memory_bytes INTEGER NOT NULL,
  slots        INTEGER NOT NULL,
  ready        INTEGER NOT NULL,
  reason       TEXT    NOT NULL,
  PRIMARY KEY (worker, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE allocations (
  allocation_id INTEGER PRIMARY KEY,
  kind          TEXT    NOT NULL,          -- what starts the workers: slurm, kubernetes, local
  external_id   TEXT    NOT NULL,          -- its name there, such as a job number
  state         TEXT    NOT NULL,
  settings_json TEXT    NOT NULL,
  reason        TEXT    NOT NULL,
  created_ms    INTEGER NOT NULL,
  ended_ms      INTEGER
) STRICT;

CREATE TABLE fits (
  fit_id        INTEGER PRIMARY KEY,
  sweep         TEXT    NOT NULL,          -- '' = fitted from a CSV file
  fit_json      TEXT    NOT NULL,
  settings_json TEXT    NOT NULL,
  version       TEXT    NOT NULL,
  created_ms    INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
  event_id INTEGER PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  subject  TEXT    NOT NULL,
  message  TEXT    NOT NULL
) STRICT;
)sql";

// Every step but the first begins with this; the last one ends with the views.
constexpr std::string_view kDropViews = R"sql(
DROP VIEW IF EXISTS v_minnet;
DROP VIEW IF EXISTS v_searches;
DROP VIEW IF EXISTS v_workers;
DROP VIEW IF EXISTS v_progress;
DROP VIEW IF EXISTS v_capacity;
DROP VIEW IF EXISTS v_cells;
DROP VIEW IF EXISTS v_results;
)sql";

// Version 2: more families, recipes and data, a library of one's own, held-out items.
constexpr std::string_view kRecipes = R"sql(
ALTER TABLE sweeps ADD COLUMN folder TEXT NOT NULL DEFAULT '';        -- of the sweep file; relative paths in it begin here
ALTER TABLE points ADD COLUMN mlp_width INTEGER NOT NULL DEFAULT 0;   -- 0 = 4 * width
ALTER TABLE points ADD COLUMN activation TEXT NOT NULL DEFAULT 'gelu';
ALTER TABLE points ADD COLUMN positions TEXT NOT NULL DEFAULT 'absolute';
ALTER TABLE points ADD COLUMN dropout REAL NOT NULL DEFAULT 0;
ALTER TABLE points ADD COLUMN tokens TEXT NOT NULL DEFAULT 'uniform';
ALTER TABLE points ADD COLUMN zipf_s REAL NOT NULL DEFAULT 1;
ALTER TABLE points ADD COLUMN negbin_r REAL NOT NULL DEFAULT 1;
ALTER TABLE points ADD COLUMN negbin_p REAL NOT NULL DEFAULT 0.5;
ALTER TABLE points ADD COLUMN vector_dim INTEGER NOT NULL DEFAULT 6;
ALTER TABLE points ADD COLUMN heldout_size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE points ADD COLUMN file TEXT NOT NULL DEFAULT '';          -- '' = the library is drawn
ALTER TABLE points ADD COLUMN file_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE points ADD COLUMN warmup REAL NOT NULL DEFAULT 0;
ALTER TABLE points ADD COLUMN momentum REAL NOT NULL DEFAULT 0.9;
ALTER TABLE points ADD COLUMN weight_decay REAL NOT NULL DEFAULT 0;
ALTER TABLE points ADD COLUMN clip_norm REAL NOT NULL DEFAULT 0;
ALTER TABLE points ADD COLUMN loss TEXT NOT NULL DEFAULT 'cross_entropy';
ALTER TABLE results ADD COLUMN heldout_loss REAL;                     -- NULL = not measured
ALTER TABLE results ADD COLUMN neighbour_mean REAL;
ALTER TABLE results ADD COLUMN neighbour_median REAL;
ALTER TABLE curves ADD COLUMN heldout_loss REAL;
)sql";

// Version 3: what searches have found so far. Worked out again from results at any time; kept for those who only read.
constexpr std::string_view kSearches = R"sql(
CREATE TABLE searches (
  sweep_id      INTEGER NOT NULL REFERENCES sweeps,
  cell          INTEGER NOT NULL,          -- number of the architecture in the order of the file
  point_id      INTEGER NOT NULL REFERENCES points,  -- a run of it; of a minnet that found a size, the run that showed it
  state         TEXT    NOT NULL CHECK (state IN ('searching', 'settled', 'stopped')),
  reason        TEXT    NOT NULL,
  probes        INTEGER NOT NULL,          -- runs that decided
  mac           REAL,                      -- NULL = not measured, or not yet
  mac_unsettled INTEGER,
  mls           REAL,
  size          INTEGER,                   -- of minnet: the smallest value of the searched field that memorized
  PRIMARY KEY (sweep_id, cell)
) STRICT, WITHOUT ROWID;
)sql";

// Version 4: the prediction of an adaptive sweep.
constexpr std::string_view kPredictions = R"sql(
ALTER TABLE searches ADD COLUMN target TEXT NOT NULL DEFAULT '';     -- what is predicted
ALTER TABLE searches ADD COLUMN rounds INTEGER NOT NULL DEFAULT 0;   -- that are over
ALTER TABLE searches ADD COLUMN seconds REAL;                        -- that their runs took
ALTER TABLE searches ADD COLUMN predicted REAL;                      -- items; NULL = no fit yet
ALTER TABLE searches ADD COLUMN low REAL;                            -- its 95 % interval
ALTER TABLE searches ADD COLUMN high REAL;
)sql";

// VACUUM INTO a temporary name, then rename: a kill leaves no half-written backup under the final name.
absl::Status Backup(Database& db, const std::string& path, int version) {
  const std::string target = StrCat(path, ".v", version, ".backup");
  const std::string part = StrCat(target, ".part");
  std::error_code ignored;
  std::filesystem::remove(part, ignored);
  ASSIGN_OR_RETURN(Statement vacuum, db.Prepare("VACUUM INTO ?1"));
  vacuum.Bind(1, std::string_view(part));
  RETURN_IF_ERROR(Annotate(vacuum.Run(), StrCat("back up ", path, " to ", target, " before the migration")));
  RETURN_IF_ERROR(SyncPath(part));
  RETURN_IF_ERROR(Reach(FailPoint::kMigrateBackupWritten));
  if (::rename(part.c_str(), target.c_str()) != 0) {
    return FromErrno(errno, StrCat("rename ", part, " to ", target));
  }
  RETURN_IF_ERROR(Reach(FailPoint::kMigrateBackupRenamed));
  return SyncPath(FolderOf(target));
}

absl::Status ApplySteps(Database& db, int64_t current, const std::vector<Migration>& migrations) {
  for (const Migration& step : migrations) {
    if (step.version <= current) {
      continue;
    }
    RETURN_IF_ERROR(Annotate(db.Execute(step.sql), StrCat("schema version ", step.version)));
    RETURN_IF_ERROR(Reach(FailPoint::kMigrateStep));
  }
  ASSIGN_OR_RETURN(Statement broken, db.Prepare("PRAGMA foreign_key_check"));
  ASSIGN_OR_RETURN(const bool found, broken.Step());
  if (found) {
    return absl::DataLossError(StrCat("the migration left rows of ", broken.Text(0), " without their parents"));
  }
  broken.Reset();
  return db.Execute(
      StrCat("PRAGMA application_id=", kApplicationId, "; PRAGMA user_version=", migrations.back().version));
}

}  // namespace

const std::vector<Migration>& Migrations() {
  static const std::vector<Migration>* const kMigrations =
      new std::vector<Migration>{{1, std::string(kTables)},
                                 {2, StrCat(kDropViews, kRecipes)},
                                 {3, StrCat(kDropViews, kSearches)},
                                 {4, StrCat(kDropViews, kPredictions, ViewsSql())}};
  return *kMigrations;
}

absl::Status Migrate(Database& db, const std::string& path, const std::vector<Migration>& migrations) {
  ASSIGN_OR_RETURN(const int64_t current, db.QueryInt("PRAGMA user_version"));
  if (current >= migrations.back().version) {
    return absl::OkStatus();
  }
  if (current > 0) {
    RETURN_IF_ERROR(Backup(db, path, static_cast<int>(current)));
  }
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db));
  RETURN_IF_ERROR(Reach(FailPoint::kMigrateBegun));
  RETURN_IF_ERROR(ApplySteps(db, current, migrations));
  RETURN_IF_ERROR(Reach(FailPoint::kMigrateApplied));
  RETURN_IF_ERROR(transaction.Commit());
  return Reach(FailPoint::kMigrateCommitted);
}

}  // namespace capsweep::store
