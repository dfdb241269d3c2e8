#include "tests/simulation/simulation.h"

#include <spdlog/spdlog.h>

#include "tests/simulation/world.h"

namespace capsweep::simulation {

const std::vector<Mutant>& AllMutants() {
  static const auto* const kAll = [] {
    auto* all = new std::vector<Mutant>();
    for (int m = 1; m <= static_cast<int>(Mutant::kLosesProbes); ++m) all->push_back(static_cast<Mutant>(m));
    return all;
  }();
  return *kAll;
}

std::string_view NameOf(Mutant mutant) {
  constexpr std::string_view kNames[] = {"none",
                                         "tells-before-disk",
                                         "loses-batches",
                                         "swaps-batches",
                                         "forgets-attempts",
                                         "forgets-point",
                                         "forgets-running",
                                         "reuses-attempt",
                                         "accepts-twice",
                                         "accepts-nothing",
                                         "acknowledges-nothing",
                                         "reopens-done",
                                         "stops-clock",
                                         "ignores-drops",
                                         "ignores-held",
                                         "loses-verbs",
                                         "forgets-failures",
                                         "plans-blindly",
                                         "stops-searching",
                                         "loses-probes"};
  return kNames[static_cast<size_t>(mutant)];
}

Outcome Simulate(uint64_t seed, Mutant mutant, bool trace) {
  spdlog::set_level(spdlog::level::off);  // agents complain of what the weather does to them
  return World(seed, mutant, trace).Run();
}

}  // namespace capsweep::simulation
