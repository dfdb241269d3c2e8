#include "coordinator/service/engine.h"

#include <optional>
#include <utility>
#include <variant>

#include "common/fail_point.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/engine_impl.h"
#include "coordinator/service/event_log.h"

namespace capsweep::service {
namespace {

// About 40 MB of points: more than all workers together can hold in flight.
constexpr size_t kCachedPoints = 65'536;

}  // namespace

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
    Impl::Ready ready;
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

void Engine::Sync(core::WorkerSync sync, Impl::SyncDone done) {
  if (sync.token == 0) {
    sync.token = NewToken();
  }
  Impl::Ready ready;
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
  Impl::SyncDone done;
  Impl::Ready ready;
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

// ---------------------------------------------------------------- the rest

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
