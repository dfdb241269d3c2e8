// What an agent knows: its devices, the attempts they hold, and the reports the coordinator has not acknowledged. Pure:
// no IO, threads, clock or protobuf; what must be done is returned as Changes.
//
// Every message between agent and coordinator may be lost or repeated. Three rules make that harmless: the agent states
// everything it holds in every call; a report is sent again until it is acknowledged; an attempt whose report does not
// fit into a call is still listed as held, so that it is not given out again.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "common/point.h"
#include "worker/agent/report.h"
#include "worker/agent/trainer_lines.h"

namespace capsweep::agent {

using ReportPtr = std::shared_ptr<const Report>;

// ---------------------------------------------------------------- the call, as plain values

struct HeldView {
  AttemptId id;
  double progress = 0;
  bool running = false;
};
struct DeviceView {
  std::string name;
  std::string kind;
  int64_t memory_bytes = 0;
  int32_t slots = 1;
  bool ready = false;
  std::string reason;
  std::vector<HeldView> held;
};
struct SyncCall {
  int64_t sequence = 0;
  std::string database_id;
  std::string torch_version;
  std::vector<DeviceView> devices;
  std::vector<ReportPtr> reports;
  bool draining = false;
  bool leaving = false;
  double max_wait_seconds = 0;
  double remaining_seconds = 0;  // 0 = unlimited
};

struct Assignment {
  AttemptId id;
  std::string device;
  std::string point_key;
  PointSpec point;
  absl::Status point_status;                     // not OK: the point could not be read
  std::shared_ptr<const Checkpoint> checkpoint;  // may be null
};
enum class Verdict { kAccepted, kDuplicate, kLate, kRejected };
struct Acknowledgement {
  AttemptId id;
  Verdict verdict = Verdict::kAccepted;
  std::string reason;
};
struct SyncReply {
  std::string database_id;
  int64_t sequence = 0;
  std::vector<Assignment> assignments;
  std::vector<AttemptId> drop;
  std::vector<Acknowledgement> acknowledged;
  bool drain = false;
  bool stop = false;
  double next_call_seconds = 0;
  std::string notice;
};

// ---------------------------------------------------------------- what to do

struct Train {
  size_t device = 0;  // index
  std::string attempt;
  PointSpec point;
  std::shared_ptr<const Checkpoint> checkpoint;  // may be null
};
struct Cancel {
  size_t device = 0;
  std::string attempt;
};
struct Changes {
  std::vector<Train> train;
  std::vector<Cancel> cancel;
  std::vector<ReportPtr> reports;  // new ones
  std::vector<ReportPtr> settled;  // acknowledged: the spool forgets them
  std::vector<ReportPtr> parked;   // of a database that is gone: the spool keeps them
  bool new_database = false;       // load what the spool holds for database_id()
};

class State {
 public:
  explicit State(std::vector<std::string> device_names);

  // Reports read from the spool; not reported again as Changes::reports.
  void Restore(std::vector<Report> reports);
  // The database to name in the first call, when the spool knows it.
  void AssumeDatabase(const std::string& database_id) { database_id_ = database_id; }

  // The next call: everything held and as many reports as fit.
  SyncCall BuildCall(double max_wait_seconds, bool draining, bool leaving, double remaining_seconds);
  // `accept_work` false: assignments are left alone (the agent is leaving).
  Changes ApplyReply(const SyncCall& call, const SyncReply& reply, bool accept_work);
  // The call was refused as a whole because of what was in it: the next carries half the reports. A single report that
  // is refused while a call without it passes is given up; ApplyReply then returns it through TakeRefused.
  void OnRefused(const SyncCall& call);
  ReportPtr TakeRefused() { return std::exchange(refused_, nullptr); }

  // A trainer's message; names of attempts that are not held are ignored. Hello sends it everything its device holds.
  Changes OnTrainerMessage(size_t device, const TrainerMessage& message);
  // A trainer is gone. Started attempts are to blame together; if it died twice with work queued and none started, the
  // first of the queue is. The others wait for the next trainer, unless none can be started (`give_up`): then they are
  // handed back.
  Changes OnTrainerLost(size_t device, FailureCause cause, const std::string& message, bool said_hello, bool give_up);
  // The device hands back an attempt (by its trainer's name for it), or all it holds.
  Changes HandBack(const std::string& attempt, std::shared_ptr<const Checkpoint> checkpoint);
  Changes HandBackAll(size_t device);

  const std::string& database_id() const { return database_id_; }
  bool Busy(size_t device) const { return !devices_[device].held.empty(); }
  bool Idle() const;           // no device holds anything
  bool AnyDeviceIdle() const;  // a ready device holds nothing
  size_t HeldCount() const { return by_name_.size(); }
  // Of the ready device that holds the least: attempts for each of its slots. 0 where none is ready.
  double LeastHeldPerSlot() const;
  bool HasUnsent(const SyncCall& call) const { return unacknowledged_.size() > call.reports.size(); }
  std::vector<ReportPtr> Unacknowledged() const;
  const DeviceView& device(size_t index) const { return devices_[index].view; }

 private:
  struct Held {
    AttemptId id;
    std::string name;
    PointSpec point;
    std::string point_key;
    std::shared_ptr<const Checkpoint> checkpoint;
    double progress = 0;
    bool started = false;
  };
  struct DeviceState {
    DeviceView view;  // `held` is filled in calls only
    std::string torch_version;
    std::map<uint64_t, Held> held;  // in the order given
    int deaths_before_start = 0;    // in a row, with work queued and none started
  };
  struct Place {
    size_t device;
    uint64_t serial;
  };

  std::string NameOf(const AttemptId& id) const;
  Held* Find(const std::string& name);
  void Forget(const std::string& name);
  void Assign(const Assignment& assignment, Changes& changes);
  void AddReport(Report report, Changes& changes);
  void FailHeld(size_t device, const Held& held, FailureCause cause, const std::string& message, int32_t pack_size,
                Changes& changes);
  void DropAll(Changes& changes);
  void SwitchDatabase(const std::string& database_id, Changes& changes);
  void Acknowledge(const Acknowledgement& acknowledgement, Changes& changes);

  std::vector<DeviceState> devices_;
  absl::flat_hash_map<std::string, Place> by_name_;
  std::map<uint64_t, ReportPtr> unacknowledged_;  // oldest first
  std::map<AttemptId, uint64_t> unacknowledged_by_id_;
  uint64_t next_serial_ = 1;
  int64_t sequence_ = 0;
  std::string database_id_;
  bool drained_ = false;  // an operator's drain, kept here so that it outlives a restart of the coordinator
  int generation_ = 0;    // grows with each change of database, so that attempts of two never share a name
  size_t report_limit_;
  ReportPtr suspect_;
  ReportPtr refused_;
};

}  // namespace capsweep::agent
