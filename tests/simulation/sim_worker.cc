#include "tests/simulation/sim_worker.h"

#include <algorithm>
#include <utility>

#include "common/text.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

SimWorker::SimWorker(Surroundings& world, size_t index, int devices, int slots, bool gpu)
    : world_(world),
      index_(index),
      devices_(devices),
      slots_(slots),
      gpu_(gpu),
      kind_(gpu ? "h100" : "cpu"),
      patience_(world.chance().OneIn(3) ? 40 : 10) {}

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
  waiting_ = call_planned_ = leaving_ = false;
  Chance& chance = world_.chance();
  if (gpu_ && chance.OneIn(world_.weather().change_device)) devices_ = static_cast<int>(1 + chance.Below(2));
  std::vector<std::string> names;
  for (int d = 0; d < devices_; ++d) names.push_back(StrCat(gpu_ ? "cuda:" : "cpu:", d));
  state_ = std::make_unique<agent::State>(names);
  trainers_.assign(static_cast<size_t>(devices_), {});
  if (!spool_.empty()) {
    std::vector<agent::Report> reports;
    for (const auto& [id, report] : spool_) reports.push_back(report);
    state_->AssumeDatabase(reports.front().database_id);
    state_->Restore(std::move(reports));
  }
  for (int d = 0; d < devices_; ++d) {
    Later(milliseconds(300), [this, d] { Greet(static_cast<size_t>(d)); });
  }
  // Whatever it does then: also while a call is held open or waits for the disk.
  if (chance.OneIn(world_.weather().die)) Later(chance.Between(seconds(1), seconds(100)), [this] { Crash(); });
  allocation_end_ = {};
  if (chance.OneIn(world_.weather().allocation)) {
    const Duration allocation = chance.Between(seconds(30), seconds(200));
    allocation_end_ = world_.timeline().now() + allocation;
    Later(allocation - seconds(15), [this] { Leave(); });
  }
  CallSoon();
}

// A trainer says what it runs on: after a driver's update or in another allocation it may be something else.
void SimWorker::Greet(size_t device) {
  Chance& chance = world_.chance();
  if (chance.OneIn(world_.weather().change_device)) {
    if (gpu_) kind_ = kind_ == "h100" ? "h200" : "h100";
    if (chance.OneIn(2)) slots_ = static_cast<int>(1 + chance.Below(3));
    memory_ = 1000 * (1 + chance.Below(2));
  }
  agent::Hello hello{.protocol = 1, .version = "v", .device_kind = kind_, .memory_bytes = memory_, .slots = slots_};
  Carry(state_->OnTrainerMessage(device, hello));
}

void SimWorker::Crash() {
  // The newest report may not have been synced to the disk yet.
  if (!spool_.empty() && world_.chance().OneIn(4)) spool_.erase(std::prev(spool_.end()));
  world_.NoteCrash();
  End(world_.chance().Between(milliseconds(100), seconds(world_.chance().OneIn(4) ? 60 : 5)));
}

void SimWorker::Restart() {
  if (state_ != nullptr) End(milliseconds(100));
}

void SimWorker::End(Duration until_start) {
  if (waiting_ && world_.chance().OneIn(world_.weather().hang_up)) world_.HangUp(index_, process_, open_.sequence);
  state_ = nullptr;
  if (world_.MayVanish()) {
    spool_.clear();
    return;
  }
  world_.timeline().After(until_start, [this, process = process_] {
    if (process == process_) Start();
  });
}

// Says goodbye: hands back what it holds, delivers its reports, ends.
void SimWorker::Leave() {
  if (std::exchange(leaving_, true)) return;
  for (size_t d = 0; d < trainers_.size(); ++d) {
    for (const Running& running : std::exchange(trainers_[d], {}).running) {
      if (world_.chance().OneIn(2)) continue;  // it had no time for a checkpoint
      Carry(state_->HandBack(running.attempt, std::make_shared<Checkpoint>(Checkpoint{kind_, "half way"})));
    }
    Carry(state_->HandBackAll(d));
  }
  CallSoon();
  Later(seconds(30), [this] { End(world_.chance().Between(seconds(1), seconds(60))); });
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
  if (world_.chance().OneIn(world_.weather().leave)) return Leave();
  const double max_wait = state_->AnyDeviceIdle() && !leaving_ ? patience_ : 0;
  const double remaining =
      allocation_end_ == Instant{} ? 0 : std::max(0.001, ToSeconds(allocation_end_ - world_.timeline().now()));
  open_ = state_->BuildCall(max_wait, leaving_, leaving_, remaining);
  if (state_->HasUnsent(open_)) open_.leaving = false;
  waiting_ = true;
  world_.Send(index_, process_, open_);
  Later(seconds(static_cast<int64_t>(max_wait) + 5), [this, sequence = open_.sequence] {
    if (!waiting_ || open_.sequence != sequence) return;
    if (world_.chance().OneIn(2)) world_.HangUp(index_, process_, sequence);
    Call();  // no answer came
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
  Carry(state_->ApplyReply(open_, reply, /*accept_work=*/!leaving_));
  if (leaving_ && open_.leaving && state_->Unacknowledged().empty()) {
    return End(world_.chance().Between(seconds(1), seconds(60)));
  }
  if (reply.stop) return Leave();
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
    trainers_[train.device].queue.push_back({train.attempt, train.point, ++next_serial_, train.checkpoint != nullptr});
    StartQueued(train.device);
  }
  if (!changes.reports.empty()) CallSoon();
}

void SimWorker::StartQueued(size_t device) {
  Trainer& trainer = trainers_[device];
  const auto share = [this](const Running& r) { return gpu_ ? 1.0 : 1.0 / world_.Lanes(r.point); };
  double used = 0;
  for (const Running& r : trainer.running) used += share(r);
  while (!trainer.queue.empty() && used + share(trainer.queue.front()) < slots_ + 1e-6) {
    trainer.running.push_back(trainer.queue.front());
    trainer.queue.erase(trainer.queue.begin());
    const Running& next = trainer.running.back();
    used += share(next);
    state_->OnTrainerMessage(device, agent::Started{next.attempt});
    Duration time = world_.TrainingTime(next.point);
    if (world_.chance().OneIn(world_.weather().slow_training)) {
      time = std::max(time, std::min<Duration>(time * (4 + world_.chance().Below(12)), std::chrono::seconds(600)));
    }
    for (const int percent : {30, 80}) {
      Later(time * percent / 100, [this, device, percent, attempt = next.attempt] {
        state_->OnTrainerMessage(device, agent::Progress{attempt, percent / 100.0});
      });
    }
    Later(time, [this, device, serial = next.serial] { Finish(device, serial); });
  }
}

// What trains together fails together.
void SimWorker::RunOutOfMemory(size_t device) {
  const std::vector<Running> pack = std::exchange(trainers_[device].running, {});
  for (const Running& r : pack) {
    agent::Failed failed{r.attempt, FailureCause::kOutOfMemory, "out of memory", static_cast<int32_t>(pack.size())};
    Carry(state_->OnTrainerMessage(device, failed));
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
  if (!trainer.running.empty() && chance.OneIn(weather.out_of_memory)) {
    trainer.running.push_back(done);
    RunOutOfMemory(device);
  } else if (chance.OneIn(weather.fail_point)) {
    constexpr FailureCause kCertain[] = {FailureCause::kNanLoss, FailureCause::kBadPoint, FailureCause::kUnsupported};
    const FailureCause cause = chance.OneIn(weather.certain) ? kCertain[chance.Below(3)]
                               : chance.OneIn(4)             ? FailureCause::kOutOfMemory
                                                             : FailureCause::kInternal;
    Carry(state_->OnTrainerMessage(device, agent::Failed{done.attempt, cause, "bad luck", 1}));
  } else if (chance.OneIn(weather.hand_back)) {
    Carry(state_->HandBack(done.attempt, std::make_shared<Checkpoint>(Checkpoint{kind_, "half way"})));
  } else {
    Carry(state_->OnTrainerMessage(
        device,
        agent::Finished{done.attempt, std::make_shared<const PointResult>(world_.Measure(done.point, done.resumed))}));
  }
  if (state_ != nullptr) StartQueued(device);
  if (chance.OneIn(weather.crash_worker)) Crash();
}

void SimWorker::KillTrainer(size_t device) {
  trainers_[device] = {};
  Carry(state_->OnTrainerLost(device, FailureCause::kTrainerDied, "killed", /*said_hello=*/true, /*give_up=*/false));
  // Most trainers are back in a second; some devices are gone for longer than a lease.
  const Duration away = world_.chance().OneIn(6) ? Duration(seconds(45)) : Duration(seconds(1));
  Later(away, [this, device] { Greet(device); });
}

}  // namespace capsweep::simulation
