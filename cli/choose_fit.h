// Which fit, and which group of it, a verb works with: shared by `design` and `suggest`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/console.h"
#include "cli/fit_options.h"
#include "cli/source.h"
#include "ecm/report.h"

namespace capsweep::cli {

struct FitChoice {
  SourceOptions source;
  FitOptions fit;
  int64_t fit_id = 0;              // a stored fit
  std::string sweep, csv;          // or what to fit; a sweep's newest fit that has seen all results is taken
  std::vector<std::string> group;  // conditions "FIELD=VALUE"
};

// The stored fit, the sweep's current one, or a new one (which is not stored). Says on console.err which one was taken.
absl::StatusOr<ecm::FitReport> LoadFit(const FitChoice& choice, Console& console);

// The one group that meets all conditions. InvalidArgument naming the groups if there is none or several,
// FailedPrecondition if it could not be fitted.
absl::StatusOr<const ecm::GroupFit*> ChooseGroup(const ecm::FitReport& report, const std::vector<std::string>& wanted);

// The sweep that a choice speaks of; "" for a CSV.
absl::StatusOr<std::string> SweepOf(const FitChoice& choice);

}  // namespace capsweep::cli
