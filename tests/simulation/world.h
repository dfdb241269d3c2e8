// One simulated deployment: the coordinator's process with its disk and planner, the network, the workers, an operator,
// and the judge of all promises. One seed decides everything.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/core.h"
#include "tests/simulation/catalogue.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/ledger/ledger.h"
#include "tests/simulation/machine.h"
#include "tests/simulation/seeker.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/simulation.h"

namespace capsweep::simulation {

class World : public Surroundings {
 public:
  World(uint64_t seed, Mutant mutant, bool trace);
  Outcome Run();

  // ---- Surroundings
  Timeline& timeline() override { return timeline_; }
  Chance& chance() override { return chance_; }
  const Weather& weather() const override { return weather_; }
  PointResult Measure(const PointSpec& point, bool resumed) override;
  Duration TrainingTime(const PointSpec& point) override { return catalogue_.Find(point).time; }
  int Lanes(const PointSpec& point) override { return catalogue_.Find(point).lanes; }
  void Send(size_t worker, int64_t process, const agent::SyncCall& call) override;
  void HangUp(size_t worker, int64_t process, int64_t sequence) override;
  void NoteCrash() override { ++outcome_.worker_crashes; }
  bool MayVanish() override;

 private:
  struct OpenCall {
    size_t worker = 0;
    int64_t process = 0;
    int64_t sequence = 0;
    std::set<Attempt> results;
    std::set<Attempt> ended;        // failures and hand-backs
    std::set<Attempt> checkpoints;  // of these, with one
    bool stale = false;             // this coordinator has heard a later call of that worker
  };
  struct Request {  // of the operator
    core::SweepVerb verb = core::SweepVerb::kPause;
    int64_t sweep = 0;
  };
  struct Search {
    int64_t number = 0;              // of its file
    std::unique_ptr<Seeker> seeker;  // of this process; null: not asked yet
    uint64_t mark = 0;               // last planned, and with how many slots
    int64_t slots = 0;
    std::set<std::string> asked;  // keys; of the whole deployment's life
  };

  // world.cc: the course of a run.
  void DrawOptions();
  void Say(const std::string& what);
  void ClearUp();
  bool EverythingDone() const;
  void CheckEnd();
  std::string WhatIsMissing() const;

  // network.cc: calls, lost and delayed, and calls that lie.
  int Copies();
  Duration Latency();
  void Arrive(size_t worker, int64_t process, const agent::SyncCall& call);
  void TakeReports(const agent::SyncCall& call, core::WorkerSync& sync, OpenCall& open) const;
  void Lie();
  void Garble();
  void Carry(core::SyncReply& reply);
  agent::SyncReply ForAgent(const core::SyncReply& reply);
  void CheckReply(const OpenCall& call, const core::SyncReply& reply);

  // coordinator.cc: its process, its disk and its deaths.
  Instant CoreNow() const;
  void Apply(const core::Event& event);
  void Audit(const core::Event& event, const core::Effects& effects);
  void Carry(core::Persist& batch);
  void Spoil(core::Mutation& mutation) const;
  void PlanCommit();
  void Commit();
  void CrashCoordinator();
  void Restart();
  void Tick();

  // operator.cc: sweeps, and what people do to them and to workers.
  void SubmitGrid(int64_t first, int64_t last);
  void SubmitSearch(int64_t number);
  void Store(const core::SweepRow& row, const std::vector<PointSpec>& points, bool searched, bool plans,
             std::function<void()> then = nullptr);
  void ChangeOrder();
  void Verbs();
  void ChangeSweep(int64_t sweep, core::SweepVerb verb);
  void ChangeSomeWorker();
  void Carry(const core::AdminReply& reply);
  void MendSweeps();

  // planner.cc
  void PlanSoon();
  void Plan(const core::Searching& searching, int64_t slots);
  plan::Outcomes OutcomesOf(int64_t sweep) const;
  void CheckFindings();

  Timeline timeline_;
  Chance chance_;
  const bool harsh_;
  Weather weather_;
  const Mutant mutant_;
  const bool trace_;
  bool calm_ = false;
  core::Options options_;
  Judge judge_;
  Catalogue catalogue_;
  Disk disk_;
  std::unique_ptr<core::Core> core_;  // null: no coordinator runs
  std::unique_ptr<Ledger> ledger_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::map<core::Token, OpenCall> open_;
  std::map<core::Token, Request> requests_;
  std::map<size_t, std::pair<std::string, int64_t>> heard_;  // the latest start and call of each worker
  std::map<int64_t, Attempt> acknowledged_;
  std::map<int64_t, core::SweepRow> sweeps_;  // as submitted
  std::map<int64_t, Search> searches_;        // by sweep
  std::set<int64_t> cancelled_;               // sweeps whose end an operator was promised
  Duration jumped_{};
  core::Token tokens_ = 0;
  int64_t coordinator_ = 0;  // processes so far
  int64_t events_ = 0;       // applied
  int64_t lies_ = 0;
  size_t vanished_ = 0;   // workers gone for good
  int64_t attempts_ = 0;  // but for doubles of stragglers
  bool commit_planned_ = false, planning_ = false, storing_ = false, full_ = false;
  Outcome outcome_;
};

}  // namespace capsweep::simulation
