// The engine's verbs: submitting, changing and explaining.
#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/status.h"
#include "common/sweep/data_files.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/search.h"
#include "coordinator/service/engine_impl.h"

namespace capsweep::service {
namespace {

std::string NamesOf(const std::vector<std::string>& names, const char* none) {
  constexpr size_t kShown = 10;
  if (names.empty()) {
    return none;
  }
  std::vector<std::string> shown(names.begin(), names.begin() + std::min(kShown, names.size()));
  return StrCat(StrJoin(shown, ", "), names.size() > kShown ? ", …" : "");
}

}  // namespace

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
    Impl::Ready ready;
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
  Impl::Ready ready;
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

}  // namespace capsweep::service
