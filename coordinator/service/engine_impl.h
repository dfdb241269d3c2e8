// What the engine is made of, for its two source files: engine.cc runs it, engine_verbs.cc does what users ask.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/mutex.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/planner.h"
#include "coordinator/service/store_reports.h"

namespace capsweep::service {

inline absl::Status StoppingError() {
  return absl::UnavailableError("the coordinator is stopping; call again later");
}

struct Engine::Impl {
  using SyncDone = std::function<void(absl::StatusOr<SyncAnswer>)>;
  using AdminDone = std::function<void(const core::AdminReply&)>;
  // A reply with whom it goes to; completed outside every lock.
  struct Ready {
    std::vector<std::pair<core::SyncReply, SyncDone>> syncs;
    std::vector<std::pair<core::AdminReply, AdminDone>> admins;
  };

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

}  // namespace capsweep::service
