// The pack: attempts wait in a queue, fill the slots of a back end, train side by side, and report.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/clock.h"
#include "worker/trainer/backend.h"
#include "worker/trainer/protocol.h"

namespace capsweep::trainer {

// Not thread-safe: commands and Advance come from one thread. Reports leave through `emit`, one line each, in order.
class Runner {
 public:
  using Emit = std::function<void(const std::string& line)>;

  // `backends` in order of preference, at least one. `facts` complete the results. `report_all`: also started,
  // progress, cancelled and stopped lines, not only results, failures and errors. `flush`: what was emitted must be
  // said before training goes on, so that whoever listens knows what was running if this process dies of it.
  Runner(
      std::vector<std::unique_ptr<Backend>> backends, DeviceFacts facts, bool report_all, Emit emit,
      const Clock& clock = Clock::Real(), std::function<void()> flush = [] {});

  // One line of input. Never fails: what cannot be understood or trained is reported.
  void Handle(std::string_view line);
  // A line that was thrown away unread.
  void RejectLine(std::string_view reason);

  // Fills free slots, trains for about `slice`, reports progress (each running attempt about once a second), results
  // and failures. Returns at once when there is nothing to do. Not OK: the device is sick; what is held here can only
  // be trained elsewhere, or by another process.
  absl::Status Advance(Duration slice);

  bool busy() const { return !queue_.empty() || running() > 0; }
  bool stopped() const { return stopped_; }  // after a stop command: everything is answered, exit
  int running() const;
  bool any_failed() const { return any_failed_; }
  bool any_bad_input() const { return any_bad_input_; }

 private:
  struct Attempt {
    std::string name;
    PointSpec point;
    std::string shape;
    std::string checkpoint;
    Backend* backend;
  };
  struct Running {
    Attempt attempt;
    Instant last_report;
  };

  void Train(Command command);
  void Cancel(const std::string& attempt);
  void Stop(const std::string& folder);

  Backend* Choose(const PointSpec& point, std::string& why_not) const;
  void FillSlots();
  // False: not now. The attempt is back in the queue, or the device is sick.
  bool Start(int slot, Attempt attempt);
  absl::StatusOr<int64_t> LoadFromCheckpoint(int slot, const Attempt& attempt);
  void CollectSlots();
  void Finish(int slot, const SlotView& view);
  void Fail(const std::string& attempt, FailureCause cause, std::string_view message, int pack_size);
  void EmitResult(const Running& running, PointResult result);
  std::string SaveSlot(int slot, const std::string& folder);

  std::vector<std::unique_ptr<Backend>> backends_;
  DeviceFacts facts_;
  bool report_all_;
  Emit emit_;
  const Clock& clock_;
  std::function<void()> flush_;

  std::deque<Attempt> queue_;
  absl::flat_hash_set<std::string> known_;  // names of what is queued or running
  // The pack: all slots belong to `active_`. Chosen anew by the head of the queue when no slot is busy.
  Backend* active_ = nullptr;
  int most_running_ = 0;  // fewer than the back end would take, once memory ran out
  bool told_fallback_ = false;
  std::vector<std::optional<Running>> slots_;
  int64_t bare_points_ = 0;
  bool said_result_ = false;  // and not flushed it yet
  bool stopped_ = false;
  bool any_failed_ = false;
  bool any_bad_input_ = false;
};

}  // namespace capsweep::trainer
