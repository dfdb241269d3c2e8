// The coordinator's database as the simulation sees it: what is durable, and what was given to it but would be lost.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/text.h"
#include "coordinator/core/events.h"
#include "tests/simulation/catalogue.h"

namespace capsweep::simulation {

using Attempt = std::pair<int64_t, int32_t>;  // point, number
inline Attempt Pair(const core::AttemptRef& id) {
  return {id.point.value(), id.attempt.value()};
}

// The first broken promise; later ones follow from it.
class Judge {
 public:
  // What is wrong otherwise, in parts: they are only joined when it is.
  template <class... Parts>
  void Require(bool good, const Parts&... violation) {
    if (!good && violation_.empty()) violation_ = StrCat(violation...);
  }
  bool condemned() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }

 private:
  std::string violation_;
};

class Disk {
 public:
  Disk(Judge& judge, const Catalogue& catalogue) : judge_(&judge), catalogue_(&catalogue) {}

  // A sweep's rows are durable when the core hears of them.
  void AddSweep(const core::SweepStored& event);
  void Give(core::Persist batch) { pending_.push_back(std::move(batch)); }
  bool HasPending() const { return !pending_.empty(); }
  size_t Pending() const { return pending_.size(); }
  // Makes the first `count` batches durable; the ticket of the last.
  core::Ticket Commit(size_t count);
  // Power loss or kill: the first `kept` pending batches turn out to be durable, the rest are gone.
  void Crash(size_t kept);
  void DropNewest() { pending_.back().mutations.clear(); }
  void SwapNewest() {
    if (pending_.size() > 1) std::swap(pending_.back().mutations, pending_[pending_.size() - 2].mutations);
  }

  core::Recovered Load() const;
  bool HasResult(int64_t point) const { return results_.contains(point); }
  // It may have ended since: a reply and the end of what it names can become durable together.
  bool WasStarted(const Attempt& id) const { return started_.contains(id); }
  bool IsRunning(const Attempt& id) const { return running_.contains(id); }
  bool HasCheckpoint(const Attempt& id) const { return checkpoints_.contains(id); }
  bool HasCheckpointOf(int64_t point) const {
    const auto it = checkpoints_.lower_bound({point, 0});
    return it != checkpoints_.end() && it->first == point;
  }
  const std::map<int64_t, core::SweepRow>& sweeps() const { return sweeps_; }
  const std::map<int64_t, core::PointRow>& points() const { return points_; }
  // Whether points of it may still be wanted: some sweep that was not cancelled asks for it.
  bool IsWanted(const core::PointRow& row) const;
  size_t RunningCount() const { return running_.size(); }
  size_t PointCount() const { return points_.size(); }
  size_t ResultCount() const { return results_.size(); }
  const std::map<int64_t, Attempt>& results() const { return results_; }
  int64_t late_results() const { return late_results_; }
  int64_t doubled() const { return doubled_; }  // stragglers that were started a second time

 private:
  void Apply(const core::AttemptStarted& m);
  void Apply(const core::AttemptEnded& m);
  void Apply(const core::ResultAccepted& m);
  void Apply(const core::PointChanged& m);
  void Apply(const core::SweepChanged& m);
  void Apply(const core::CheckpointSaved& m);
  void Apply(const core::WorkerChanged& m) { workers_[m.worker.value()] = m; }
  void Apply(const core::Audit& m) { doubled_ += m.kind == "point_doubled" ? 1 : 0; }
  void Apply(const core::Persist& batch);

  Judge* judge_;
  const Catalogue* catalogue_;
  std::deque<core::Persist> pending_;
  core::Ticket last_ = 0;
  std::map<int64_t, core::PointRow> points_;
  std::map<int64_t, core::SweepRow> sweeps_;
  std::map<std::string, core::WorkerChanged> workers_;
  std::map<Attempt, core::RunningAttempt> running_;
  std::set<Attempt> started_, checkpoints_;
  std::map<int64_t, Attempt> results_;
  int64_t late_results_ = 0, doubled_ = 0;
};

}  // namespace capsweep::simulation
