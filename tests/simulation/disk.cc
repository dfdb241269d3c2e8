#include "tests/simulation/disk.h"

#include <algorithm>

#include "common/text.h"

namespace capsweep::simulation {
namespace {

std::string Name(const core::AttemptRef& id) {
  return StrCat("attempt ", id.attempt.value(), " of point ", id.point.value());
}

}  // namespace

void Disk::AddSweep(const core::SweepStored& event) {
  core::SweepRow& sweep = sweeps_.try_emplace(event.sweep.sweep.value(), event.sweep).first->second;
  const core::SweepState state = sweep.state;
  sweep = event.sweep;
  sweep.state = state;
  for (const core::PointRow& row : event.points) {
    core::PointRow& known = points_.try_emplace(row.point.value(), row).first->second;
    if (known.sweeps != row.sweeps && known.state == core::PointState::kCancelled)
      known.state = core::PointState::kPending;
    known.sweeps = row.sweeps;
  }
}

void Disk::Apply(const core::AttemptStarted& m) {
  const auto row = points_.find(m.id.point.value());
  if (row == points_.end()) return judge_->Require(false, Name(m.id), " started, and there is no such point");
  judge_->Require(m.id.attempt.value() > row->second.last_attempt, Name(m.id), " started after number ",
                  row->second.last_attempt, " was given out");
  judge_->Require(row->second.state != core::PointState::kDone, Name(m.id), " started, and the point was done");
  judge_->Require(std::any_of(row->second.sweeps.begin(), row->second.sweeps.end(),
                              [this](SweepId sweep) {
                                const auto it = sweeps_.find(sweep.value());
                                return it != sweeps_.end() && it->second.state == core::SweepState::kRunning;
                              }),
                  Name(m.id), " started, and no running sweep asks for it");
  const auto worker = workers_.find(std::string(m.worker.value()));
  judge_->Require(worker == workers_.end() || worker->second.incarnation != m.incarnation ||
                      (worker->second.state != core::WorkerState::kDraining &&
                       worker->second.state != core::WorkerState::kQuarantined),
                  Name(m.id), " started on worker ", m.worker.value(), ", which gets no more work");
  for (const auto& [id, other] : running_) {
    judge_->Require(id.first != m.id.point.value(), Name(m.id), " started while attempt ", id.second, " ran");
  }
  row->second.last_attempt = std::max(row->second.last_attempt, m.id.attempt.value());
  if (row->second.state == core::PointState::kPending) row->second.state = core::PointState::kRunning;
  started_.insert(Pair(m.id));
  running_[Pair(m.id)] = {m.id, m.worker, m.incarnation, m.device};
}

void Disk::Apply(const core::AttemptEnded& m) {
  judge_->Require(m.outcome != core::AttemptOutcome::kAccepted, Name(m.id), " was accepted without a result");
  late_results_ += m.outcome == core::AttemptOutcome::kLate && m.result != nullptr ? 1 : 0;
  running_.erase(Pair(m.id));
}

void Disk::Apply(const core::ResultAccepted& m) {
  const int64_t point = m.id.point.value();
  judge_->Require(points_.contains(point), "a result for point ", point, ", which does not exist");
  judge_->Require(!results_.contains(point), "a second result for point ", point);
  judge_->Require(m.result != nullptr && m.result->items_mem == catalogue_->at(point).truth.items_mem,
                  "the result of point ", point, " is that of another");
  results_.try_emplace(point, Pair(m.id));
  if (const auto row = points_.find(point); row != points_.end()) {
    row->second.state = core::PointState::kDone;
    row->second.accepted_attempt = m.id.attempt.value();
  }
  running_.erase(Pair(m.id));
}

void Disk::Apply(const core::PointChanged& m) {
  const auto row = points_.find(m.point.value());
  if (row == points_.end()) return judge_->Require(false, "point ", m.point.value(), " does not exist");
  judge_->Require(row->second.state != core::PointState::kDone || m.state == core::PointState::kDone, "point ",
                  m.point.value(), " was done and is ", std::string(core::ToWord(m.state)));
  const bool retried = row->second.state == core::PointState::kFailed && m.state == core::PointState::kPending;
  judge_->Require(retried || (m.failures >= row->second.failures && m.lost >= row->second.lost), "point ",
                  m.point.value(), " forgot failures");
  if (row->second.state == core::PointState::kDone) return;
  row->second.state = m.state;
  row->second.failures = static_cast<uint16_t>(m.failures);
  row->second.lost = static_cast<uint16_t>(m.lost);
}

void Disk::Apply(const core::SweepChanged& m) {
  const auto row = sweeps_.find(m.sweep.value());
  if (row == sweeps_.end()) return judge_->Require(false, "sweep ", m.sweep.value(), " does not exist");
  judge_->Require(row->second.state != core::SweepState::kCancelled, "sweep ", m.sweep.value(),
                  " was cancelled and is ", std::string(core::ToWord(m.state)));
  row->second.state = m.state;
}

void Disk::Apply(const core::CheckpointSaved& m) {
  judge_->Require(points_.contains(m.id.point.value()), "a checkpoint of ", Name(m.id), " without its point");
  checkpoints_.insert(Pair(m.id));
}

void Disk::Apply(const core::Persist& batch) {
  judge_->Require(batch.ticket == last_ + 1, "batch ", batch.ticket, " follows batch ", last_);
  last_ = batch.ticket;
  for (const core::Mutation& m : batch.mutations) {
    std::visit([this](const auto& one) { Apply(one); }, m);
  }
}

bool Disk::IsWanted(const core::PointRow& row) const {
  return std::any_of(row.sweeps.begin(), row.sweeps.end(),
                     [this](SweepId sweep) { return sweeps_.at(sweep.value()).state != core::SweepState::kCancelled; });
}

core::Ticket Disk::Commit(size_t count) {
  for (; count > 0 && !pending_.empty(); --count) {
    Apply(pending_.front());
    pending_.pop_front();
  }
  return last_;
}

void Disk::Crash(size_t kept) {
  Commit(kept);
  pending_.clear();
  workers_.clear();  // the next process learns anew who drains
  last_ = 0;         // and counts anew
}

core::Recovered Disk::Load() const {
  core::Recovered all;
  for (const auto& [id, row] : sweeps_) all.sweeps.push_back(row);
  for (const auto& [id, row] : points_) all.points.push_back(row);
  for (const auto& [id, attempt] : running_) all.running.push_back(attempt);
  return all;
}

}  // namespace capsweep::simulation
