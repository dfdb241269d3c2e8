// The coordinator's database as the simulation sees it: what is durable, and what was given to it but would be lost.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "coordinator/core/events.h"

namespace capsweep::simulation {

using Attempt = std::pair<int64_t, int32_t>;  // point, number
inline Attempt Pair(const core::AttemptRef& id) {
  return {id.point.value(), id.attempt.value()};
}

// The first broken promise; later ones follow from it.
class Judge {
 public:
  void Require(bool good, const std::string& violation) {
    if (!good && violation_.empty()) violation_ = violation;
  }
  bool condemned() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }

 private:
  std::string violation_;
};

// What every point's measurement is: whoever trains it gets this.
inline int64_t TrueCount(int64_t point) {
  return (point * 37) % 11;
}

class Disk {
 public:
  explicit Disk(Judge& judge) : judge_(&judge) {}

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
  void Apply(const core::WorkerChanged&) {}
  void Apply(const core::Audit& m) { doubled_ += m.kind == "point_doubled" ? 1 : 0; }
  void Apply(const core::Persist& batch);

  Judge* judge_;
  std::deque<core::Persist> pending_;
  core::Ticket last_ = 0;
  std::map<int64_t, core::PointRow> points_;
  std::map<int64_t, core::SweepRow> sweeps_;
  std::map<Attempt, core::RunningAttempt> running_;
  std::set<Attempt> started_, checkpoints_;
  std::map<int64_t, Attempt> results_;
  int64_t late_results_ = 0, doubled_ = 0;
};

}  // namespace capsweep::simulation
