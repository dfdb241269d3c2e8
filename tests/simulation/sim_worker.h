// A simulated worker: the agent's real state, a spool that survives its crashes, and trainers that take their time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/machine.h"
#include "worker/agent/state.h"

namespace capsweep::simulation {

// What a worker needs of the world around it.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual Timeline& timeline() = 0;
  virtual Chance& chance() = 0;
  virtual const Weather& weather() const = 0;
  virtual PointResult Measure(const PointSpec& point, bool resumed) = 0;
  virtual Duration TrainingTime(const PointSpec& point) = 0;
  // Models that train in lockstep share a slot of a CPU: so many do.
  virtual int Lanes(const PointSpec& point) = 0;
  // Puts a call on the network. The answer, if there is one, comes as SimWorker::OnAnswer with the same numbers.
  virtual void Send(size_t worker, int64_t process, const agent::SyncCall& call) = 0;
  // The connection of that call broke; the coordinator may hear of it.
  virtual void HangUp(size_t worker, int64_t process, int64_t sequence) = 0;
  virtual void NoteCrash() = 0;
  // Whether a worker that crashes now may be gone for good, host, spool and all.
  virtual bool MayVanish() = 0;
};

class SimWorker {
 public:
  SimWorker(Surroundings& world, size_t index, int devices, int slots, bool gpu);

  void Start();
  void Crash();
  // As a service manager does it: the process ends at once and comes back.
  void Restart();
  void OnAnswer(int64_t process, int64_t sequence, bool good, const agent::SyncReply& reply);

  std::string Name() const { return "w" + std::to_string(index_); }
  // Sorts by start, as an agent's does.
  std::string Incarnation(int64_t process) const { return std::to_string(1'000'000 + process) + "-" + Name(); }
  const std::string& Kind() const { return kind_; }
  bool HoldsNothing() const { return state_ == nullptr || state_->Idle(); }
  bool OwesNothing() const { return spool_.empty(); }

 private:
  struct Running {
    std::string attempt;
    PointSpec point;
    int64_t serial = 0;
    bool resumed = false;
  };
  struct Trainer {
    std::vector<Running> queue, running;
  };

  // `what` happens unless the process has ended by then; a frozen process does it when it goes on.
  void Later(Duration delay, std::function<void()> what);
  void Freeze();
  void Call();
  void CallSoon();
  void Carry(agent::Changes changes);
  void Greet(size_t device);
  void StartQueued(size_t device);
  void RunOutOfMemory(size_t device);
  void Leave();
  void End(Duration until_start);
  void Finish(size_t device, int64_t serial);
  void KillTrainer(size_t device);

  Surroundings& world_;
  const size_t index_;
  int devices_;
  int slots_;
  int64_t memory_ = 1000;
  const bool gpu_;
  std::string kind_;
  const double patience_;  // seconds for which an idle call may be held open
  int64_t process_ = 0;
  Instant frozen_until_{};
  Instant allocation_end_{};  // epoch: none
  bool leaving_ = false;
  std::unique_ptr<agent::State> state_;  // null: no process
  std::vector<Trainer> trainers_;
  int64_t next_serial_ = 0;
  std::map<agent::AttemptId, agent::Report> spool_;
  agent::SyncCall open_;  // the call under way, if waiting_
  bool waiting_ = false;
  bool call_planned_ = false;
};

}  // namespace capsweep::simulation
