#include "tests/simulation/sim_worker.h"

#include <algorithm>
#include <utility>

#include "common/text.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

SimWorker::SimWorker(Surroundings& world, size_t index, int devices, int slots)
    : world_(world), index_(index), devices_(devices), slots_(slots) {}

void SimWorker::Later(Duration delay, std::function<void()> what) {
  const int64_t process = process_;
  world_.timeline().After(delay, [this, process, what = std::move(what)]() mutable {
    if (process != process_ || state_ == nullptr) return;
    if (const Instant now = world_.timeline().now(); now < frozen_until_) {
      Later(frozen_until_ - now, std::move(what));
      return;
    }
    what();
  });
}

void SimWorker::Start() {
  ++process_;
  frozen_until_ = {};
  waiting_ = call_planned_ = false;
  std::vector<std::string> names;
  for (int d = 0; d < devices_; ++d) names.push_back(StrCat("cpu:", d));
  state_ = std::make_unique<agent::State>(names);
  trainers_.assign(static_cast<size_t>(devices_), {});
  if (!spool_.empty()) {
    std::vector<agent::Report> reports;
    for (const auto& [id, report] : spool_) reports.push_back(report);
    state_->AssumeDatabase(reports.front().database_id);
    state_->Restore(std::move(reports));
  }
  for (int d = 0; d < devices_; ++d) {
    Later(milliseconds(300), [this, d] {
      agent::Hello hello{.protocol = 1, .version = "v", .device_kind = "cpu", .slots = slots_};
      Carry(state_->OnTrainerMessage(static_cast<size_t>(d), hello));
    });
  }
  CallSoon();
}

void SimWorker::Crash() {
  // The newest report may not have been synced to the disk yet.
  if (!spool_.empty() && world_.chance().OneIn(4)) spool_.erase(std::prev(spool_.end()));
  state_ = nullptr;
  world_.NoteCrash();
  if (world_.MayVanish()) {
    spool_.clear();
    return;
  }
  world_.timeline().After(world_.chance().Between(milliseconds(100), seconds(world_.chance().OneIn(4) ? 60 : 5)),
                          [this, process = process_] {
                            if (process == process_) Start();
                          });
}

void SimWorker::Freeze() {
  frozen_until_ = world_.timeline().now() + world_.chance().Between(seconds(1), seconds(80));
}

void SimWorker::CallSoon() {
  if (std::exchange(call_planned_, true)) return;
  Later(milliseconds(50), [this] {
    call_planned_ = false;
    Call();
  });
}

void SimWorker::Call() {
  if (world_.chance().OneIn(world_.weather().crash_worker)) return Crash();
  if (world_.chance().OneIn(world_.weather().freeze_worker)) Freeze();
  const double max_wait = state_->AnyDeviceIdle() ? 10 : 0;
  open_ = state_->BuildCall(max_wait, /*draining=*/false, /*leaving=*/false, /*remaining_seconds=*/0);
  waiting_ = true;
  world_.Send(index_, process_, open_);
  Later(seconds(static_cast<int64_t>(max_wait) + 5), [this, sequence = open_.sequence] {
    if (waiting_ && open_.sequence == sequence) Call();  // no answer came
  });
}

void SimWorker::OnAnswer(int64_t process, int64_t sequence, bool good, const agent::SyncReply& reply) {
  if (process != process_ || state_ == nullptr) return;
  if (const Instant now = world_.timeline().now(); now < frozen_until_) {
    return Later(frozen_until_ - now,
                 [this, process, sequence, good, reply] { OnAnswer(process, sequence, good, reply); });
  }
  if (!waiting_ || sequence != open_.sequence) return;  // of a call that was given up
  waiting_ = false;
  if (!good) return Later(milliseconds(500), [this] { CallSoon(); });
  Carry(state_->ApplyReply(open_, reply, /*accept_work=*/true));
  if (state_ == nullptr) return;
  Later(FromSeconds(std::max(0.05, reply.next_call_seconds)), [this, sequence] {
    if (!waiting_ && open_.sequence == sequence) Call();
  });
}

void SimWorker::Carry(agent::Changes changes) {
  for (const agent::ReportPtr& report : changes.reports) spool_[report->id] = *report;
  for (const agent::ReportPtr& report : changes.settled) spool_.erase(report->id);
  for (const agent::Cancel& cancel : changes.cancel) {
    Trainer& trainer = trainers_[cancel.device];
    const auto same = [&](const Running& r) { return r.attempt == cancel.attempt; };
    std::erase_if(trainer.queue, same);
    std::erase_if(trainer.running, same);
    StartQueued(cancel.device);
  }
  for (const agent::Train& train : changes.train) {
    trainers_[train.device].queue.push_back({train.attempt, train.point, ++next_serial_});
    StartQueued(train.device);
  }
  if (!changes.reports.empty()) CallSoon();
}

void SimWorker::StartQueued(size_t device) {
  Trainer& trainer = trainers_[device];
  while (static_cast<int>(trainer.running.size()) < slots_ && !trainer.queue.empty()) {
    trainer.running.push_back(trainer.queue.front());
    trainer.queue.erase(trainer.queue.begin());
    const Running& next = trainer.running.back();
    state_->OnTrainerMessage(device, agent::Started{next.attempt});
    Duration time = world_.TrainingTime(next.point);
    if (world_.chance().OneIn(world_.weather().slow_training)) {
      time = std::max(time, std::min<Duration>(time * (4 + world_.chance().Below(12)), std::chrono::seconds(600)));
    }
    Later(time, [this, device, serial = next.serial] { Finish(device, serial); });
  }
}

void SimWorker::Finish(size_t device, int64_t serial) {
  Trainer& trainer = trainers_[device];
  const auto found = std::find_if(trainer.running.begin(), trainer.running.end(),
                                  [&](const Running& r) { return r.serial == serial; });
  if (found == trainer.running.end()) return;  // cancelled, or its trainer died
  const Running done = *found;
  trainer.running.erase(found);
  Chance& chance = world_.chance();
  const Weather& weather = world_.weather();
  if (chance.OneIn(weather.kill_trainer)) {
    trainer.running.push_back(done);
    return KillTrainer(device);
  }
  if (chance.OneIn(weather.fail_point)) {
    Carry(state_->OnTrainerMessage(device, agent::Failed{done.attempt, FailureCause::kInternal, "bad luck", 1}));
  } else if (chance.OneIn(weather.hand_back)) {
    Carry(state_->HandBack(done.attempt, std::make_shared<Checkpoint>(Checkpoint{"cpu", "half way"})));
  } else {
    Carry(state_->OnTrainerMessage(
        device, agent::Finished{done.attempt, std::make_shared<const PointResult>(world_.Measure(done.point))}));
  }
  if (state_ != nullptr) StartQueued(device);
  if (chance.OneIn(weather.crash_worker)) Crash();
}

void SimWorker::KillTrainer(size_t device) {
  trainers_[device] = {};
  Carry(state_->OnTrainerLost(device, FailureCause::kTrainerDied, "killed", /*said_hello=*/true, /*give_up=*/false));
  Later(seconds(1), [this, device] {
    agent::Hello hello{.protocol = 1, .version = "v", .device_kind = "cpu", .slots = slots_};
    Carry(state_->OnTrainerMessage(device, hello));
  });
}

}  // namespace capsweep::simulation
