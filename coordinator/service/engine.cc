#include "coordinator/service/engine.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/cost_model.h"
#include "common/fail_point.h"
#include "common/mutex.h"
#include "common/status.h"
#include "common/sweep/data_files.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/search.h"
#include "coordinator/service/event_log.h"
#include "coordinator/service/planner.h"
#include "coordinator/service/store_reports.h"

namespace capsweep::service {
namespace {

// About 40 MB of points: more than all workers together can hold in flight.
constexpr size_t kCachedPoints = 65'536;

using SyncDone = std::function<void(absl::StatusOr<SyncAnswer>)>;
using AdminDone = std::function<void(const core::AdminReply&)>;

absl::Status StoppingError() {
  return absl::UnavailableError("the coordinator is stopping; call again later");
}

// A reply with whom it goes to; completed outside every lock.
struct Ready {
  std::vector<std::pair<core::SyncReply, SyncDone>> syncs;
  std::vector<std::pair<core::AdminReply, AdminDone>> admins;
};

std::string NamesOf(const std::vector<std::string>& names, const char* none) {
  constexpr size_t kShown = 10;
  if (names.empty()) {
    return none;
  }
  std::vector<std::string> shown(names.begin(), names.begin() + std::min(kShown, names.size()));
  return StrCat(StrJoin(shown, ", "), names.size() > kShown ? ", …" : "");
}

}  // namespace

struct Engine::Impl {
  explicit Impl(EngineOptions o) : options(std::move(o)), core(options.core) {}

  void Drive();
  // Applies the event and carries out its effects; replies are put into `ready`.
  void ApplyLocked(const core::Event& event, Ready& ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Complete(Ready ready);
  void Apply(const core::Event& event);
  PlannerLook Look();
  void SetHealth(const absl::Status& status);
  void AnswerOpenCalls(const absl::Status& status);
  absl::StatusOr<core::AdminReply> Change(core::Event event, core::Token token);
  std::vector<std::string> SweepNamesLocked(Instant now) ABSL_SHARED_LOCKS_REQUIRED(mu);
  absl::StatusOr<SubmitCounts> CountOnly(const SweepSpec& sweep, const store::Store::PointStream& points);

  Instant Now() const { return options.clock->Now(); }

  const EngineOptions options;
  Metrics metrics;
  StoreReports reports;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<DetailsCache> details;
  std::unique_ptr<store::Reader> reader;
  Mutex reader_mu;
  std::thread driver;
  std::unique_ptr<Planner> planner;
  Instant started{};
  std::atomic<core::Token> last_token{0};
  std::atomic<bool> stopping{false};

  Mutex submit_mu ABSL_ACQUIRED_BEFORE(mu);

  mutable Mutex mu;
  core::Core core ABSL_GUARDED_BY(mu);
  core::Ticket last_ticket ABSL_GUARDED_BY(mu) = 0;
  absl::flat_hash_map<core::Token, SyncDone> open_syncs ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<core::Token, AdminDone> open_changes ABSL_GUARDED_BY(mu);

  mutable Mutex health_mu;
  absl::Status health ABSL_GUARDED_BY(health_mu);
  Mutex listener_mu ABSL_ACQUIRED_BEFORE(health_mu);
  std::function<void(const absl::Status&)> listener ABSL_GUARDED_BY(listener_mu);
};

// ---------------------------------------------------------------- start and end

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(EngineOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  Impl* const self = impl.get();
  store::Options store_options;
  store_options.clock = self->options.clock;
  store_options.committed = [self](core::Ticket ticket) { self->reports.Push(core::StoreCommitted{ticket}); };
  store_options.unwritable = [self](const absl::Status& status) {
    self->reports.Push(core::StoreUnwritable{std::string(status.message())});
  };
  store_options.writable = [self] { self->reports.Push(core::StoreWritable{}); };
  store_options.commit_timed = [self](double commit_seconds, double fsync_seconds) {
    self->metrics.commit_seconds.Observe(commit_seconds);
    self->metrics.fsync_seconds.Observe(fsync_seconds);
  };
  store_options.fatal = [self](const absl::Status& status) { self->reports.PushFatal(status); };
  ASSIGN_OR_RETURN(impl->store, store::Store::Open(self->options.database, std::move(store_options)));
  ASSIGN_OR_RETURN(impl->reader, store::Reader::Open(impl->store->path()));
  ASSIGN_OR_RETURN(store::Loaded loaded, impl->store->Load());
  impl->details = std::make_unique<DetailsCache>(impl->store.get(), kCachedPoints);
  impl->started = self->Now();
  {
    Ready ready;
    MutexLock lock(&impl->mu);
    impl->ApplyLocked(std::move(loaded.recovered), ready);
  }
  RETURN_IF_ERROR(Reach(FailPoint::kEngineRecovered));
  impl->planner = std::make_unique<Planner>(
      impl->store.get(), &impl->submit_mu, [self] { return self->Look(); },
      [self](const core::Event& event) { self->Apply(event); });
  impl->driver = std::thread([self] { self->Drive(); });
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  StopCalls();
  impl_->reports.Stop();
  impl_->driver.join();
  impl_->planner.reset();
  impl_->AnswerOpenCalls(StoppingError());
  impl_->reader.reset();
  impl_->store.reset();
}

void Engine::StopCalls() {
  impl_->stopping = true;
  impl_->AnswerOpenCalls(StoppingError());
}

void Engine::Impl::AnswerOpenCalls(const absl::Status& status) {
  absl::flat_hash_map<core::Token, SyncDone> syncs;
  absl::flat_hash_map<core::Token, AdminDone> changes;
  {
    MutexLock lock(&mu);
    syncs.swap(open_syncs);
    changes.swap(open_changes);
    Ready none;
    for (const auto& [token, done] : syncs) {
      ApplyLocked(core::SyncAbandoned{token}, none);
    }
  }
  for (const auto& [token, done] : syncs) {
    done(status);
  }
  for (const auto& [token, done] : changes) {
    done(core::AdminReply{.token = token, .status = status});
  }
}

// ---------------------------------------------------------------- events and effects

void Engine::Impl::ApplyLocked(const core::Event& event, Ready& ready) {
  for (core::Effect& effect : core.Apply(event, Now())) {
    if (auto* batch = std::get_if<core::Persist>(&effect)) {
      metrics.CountMutations(*batch);
      LogBatch(*batch);
      last_ticket = batch->ticket;
      // Under the lock, so that batches reach the store in the order of their tickets. It only queues.
      store->Enqueue(std::move(*batch));
    } else if (auto* sync = std::get_if<core::SyncReply>(&effect)) {
      if (const auto it = open_syncs.find(sync->token); it != open_syncs.end()) {
        ready.syncs.emplace_back(std::move(*sync), std::move(it->second));
        open_syncs.erase(it);
      }
    } else if (auto* change = std::get_if<core::AdminReply>(&effect)) {
      if (const auto it = open_changes.find(change->token); it != open_changes.end()) {
        ready.admins.emplace_back(std::move(*change), std::move(it->second));
        open_changes.erase(it);
      }
    }
  }
}

void Engine::Impl::Complete(Ready ready) {
  for (auto& [reply, done] : ready.syncs) {
    Reach(FailPoint::kReplySync).IgnoreError();
    if (!reply.status.ok()) {
      done(reply.status);
      continue;
    }
    absl::StatusOr<std::vector<DetailsPtr>> found = details->ForAssignments(reply.assignments);
    if (!found.ok()) {
      // The worker will not list these attempts, so the core gives them to it again.
      done(Annotate(found.status(), "reading the points of an assignment"));
      continue;
    }
    done(SyncAnswer{std::move(reply), *std::move(found), store->database_id()});
    Reach(FailPoint::kReplySyncSent).IgnoreError();
  }
  for (auto& [reply, done] : ready.admins) {
    Reach(FailPoint::kReplyChange).IgnoreError();
    done(reply);
  }
}

void Engine::Impl::Apply(const core::Event& event) {
  Ready ready;
  {
    MutexLock lock(&mu);
    ApplyLocked(event, ready);
  }
  Complete(std::move(ready));
}

PlannerLook Engine::Impl::Look() {
  MutexLock lock(&mu);
  return {core.SearchingSweeps(), core.Slots()};
}

void Engine::Impl::Drive() {
  std::vector<core::Event> events;
  absl::Status fatal;
  Instant next_tick = std::chrono::steady_clock::now() + options.tick;
  while (reports.Take(next_tick, events, fatal)) {
    if (!fatal.ok()) {
      events.push_back(core::StoreUnwritable{std::string(fatal.message())});
    }
    for (const core::Event& event : events) {
      if (const auto* down = std::get_if<core::StoreUnwritable>(&event)) {
        SetHealth(absl::UnavailableError(down->reason));
      } else if (std::holds_alternative<core::StoreWritable>(event)) {
        SetHealth(absl::OkStatus());
      }
    }
    // steady_clock, not options.clock: this is about how often to look, not about what time it is for the core.
    if (std::chrono::steady_clock::now() >= next_tick) {
      events.push_back(core::Tick{});
      next_tick = std::chrono::steady_clock::now() + options.tick;
    }
    Ready ready;
    {
      MutexLock lock(&mu);
      for (const core::Event& event : events) {
        ApplyLocked(event, ready);
      }
    }
    Complete(std::move(ready));
    planner->Wake();
    if (!fatal.ok()) {
      stopping = true;
      AnswerOpenCalls(absl::UnavailableError(StrCat("the store has failed: ", fatal.message())));
      if (options.on_fatal) {
        options.on_fatal(fatal);
      }
    }
  }
}

void Engine::Impl::SetHealth(const absl::Status& status) {
  {
    MutexLock lock(&health_mu);
    health = status;
  }
  if (options.on_store_health) {
    options.on_store_health(status);
  }
  MutexLock lock(&listener_mu);
  if (listener) {
    listener(status);
  }
}

void Engine::SetHealthListener(std::function<void(const absl::Status&)> listener) {
  MutexLock lock(&impl_->listener_mu);
  impl_->listener = std::move(listener);
  if (impl_->listener) {
    impl_->listener(StoreHealth());
  }
}

// ---------------------------------------------------------------- workers' calls

core::Token Engine::NewToken() {
  return ++impl_->last_token;
}

void Engine::Sync(core::WorkerSync sync, SyncDone done) {
  if (sync.token == 0) {
    sync.token = NewToken();
  }
  Ready ready;
  {
    MutexLock lock(&impl_->mu);
    // Read under the lock: AnswerOpenCalls after StopCalls either sees this call or is seen by it.
    if (!impl_->stopping) {
      impl_->open_syncs.emplace(sync.token, std::move(done));
      done = nullptr;
      impl_->ApplyLocked(std::move(sync), ready);
    }
  }
  if (done) {
    done(StoppingError());
    return;
  }
  impl_->Complete(std::move(ready));
}

void Engine::Abandon(core::Token token) {
  SyncDone done;
  Ready ready;
  {
    MutexLock lock(&impl_->mu);
    const auto it = impl_->open_syncs.find(token);
    if (it == impl_->open_syncs.end()) {
      return;
    }
    done = std::move(it->second);
    impl_->open_syncs.erase(it);
    impl_->ApplyLocked(core::SyncAbandoned{token}, ready);
  }
  done(absl::CancelledError("the caller went away"));
  impl_->Complete(std::move(ready));
}

absl::StatusOr<std::vector<DetailsPtr>> Engine::Details(const std::vector<PointId>& points) {
  return impl_->details->Find(points);
}

// ---------------------------------------------------------------- submission

absl::StatusOr<SubmitCounts> Engine::Impl::CountOnly(const SweepSpec& sweep, const store::Store::PointStream& points) {
  ASSIGN_OR_RETURN(const store::Store::DryRun run, store->CountSweep(sweep, points));
  SubmitCounts counts;
  counts.sweep = sweep.name;
  counts.searches = MeasureSearches(sweep.measure);
  counts.points = run.counts.points;
  counts.new_points = run.counts.new_points;
  counts.known_points = run.counts.known_points;
  counts.done_points = run.counts.done_points;
  counts.shapes = run.shapes;
  counts.estimated_core_seconds = run.cost_seconds;
  MutexLock lock(&mu);
  counts.estimated_seconds = core.EstimateWallSeconds(run.cost_seconds);
  return counts;
}

absl::StatusOr<SubmitCounts> Engine::Submit(const std::string& text, const std::string& file_name, int32_t priority,
                                            bool extend, bool dry_run, const std::string& folder) {
  ASSIGN_OR_RETURN(SweepSpec sweep, ParseSweep(text, file_name));
  sweep.folder = folder;
  RETURN_IF_ERROR(sweep::LoadDataFiles(sweep));
  const store::Store::PointStream points = [&](const store::Store::PointVisitor& visit) {
    return plan::EnumerateSweep(sweep, [&](const PointSpec& point) -> absl::Status {
      return impl_->stopping ? absl::CancelledError("the coordinator is stopping; nothing was stored") : visit(point);
    });
  };
  if (dry_run) {
    if (extend) {
      MutexLock lock(&impl_->mu);
      const std::vector<std::string> names = impl_->SweepNamesLocked(impl_->Now());
      if (std::find(names.begin(), names.end(), sweep.name) == names.end()) {
        return absl::NotFoundError(
            StrCat("no sweep '", sweep.name, "' to extend; there are: ", NamesOf(names, "none")));
      }
    }
    return impl_->CountOnly(sweep, points);
  }

  // Shapes and cost of what is left come from the rows the core is told of. A resubmission has none: count again.
  SubmitCounts counts;
  counts.sweep = sweep.name;
  counts.searches = MeasureSearches(sweep.measure);
  bool counted = false;
  {
    MutexLock submitting(&impl_->submit_mu);
    ASSIGN_OR_RETURN(store::StoredSweep stored, impl_->store->AddSweep(sweep, priority, extend, points));
    counts.points = stored.points;
    counts.new_points = stored.new_points;
    counts.known_points = stored.known_points;
    counts.done_points = stored.done_points;
    if (stored.created || static_cast<int64_t>(stored.event.points.size()) == stored.points) {
      absl::flat_hash_set<uint32_t> shapes;
      for (const core::PointRow& row : stored.event.points) {
        if (row.state == core::PointState::kPending || row.state == core::PointState::kRunning) {
          shapes.insert(row.shape);
          counts.estimated_core_seconds += row.cost_seconds;
        }
      }
      counts.shapes = static_cast<int64_t>(shapes.size());
      counted = true;
    }
    stored.event.plans = stored.created || extend;
    Ready ready;
    {
      MutexLock lock(&impl_->mu);
      impl_->ApplyLocked(std::move(stored.event), ready);
      counts.estimated_seconds = impl_->core.EstimateWallSeconds(counts.estimated_core_seconds);
    }
    impl_->Complete(std::move(ready));
  }
  if (!counted) {
    ASSIGN_OR_RETURN(const SubmitCounts left, impl_->CountOnly(sweep, points));
    counts.shapes = left.shapes;
    counts.estimated_core_seconds = left.estimated_core_seconds;
    counts.estimated_seconds = left.estimated_seconds;
  }
  return counts;
}

// ---------------------------------------------------------------- changes by users

absl::StatusOr<core::AdminReply> Engine::Impl::Change(core::Event event, core::Token token) {
  auto answered = std::make_shared<std::promise<core::AdminReply>>();
  std::future<core::AdminReply> answer = answered->get_future();
  Ready ready;
  {
    MutexLock lock(&mu);
    if (stopping) {
      return StoppingError();
    }
    open_changes.emplace(token, [answered](const core::AdminReply& reply) { answered->set_value(reply); });
    ApplyLocked(event, ready);
  }
  Complete(std::move(ready));
  if (answer.wait_for(options.change_timeout) != std::future_status::ready) {
    MutexLock lock(&mu);
    if (open_changes.erase(token) > 0) {
      MutexLock health_lock(&health_mu);
      return absl::UnavailableError(StrCat("the change is accepted but not yet on disk: ",
                                           health.ok() ? "the disk is slow" : std::string(health.message())));
    }
  }
  core::AdminReply reply = answer.get();
  RETURN_IF_ERROR(reply.status);
  return reply;
}

std::vector<std::string> Engine::Impl::SweepNamesLocked(Instant now) {
  std::vector<std::string> names;
  for (const core::SweepCounts& sweep : core.Sweeps(now)) {
    names.push_back(sweep.name);
  }
  return names;
}

absl::StatusOr<Engine::Changed> Engine::ChangeSweep(const std::string& sweep, core::SweepVerb verb) {
  // Looked up in the core, not in the store: there a sweep may be a moment ahead of the core.
  std::optional<SweepId> id;
  std::vector<std::string> names;
  for (const core::SweepCounts& known : Sweeps()) {
    names.push_back(known.name);
    if (known.name == sweep) {
      id = known.sweep;
    }
  }
  if (!id.has_value()) {
    return absl::NotFoundError(StrCat("no sweep '", sweep, "'; there are: ", NamesOf(names, "none")));
  }
  const core::Token token = NewToken();
  ASSIGN_OR_RETURN(const core::AdminReply reply,
                   impl_->Change(core::ChangeSweep{.token = token, .sweep = *id, .verb = verb}, token));
  Changed changed;
  changed.points_affected = reply.points_affected;
  for (const core::SweepCounts& known : Sweeps()) {
    if (known.sweep == *id) {
      changed.state = std::string(core::ToWord(known.state));
    }
  }
  return changed;
}

absl::Status Engine::ChangeWorker(const std::string& worker, core::WorkerVerb verb) {
  std::vector<std::string> names;
  bool known = false;
  for (const core::WorkerView& view : Workers()) {
    names.push_back(view.worker.value());
    known = known || view.worker.value() == worker;
  }
  if (!known) {
    return absl::NotFoundError(StrCat("no worker '", worker, "'; there are: ", NamesOf(names, "none")));
  }
  const core::Token token = NewToken();
  return impl_->Change(core::ChangeWorker{.token = token, .worker = WorkerId(worker), .verb = verb}, token).status();
}

// ---------------------------------------------------------------- reads

std::vector<core::SweepCounts> Engine::Sweeps() const {
  MutexLock lock(&impl_->mu);
  return impl_->core.Sweeps(impl_->Now());
}

std::vector<core::WorkerView> Engine::Workers() const {
  MutexLock lock(&impl_->mu);
  return impl_->core.Workers(impl_->Now());
}

absl::StatusOr<std::string> Engine::Explain(const std::string& subject) const {
  for (const core::SweepCounts& sweep : Sweeps()) {
    if (sweep.name == subject) {
      MutexLock lock(&impl_->mu);
      return impl_->core.ExplainSweep(sweep.sweep, impl_->Now());
    }
  }
  ASSIGN_OR_RETURN(const std::optional<PointId> point, impl_->store->FindPoint(subject));
  if (!point.has_value()) {
    return absl::NotFoundError(StrCat("no sweep or point '", subject, "'; name a sweep, or a point by its key or id"));
  }
  MutexLock lock(&impl_->mu);
  return impl_->core.ExplainPoint(*point, impl_->Now());
}

absl::Status Engine::StoreHealth() const {
  MutexLock lock(&impl_->health_mu);
  return impl_->health;
}

const std::string& Engine::database_id() const {
  return impl_->store->database_id();
}
double Engine::UptimeSeconds() const {
  return ToSeconds(impl_->Now() - impl_->started);
}
absl::Status Engine::Flush() {
  return impl_->store->Flush();
}
void Engine::Audit(core::Audit row) {
  core::Persist batch{.mutations = {std::move(row)}};
  LogBatch(batch);
  MutexLock lock(&impl_->mu);
  // With the last batch's ticket: that this row is on disk says of the core's batches what their own commit says.
  batch.ticket = impl_->last_ticket;
  impl_->store->Enqueue(std::move(batch));
}

Metrics& Engine::metrics() {
  return impl_->metrics;
}
const Clock& Engine::clock() const {
  return *impl_->options.clock;
}

store::Store& Engine::store() {
  return *impl_->store;
}
store::Reader& Engine::reader() {
  return *impl_->reader;
}

void Engine::ReadLocked(const std::function<void(store::Reader&)>& read) {
  MutexLock lock(&impl_->reader_mu);
  read(*impl_->reader);
}

}  // namespace capsweep::service
