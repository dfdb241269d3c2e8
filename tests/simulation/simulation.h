// A whole deployment in one process and one thread: the real coordinator core and the real agents' state, around them a
// simulated network, disk, clock and trainers, all driven by one seed. docs/fault-model.md names the promises; each of
// them is checked after every event, or at the end, when the faults have stopped and everything must get done.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace capsweep::simulation {

// Deliberately broken variants, each a mistake somebody could make. The simulation is worth its name if it catches all.
enum class Mutant {
  kNone,
  kTellsBeforeDisk,      // the core hears of a commit that has not happened
  kLosesBatches,         // a batch never reaches the disk although it is reported as committed
  kSwapsBatches,         // two batches reach the disk in the wrong order
  kForgetsAttempts,      // after a restart attempt numbers begin at 1 again
  kForgetsPoint,         // after a restart a point is missing
  kForgetsRunning,       // after a restart nothing is known of running attempts, which stay running on disk
  kReusesAttempt,        // a lease gets the number of the one before
  kAcceptsTwice,         // a late result is accepted as a second one
  kAcceptsNothing,       // a result is acknowledged and not stored
  kAcknowledgesNothing,  // acknowledgements are left out of replies
  kReopensDone,          // a done point becomes pending
  kStopsClock,           // the core's clock stands still: no lease ever ends
  kIgnoresDrops,         // replies never name attempts to drop
  kIgnoresHeld,          // what workers say they hold does not reach the core
  kLosesVerbs,           // what an operator changed of a sweep is confirmed and not stored
  kForgetsFailures,      // after a restart nothing has ever failed
  kPlansBlindly,         // the planner does not see what was asked for before
  kStopsSearching,       // the planner says that it wants nothing more
  kLosesProbes,          // what the planner wants is not stored
};
const std::vector<Mutant>& AllMutants();  // without kNone
std::string_view NameOf(Mutant mutant);

struct Outcome {
  std::string violation;  // "" = every promise was kept
  int64_t events = 0;
  int64_t results = 0;
  int64_t coordinator_crashes = 0;
  int64_t worker_crashes = 0;
  int64_t lost_messages = 0;
  int64_t late_results = 0;
  int64_t doubled = 0;  // stragglers started a second time
  uint64_t digest = 0;  // of everything that happened: the same seed gives the same digest
};

// Deterministic: a pure function of its arguments. `trace` prints what happens to standard error.
Outcome Simulate(uint64_t seed, Mutant mutant = Mutant::kNone, bool trace = false);

}  // namespace capsweep::simulation
