// The network of a simulated deployment: calls are lost, repeated, late and out of order, and some lie.
#include <algorithm>

#include "common/text.h"
#include "tests/simulation/world.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr char kDatabase[] = "db";

core::AttemptRef Ref(const agent::AttemptId& id) {
  return {id.point, id.attempt};
}

}  // namespace

int World::Copies() {
  if (chance_.OneIn(weather_.lose)) {
    ++outcome_.lost_messages;
    return 0;
  }
  return chance_.OneIn(weather_.repeat) ? 2 : 1;
}

Duration World::Latency() {
  return chance_.OneIn(weather_.delay) ? chance_.Between(milliseconds(50), seconds(70))
                                       : chance_.Between(milliseconds(1), milliseconds(40));
}

void World::Send(size_t worker, int64_t process, const agent::SyncCall& call) {
  const int copies = Copies();
  for (int i = 0; i < copies; ++i) {
    timeline_.After(Latency(), [this, worker, process, call] { Arrive(worker, process, call); });
  }
}

void World::HangUp(size_t worker, int64_t process, int64_t sequence) {
  timeline_.After(Latency(), [this, worker, process, sequence] {
    for (const auto& [token, call] : open_) {
      if (call.worker != worker || call.process != process || call.sequence != sequence) continue;
      Say(StrCat("w", worker, " #", sequence, " hung up"));
      const core::Token gone = token;
      open_.erase(gone);
      return Apply(core::SyncAbandoned{gone});
    }
  });
}

void World::TakeReports(const agent::SyncCall& call, core::WorkerSync& sync, OpenCall& open) const {
  for (const agent::ReportPtr& report : call.reports) {
    const core::AttemptRef id = Ref(report->id);
    if (report->kind == agent::ReportKind::kResult) {
      open.results.insert(Pair(id));
      sync.results.push_back({id, report->device, KeyPrefix(report->result->point_key), report->result});
    } else if (report->kind == agent::ReportKind::kFailure) {
      open.ended.insert(Pair(id));
      sync.failures.push_back({id, report->device, report->cause, report->message, report->pack_size});
    } else {
      open.ended.insert(Pair(id));
      if (report->checkpoint != nullptr) open.checkpoints.insert(Pair(id));
      sync.handed_back.push_back({id, report->checkpoint});
    }
  }
}

void World::Arrive(size_t worker, int64_t process, const agent::SyncCall& call) {
  if (core_ == nullptr) {  // nobody listens
    timeline_.After(Latency(), [this, worker, process, sequence = call.sequence] {
      workers_[worker]->OnAnswer(process, sequence, false, {});
    });
    return;
  }
  core::WorkerSync sync;
  OpenCall open{worker, process, call.sequence, {}, {}, {}, false};
  sync.token = ++tokens_;
  sync.worker = WorkerId(workers_[worker]->Name());
  sync.incarnation = Incarnation(workers_[worker]->Incarnation(process));
  sync.sequence = call.sequence;
  sync.host = StrCat("host-", worker);
  sync.version = StrCat("1.", process);
  sync.max_wait = FromSeconds(call.max_wait_seconds);
  sync.draining = call.draining;
  sync.leaving = call.leaving;
  sync.remaining_seconds = call.remaining_seconds;
  std::string held;
  for (const agent::DeviceView& device : call.devices) {
    core::DeviceReport report{device.name,   device.kind, device.memory_bytes, device.slots, device.ready,
                              device.reason, {}};
    for (const agent::HeldView& h : device.held) {
      StrAppend(&held, " ", h.id.point.value(), "/", h.id.attempt.value());
      if (mutant_ != Mutant::kIgnoresHeld) report.held.push_back({Ref(h.id), h.progress, h.running});
    }
    sync.devices.push_back(std::move(report));
  }
  TakeReports(call, sync, open);
  const std::pair<std::string, int64_t> place{sync.incarnation.value(), sync.sequence};
  std::pair<std::string, int64_t>& latest = heard_[worker];
  open.stale = place <= latest;
  latest = std::max(latest, place);
  open_[sync.token] = std::move(open);
  Say(StrCat("call ", sync.worker.value(), " #", sync.sequence, " results ", sync.results.size(), " failures ",
             sync.failures.size(), " back ", sync.handed_back.size(), sync.leaving ? " leaves" : "", " holds", held));
  Apply(sync);
  if (chance_.OneIn(weather_.liar)) Lie();
  if (chance_.OneIn(weather_.liar)) Garble();
  if (chance_.OneIn(weather_.crash_coordinator)) CrashCoordinator();
}

// A worker that claims what cannot be: none of it may become a result or end somebody's attempt.
void World::Lie() {
  if (core_ == nullptr) return;
  core::WorkerSync sync;
  sync.token = ++tokens_;
  sync.worker = WorkerId("liar");
  sync.incarnation = Incarnation("liar.1");
  sync.sequence = ++lies_;
  const core::AttemptRef claimed{PointId(1 + chance_.Below(catalogue_.size() + 1)), AttemptNumber(1)};
  sync.devices.push_back({"cpu:0", "cpu", 0, 1, false, "lying", {{claimed, 2.0, true}}});
  const int64_t point = 1 + chance_.Below(catalogue_.size());
  PointResult wrong = Measure(catalogue_.at(point).spec, false);
  wrong.items_mem += 1;
  const auto result = std::make_shared<const PointResult>(wrong);
  const uint64_t key = KeyPrefix(wrong.point_key);
  const auto attempt = static_cast<int32_t>(1 + chance_.Below(4));
  if (chance_.OneIn(2)) {  // a number that was never given out, a point that is not there, no result at all
    const AttemptNumber never(chance_.OneIn(4) ? 0 : attempt + 1000);
    sync.results.push_back({{PointId(9999), AttemptNumber(attempt)}, "cpu:0", key, result});
    sync.results.push_back({{PointId(point), AttemptNumber(attempt)}, "cpu:0", key, nullptr});
    sync.results.push_back({{PointId(point), never}, "cpu:0", key, result});
  } else {  // the measurement of another point
    sync.results.push_back({{PointId(point), AttemptNumber(attempt)}, "cpu:0", key ^ 1, result});
  }
  // The ends of attempts that others may hold at this moment.
  const auto somebodys = [this] {
    return core::AttemptRef{PointId(1 + chance_.Below(catalogue_.size())),
                            AttemptNumber(static_cast<int32_t>(1 + chance_.Below(5)))};
  };
  sync.failures.push_back({somebodys(), "cpu:0", FailureCause::kBadPoint, "", 1});
  sync.handed_back.push_back({somebodys(), std::make_shared<Checkpoint>(Checkpoint{"cpu", "made up"})});
  open_[sync.token] = {workers_.size(), 0, sync.sequence, {}, {}, {}, false};
  Say("lie");
  Apply(sync);
}

// A call that no agent would make: it is refused as a whole.
void World::Garble() {
  if (core_ == nullptr) return;
  core::WorkerSync sync;
  sync.token = ++tokens_;
  sync.worker = WorkerId(chance_.OneIn(3) ? "" : "liar");
  sync.incarnation = Incarnation(chance_.OneIn(3) ? "" : "liar.2");
  sync.sequence = ++lies_;
  sync.devices.push_back({"cpu:0", "cpu", 0, static_cast<int32_t>(chance_.Below(2)), true, "", {}});
  if (chance_.OneIn(2)) sync.devices.push_back(sync.devices.front());
  const bool wrong = sync.worker.value().empty() || sync.incarnation.value().empty() ||
                     sync.devices.front().slots < 1 || sync.devices.size() > 1;
  if (!wrong) return;
  open_[sync.token] = {workers_.size(), 0, sync.sequence, {}, {}, {}, true};
  Apply(sync);
}

void World::Carry(core::SyncReply& reply) {
  const auto open = open_.find(reply.token);
  if (open == open_.end()) return;
  const OpenCall call = open->second;
  open_.erase(open);
  if (trace_) {
    std::string said = reply.status.ok() ? "" : StrCat(" ", reply.status.ToString());
    for (const auto& a : reply.assignments) StrAppend(&said, " +", a.id.point.value(), "/", a.id.attempt.value());
    for (const auto& a : reply.drop) StrAppend(&said, " -", a.point.value(), "/", a.attempt.value());
    for (const auto& a : reply.acknowledged) {
      StrAppend(&said, " ack ", a.id.point.value(), "/", a.id.attempt.value(), ":", static_cast<int>(a.verdict));
    }
    Say(StrCat("reply to w", call.worker, " #", call.sequence, said));
  }
  CheckReply(call, reply);
  if (call.worker >= workers_.size()) return;  // the liar does not listen
  const agent::SyncReply out = ForAgent(reply);
  const int copies = Copies();
  for (int i = 0; i < copies; ++i) {
    timeline_.After(Latency(), [this, call, good = reply.status.ok(), out] {
      workers_[call.worker]->OnAnswer(call.process, call.sequence, good, out);
    });
  }
}

agent::SyncReply World::ForAgent(const core::SyncReply& reply) {
  agent::SyncReply out;
  out.database_id = kDatabase;
  out.sequence = reply.sequence;
  for (const core::Assignment& a : reply.assignments) {
    const Item& item = catalogue_.at(a.id.point.value());
    std::shared_ptr<const Checkpoint> checkpoint;
    if (disk_.HasCheckpointOf(item.id)) checkpoint = std::make_shared<Checkpoint>(Checkpoint{"cpu", "half way"});
    out.assignments.push_back(
        {{a.id.point, a.id.attempt}, a.device, item.key, item.spec, absl::OkStatus(), checkpoint});
  }
  if (mutant_ != Mutant::kIgnoresDrops) {
    for (const core::AttemptRef& id : reply.drop) out.drop.push_back({id.point, id.attempt});
  }
  if (mutant_ != Mutant::kAcknowledgesNothing) {
    for (const core::Acknowledgement& a : reply.acknowledged) {
      out.acknowledged.push_back({{a.id.point, a.id.attempt}, static_cast<agent::Verdict>(a.verdict), a.reason});
    }
  }
  out.drain = reply.drain;
  out.stop = reply.stop;
  out.next_call_seconds = ToSeconds(reply.next_call);
  return out;
}

// Persist, then reply: whatever a worker is told must be on disk.
void World::CheckReply(const OpenCall& call, const core::SyncReply& reply) {
  judge_.Require(!call.stale || !reply.status.ok(), "an outdated call of w", call.worker, " is served");
  for (const core::Assignment& a : reply.assignments) {
    judge_.Require(disk_.WasStarted(Pair(a.id)), "a worker is told of attempt ", a.id.attempt.value(), " of point ",
                   a.id.point.value(), ", which is not on disk");
  }
  for (const core::AttemptRef& id : reply.drop) {
    judge_.Require(call.worker >= workers_.size() || !disk_.IsRunning(Pair(id)), "a worker is to drop attempt ",
                   id.attempt.value(), " of point ", id.point.value(), ", which runs on disk");
  }
  for (const core::Acknowledgement& ack : reply.acknowledged) {
    if (call.worker >= workers_.size()) {
      judge_.Require(ack.verdict != core::Verdict::kAccepted, "a lie about point ", ack.id.point.value(),
                     " is accepted");
    }
    if (call.ended.contains(Pair(ack.id)) && ack.verdict == core::Verdict::kAccepted) {
      judge_.Require(!disk_.IsRunning(Pair(ack.id)), "the end of an attempt of point ", ack.id.point.value(),
                     " is acknowledged and not on disk");
      judge_.Require(!call.checkpoints.contains(Pair(ack.id)) || disk_.HasCheckpoint(Pair(ack.id)),
                     "a checkpoint of point ", ack.id.point.value(), " is acknowledged and not on disk");
    }
    if (!call.results.contains(Pair(ack.id)) || ack.verdict == core::Verdict::kRejected) continue;
    const int64_t point = ack.id.point.value();
    judge_.Require(disk_.HasResult(point), "the result of point ", point, " is acknowledged and not on disk");
    if (ack.verdict == core::Verdict::kAccepted && disk_.HasResult(point)) {
      acknowledged_[point] = Pair(ack.id);
      judge_.Require(disk_.results().at(point) == Pair(ack.id), "point ", point, " holds another attempt's result");
    }
  }
}

}  // namespace capsweep::simulation
