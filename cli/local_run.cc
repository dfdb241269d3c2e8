#include "cli/local_run.h"

#include <algorithm>

#include "cli/run_search.h"
#include "cli/source.h"
#include "cli/table.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(100);
constexpr Duration kBestEvery = std::chrono::seconds(2);
// A full disk that is being cleaned, or a backup that holds the file, may pass; longer is the user's to mend.
constexpr Duration kUnwritablePatience = std::chrono::seconds(3);
constexpr Duration kWorkerStop = std::chrono::seconds(9);
constexpr int64_t kFailuresShown = 10;
// A trainer that died is started again within seconds; one that cannot start at all never gets further.
constexpr Duration kBrokenDevicesPatience = std::chrono::seconds(20);
constexpr std::string_view kStarting = "its trainer is starting";  // what the agent says before the first greeting

std::string PointWord(int64_t n) {
  return n == 1 ? "1 point" : StrCat(FormatCount(n), " points");
}

std::string Text(const store::Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return JsonCell(cell, false);
}

}  // namespace

std::string FailedPointsSql(const std::string& sweep, int64_t limit) {
  return StrCat(
      "SELECT p.point_id, p.heads, p.width, p.seq_len, p.init_seed, p.reason FROM sweeps s "
      "JOIN sweep_points sp ON sp.sweep_id = s.sweep_id JOIN points p ON p.point_id = sp.point_id "
      "WHERE s.name = ",
      SqlLiteral(sweep), " AND p.state = 'failed' ORDER BY p.point_id LIMIT ", limit);
}

std::string FailedPointText(const std::vector<store::Cell>& row) {
  return StrCat("point ", Text(row[0]), " (heads ", Text(row[1]), ", width ", Text(row[2]), ", seq_len ", Text(row[3]),
                ", seed ", Text(row[4]), "): ", Text(row[5]));
}

absl::StatusOr<std::unique_ptr<LocalRun>> LocalRun::Open(const LocalRunOptions& options, Console& console) {
  std::unique_ptr<LocalRun> run(new LocalRun(options, console));
  service::EngineOptions engine;
  engine.database = options.database;
  engine.on_store_health = [self = run.get()](const absl::Status& status) { self->OnStoreHealth(status, false); };
  engine.on_fatal = [self = run.get()](const absl::Status& status) { self->OnStoreHealth(status, true); };
  ASSIGN_OR_RETURN(run->engine_, service::Engine::Open(std::move(engine)));
  return run;
}

LocalRun::~LocalRun() {
  worker_.reset();
  if (server_ != nullptr) {
    server_->Shutdown();
  }
  server_.reset();
  engine_.reset();
}

void LocalRun::OnStoreHealth(const absl::Status& status, bool fatal) {
  MutexLock lock(&health_mutex_);
  if (health_.ok() && !status.ok()) {
    unhealthy_since_ = Clock::Real().Now();
  }
  fatal_ = fatal_ || fatal;
  health_ = status;
}

absl::Status LocalRun::StoreTrouble(Instant now) {
  MutexLock lock(&health_mutex_);
  if (fatal_) {
    return absl::InternalError(StrCat("the database has failed: ", health_.message()));
  }
  if (health_.ok() || now - unhealthy_since_ < kUnwritablePatience) {
    return absl::OkStatus();
  }
  // What follows the semicolon is advice to the operator of a coordinator, which waits; a run does not.
  const std::string message(health_.message());
  return absl::ResourceExhaustedError(
      StrCat("the run stops, ", message.substr(0, message.find(';')),
             ". Every result that was stored is safe. Free space (or make the file writable) and run the same command "
             "again to continue"));
}

absl::StatusOr<store::Table> LocalRun::Query(const std::string& sql) {
  absl::StatusOr<store::Table> table = absl::InternalError("the reader was not called");
  engine_->ReadLocked([&](store::Reader& reader) { table = reader.Query(sql); });
  return table;
}

absl::StatusOr<core::SweepCounts> LocalRun::Counts(const std::string& sweep) const {
  for (core::SweepCounts& counts : engine_->Sweeps()) {
    if (counts.name == sweep) {
      return std::move(counts);
    }
  }
  return absl::InternalError(StrCat("sweep ", sweep, " was stored but is not there"));
}

absl::Status LocalRun::Submit(const SweepSpec& sweep) {
  const auto existing = Counts(sweep.name);
  absl::StatusOr<service::SubmitCounts> submitted =
      engine_->Submit(sweep.text, sweep.file_name, /*priority=*/0, /*extend=*/false, /*dry_run=*/false, sweep.folder);
  const bool extended = submitted.status().code() == absl::StatusCode::kAlreadyExists;
  if (extended) {
    submitted = engine_->Submit(sweep.text, sweep.file_name, 0, /*extend=*/true, false, sweep.folder);
  }
  if (submitted.status().code() == absl::StatusCode::kResourceExhausted) {
    return Annotate(submitted.status(), "the sweep was not stored; free space and run the same command again");
  }
  RETURN_IF_ERROR(submitted.status());
  std::string text = StrCat("sweep ", sweep.name, ": ");
  if (!existing.ok()) {
    StrAppend(&text, PointWord(submitted->points));
  } else if (extended) {
    StrAppend(&text, "the file differs from the stored one, the sweep is extended by ",
              PointWord(submitted->points - existing->points), " to ", FormatCount(submitted->points));
  } else {
    StrAppend(&text, "known here, ", PointWord(submitted->points));
  }
  if (submitted->done_points > 0) {
    StrAppend(&text, ", ", FormatCount(submitted->done_points), " of them already measured");
  }
  if (submitted->searches) {
    StrAppend(&text, "; it searches: which points follow depends on results");
  }
  console_.err << text << std::endl;
  return absl::OkStatus();
}

// A run is the user's word that the sweep shall go on.
absl::Status LocalRun::Reopen(const core::SweepCounts& counts) {
  if (options_.retry_failed && counts.failed > 0) {
    ASSIGN_OR_RETURN(const auto changed, engine_->ChangeSweep(counts.name, core::SweepVerb::kRetryFailed));
    console_.err << "trying " << PointWord(changed.points_affected) << " again that had failed" << std::endl;
  }
  ASSIGN_OR_RETURN(const core::SweepCounts now, Counts(counts.name));
  if (now.state == core::SweepState::kCancelled) {
    return absl::FailedPreconditionError(StrCat("sweep ", now.name,
                                                " was cancelled; give the file another sweep name to "
                                                "run its points (those measured are not trained again)"));
  }
  if (now.state == core::SweepState::kPaused) {
    console_.err << "the sweep was paused; it goes on" << std::endl;
    return engine_->ChangeSweep(now.name, core::SweepVerb::kResume).status();
  }
  return absl::OkStatus();
}

absl::Status LocalRun::StartWorker() {
  service::ServerOptions server;
  server.listen = "127.0.0.1:0";
  ASSIGN_OR_RETURN(server_, service::Server::Start(engine_.get(), server));
  LocalWorkerOptions worker;
  worker.program = options_.worker;
  worker.trainer = options_.trainer;
  worker.coordinator = server_->address();
  worker.devices = options_.devices;
  worker.folder = StrCat(options_.database, ".spool");
  ASSIGN_OR_RETURN(LocalWorker started, LocalWorker::Start(std::move(worker)));
  worker_ = std::make_unique<LocalWorker>(std::move(started));
  return absl::OkStatus();
}

void LocalRun::RefreshBest(const std::string& sweep, Instant now) {
  if (now < next_best_) {
    return;
  }
  const auto table =
      Query(StrCat("SELECT items_mem, heads, width, seq_len FROM v_results WHERE sweep = ", SqlLiteral(sweep),
                   " ORDER BY items_corr DESC LIMIT 1"));
  if (table.ok() && !table->rows.empty()) {
    const auto& row = table->rows[0];
    best_ =
        StrCat(Text(row[0]), " items (heads ", Text(row[1]), ", width ", Text(row[2]), ", seq_len ", Text(row[3]), ")");
  }
  if (const auto found = Query(AdaptiveProgressSql(sweep)); found.ok() && !found->rows.empty()) {
    search_ = AdaptiveProgressText(found->rows[0]);
  }
  // A sweep large enough to make this slow is looked at less often.
  const Instant end = Clock::Real().Now();
  next_best_ = end + std::max<Duration>(kBestEvery, 50 * (end - now));
}

ProgressFrame LocalRun::Frame(const core::SweepCounts& counts, Instant now) {
  ProgressFrame frame;
  frame.sweep = counts.name;
  frame.points = counts.points;
  frame.done = counts.done;
  frame.failed = counts.failed;
  frame.running = counts.running;
  frame.elapsed_seconds = ToSeconds(now - started_);
  const double own_rate =
      frame.elapsed_seconds > 0 ? static_cast<double>(counts.done - done_before_) / frame.elapsed_seconds : 0;
  frame.rate_per_second = counts.rate_per_second > 0 ? counts.rate_per_second : own_rate;
  const auto open = static_cast<double>(counts.running + counts.pending);
  frame.eta_seconds = open == 0                 ? 0
                      : counts.eta_seconds >= 0 ? counts.eta_seconds
                      : own_rate > 0            ? open / own_rate
                                                : -1;
  frame.architectures = counts.cells;
  frame.architectures_settled = counts.cells_settled;
  if (counts.planning) {
    frame.eta_seconds = -1;  // how many points are to come is not known
  }
  frame.search = search_;
  frame.best = best_;
  return frame;
}

void LocalRun::ShowFailures(const core::SweepCounts& counts, ProgressDisplay& display) {
  const auto shown = static_cast<int64_t>(shown_failures_.size());
  if (counts.failed <= shown || shown >= kFailuresShown) {
    return;
  }
  const auto table = Query(FailedPointsSql(counts.name, counts.failed));
  if (!table.ok()) {
    return;
  }
  for (const auto& row : table->rows) {
    if (static_cast<int64_t>(shown_failures_.size()) < kFailuresShown &&
        shown_failures_.insert(std::get<int64_t>(row[0])).second) {
      display.Say(StrCat("failed: ", FailedPointText(row)));
    }
  }
  if (static_cast<int64_t>(shown_failures_.size()) == kFailuresShown) {
    display.Say("further failures are only counted here; the end of the run lists them");
  }
}

void LocalRun::ShowEvents(ProgressDisplay& display) {
  const auto table = Query(StrCat("SELECT event_id, kind, subject, message FROM events WHERE event_id > ", last_event_,
                                  " ORDER BY event_id"));
  if (!table.ok()) {
    return;
  }
  for (const auto& row : table->rows) {
    last_event_ = std::get<int64_t>(row[0]);
    const std::string kind = Text(row[1]);
    if (kind == "device_quarantined" || kind == "worker_lost") {
      display.Say(
          StrCat(kind == "worker_lost" ? "worker lost: " : "device quarantined: ", Text(row[2]), ": ", Text(row[3])));
    }
  }
}

absl::Status LocalRun::WatchDevices(Instant now, ProgressDisplay& display) {
  std::string broken;
  bool works = false, any = false;
  for (const core::WorkerView& worker : engine_->Workers()) {
    if (worker.state == core::WorkerState::kLost) {
      continue;
    }
    for (const core::DeviceView& device : worker.devices) {
      any = true;
      if (device.state == "idle" || device.state == "busy" || device.reason == kStarting) {
        works = true;
        continue;
      }
      StrAppend(&broken, "\n  ", device.name, ": ", device.reason);
      if (shown_devices_.insert(device.name).second) {
        display.Say(StrCat("device ", device.name, " does not work at the moment: ", device.reason));
      }
    }
  }
  if (works || !any || devices_worked_ == Instant()) {
    devices_worked_ = now;
  }
  return now - devices_worked_ < kBrokenDevicesPatience
             ? absl::OkStatus()
             : absl::FailedPreconditionError(
                   StrCat("no device works; choose others with --devices, see ", worker_->log_path(), ":", broken));
}

absl::Status LocalRun::Train(const std::string& sweep) {
  ProgressDisplay display(console_, options_.quiet);
  Instant next_events{};
  while (true) {
    const Instant now = Clock::Real().Now();
    ASSIGN_OR_RETURN(const core::SweepCounts counts, Counts(sweep));
    RefreshBest(sweep, now);
    ShowFailures(counts, display);
    if (now >= next_events) {
      ShowEvents(display);
      RETURN_IF_ERROR(WatchDevices(now, display));
      next_events = now + std::chrono::seconds(1);
    }
    if (counts.state != core::SweepState::kRunning || SignalWatch::Caught() != 0) {
      next_best_ = {};
      RefreshBest(sweep, now);
      display.Finish(Frame(counts, now));
      return absl::OkStatus();
    }
    display.Show(Frame(counts, now), now);
    RETURN_IF_ERROR(StoreTrouble(now));
    std::optional<int> restarted;
    RETURN_IF_ERROR(worker_->Watch(counts.done, now, restarted));
    if (restarted.has_value()) {
      display.Say(
          StrCat("the worker had ended (exit code ", *restarted, ") and was started again; see ", worker_->log_path()));
    }
    SleepUnlessSignalled(ToSeconds(kLook));
  }
}

absl::StatusOr<LocalRunOutcome> LocalRun::Run(const SweepSpec& sweep) {
  RETURN_IF_ERROR(Submit(sweep));
  ASSIGN_OR_RETURN(core::SweepCounts counts, Counts(sweep.name));
  RETURN_IF_ERROR(Reopen(counts));
  ASSIGN_OR_RETURN(counts, Counts(sweep.name));
  if (counts.state == core::SweepState::kRunning) {
    started_ = Clock::Real().Now();
    done_before_ = counts.done;
    if (const auto last = Query("SELECT coalesce(max(event_id), 0) FROM events"); last.ok()) {
      last_event_ = std::get<int64_t>(last->rows[0][0]);
    }
    if (const auto failed = Query(FailedPointsSql(sweep.name, kFailuresShown)); failed.ok()) {
      for (const auto& row : failed->rows) {
        shown_failures_.insert(std::get<int64_t>(row[0]));
      }
    }
    RETURN_IF_ERROR(StartWorker());
    const absl::Status trained = Train(sweep.name);
    if (SignalWatch::Caught() != 0) {
      console_.err << "stopping: the worker hands back what it holds (again to leave at once)" << std::endl;
    }
    worker_->Stop(kWorkerStop);
    RETURN_IF_ERROR(trained);
    ASSIGN_OR_RETURN(counts, Counts(sweep.name));
    // What is reported next is read from the file.
    RETURN_IF_ERROR(engine_->store().Flush());
  }
  LocalRunOutcome outcome;
  outcome.signal = counts.state == core::SweepState::kFinished ? 0 : SignalWatch::Caught();
  outcome.state = core::ToWord(counts.state);
  outcome.reason = counts.reason;
  outcome.points = counts.points;
  outcome.done = counts.done;
  outcome.failed = counts.failed;
  return outcome;
}

}  // namespace capsweep::cli
