#include "tests/simulation/machine.h"

namespace capsweep::simulation {

// `harsh`: also what only an operator can mend, or what may use up a point's attempts.
Weather DrawWeather(Chance& chance, bool harsh) {
  Weather w;
  if (chance.OneIn(8)) return w;  // a calm day
  const auto often = [&](int64_t low, int64_t high) { return chance.OneIn(3) ? 0 : low + chance.Below(high - low); };
  w.lose = 3 + chance.Below(60);
  w.repeat = often(2, 30);
  w.delay = often(3, 60);
  w.crash_coordinator = often(20, 400);
  w.crash_at_effect = often(20, 600);
  w.crash_worker = often(20, 300);
  w.freeze_worker = often(20, 200);
  w.lose_worker = often(1, 6);
  w.kill_trainer = often(5, 60);
  w.fail_point = often(4, 60);
  w.hand_back = often(5, 60);
  w.slow_training = often(3, 60);
  w.slow_disk = often(10, 200);
  w.full_disk = often(30, 300);
  w.clock_jump = often(20, 200);
  w.liar = often(5, 60);
  w.die = often(1, 4);
  w.odd_row = often(2, 8);
  w.hang_up = often(1, 3);
  w.leave = often(20, 200);
  w.allocation = often(1, 5);
  w.change_device = often(1, 8);
  w.out_of_memory = often(3, 40);
  w.verb = often(10, 60);
  w.plan_late = often(2, 10);
  w.store_late = often(2, 6);
  if (!harsh) return w;
  w.certain = often(2, 8);
  w.worker_verb = often(10, 60);
  w.submit = often(10, 60);
  w.cancel = often(20, 120);
  w.plan_error = often(4, 30);
  return w;
}

}  // namespace capsweep::simulation
