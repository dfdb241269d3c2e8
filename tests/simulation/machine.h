// What all parts of a simulated deployment share: time, chance, and what goes wrong.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "common/clock.h"

namespace capsweep::simulation {

// SplitMix64 (Steele, Lea, Flood 2014).
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  int64_t Below(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }
  bool OneIn(int64_t n) { return n > 0 && Below(n) == 0; }
  Duration Between(Duration low, Duration high) { return low + Duration(Below((high - low).count() + 1)); }

 private:
  uint64_t state_;
};

// Things that will happen, in the order of their time; of equal times in the order in which they were asked for.
class Timeline {
 public:
  Instant now() const { return now_; }
  // Everything happens at multiples of this, so that things fall together which otherwise never do.
  void set_grain(Duration grain) { grain_ = grain; }
  void After(Duration delay, std::function<void()> what) {
    const Duration at = (now_ + delay).time_since_epoch();
    queue_.push({Instant((at + grain_ - Duration(1)) / grain_ * grain_), ++order_, std::move(what)});
  }
  bool empty() const { return queue_.empty(); }
  // False: nothing is left before `end`.
  bool Step(Instant end) {
    if (queue_.empty() || queue_.top().at > end) return false;
    Entry next = queue_.top();
    queue_.pop();
    now_ = next.at;
    next.what();
    return true;
  }

 private:
  struct Entry {
    Instant at;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Entry& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  Instant now_{std::chrono::hours(1)};
  Duration grain_{1};
  uint64_t order_ = 0;
  std::priority_queue<Entry> queue_;
};

// How often things go wrong, drawn per seed so that calm and stormy worlds both occur. One in N; 0 = never.
struct Weather {
  int64_t lose = 0, repeat = 0, delay = 0;          // messages
  int64_t crash_coordinator = 0, crash_worker = 0;  // per event of theirs
  int64_t crash_at_effect = 0;                      // of the coordinator between two effects
  int64_t freeze_worker = 0, lose_worker = 0, kill_trainer = 0, fail_point = 0, hand_back = 0;
  int64_t slow_training = 0;  // takes many times as long as it should
  int64_t slow_disk = 0, full_disk = 0, clock_jump = 0, liar = 0;
  int64_t die = 0;                         // a worker at any moment, per start
  int64_t hang_up = 0;                     // a worker that dies while its call is open
  int64_t leave = 0, allocation = 0;       // a worker that says goodbye; one whose time is limited, per start
  int64_t change_device = 0;               // another kind or number of slots, per start of a trainer
  int64_t out_of_memory = 0, certain = 0;  // of packs; failures that nobody tries again
  int64_t verb = 0, worker_verb = 0;       // of the operator, per second
  int64_t store_late = 0;                  // the core hears of a stored sweep after a while
  int64_t submit = 0, cancel = 0;          // more work, and less; per second
  int64_t odd_row = 0;                     // per start of the coordinator: an attempt on record that cannot be
  int64_t plan_late = 0, plan_error = 0;   // of the planner
};
Weather DrawWeather(Chance& chance, bool harsh);

}  // namespace capsweep::simulation
