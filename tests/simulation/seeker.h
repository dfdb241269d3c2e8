// The planner's part of the coordinator's service, as the simulation sees it: it reads the results on disk, asks the
// real planners, and stores what they want. It dies with the coordinator's process and remembers nothing that matters.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "coordinator/plan/adaptive.h"
#include "coordinator/plan/search.h"

namespace capsweep::simulation {

// Sweep files that search.
int64_t SearchCount();

class Seeker {
 public:
  explicit Seeker(int64_t number);  // of a sweep file
  plan::SearchPlan Plan(const plan::Outcomes& known, int64_t workers);

 private:
  std::unique_ptr<plan::Search> search_;  // of mac, mls, minnet
  std::unique_ptr<plan::Adaptive> adaptive_;
};

// What is found where nothing goes wrong and one worker trains one point after the other.
const plan::SearchPlan& Undisturbed(int64_t number);

// Empty if both found the same; else where they differ.
std::string Difference(const plan::SearchPlan& a, const plan::SearchPlan& b);

}  // namespace capsweep::simulation
