// Options of a fit, shared by `fit`, `design` and the end of `run`, and how a fit gets into the table `fits`.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/source.h"
#include "ecm/report.h"

namespace capsweep::cli {

struct FitOptions {
  std::string form = "all";       // all or one of ecm::FitSettings::forms
  std::string capacity = "mac";   // mac | items | bits
  std::string holdout = "heads";  // FIELD (its largest value), FIELD=VALUE or none
  std::string weighting = "weighted";
  int bootstrap = 200;
  int starts = 128;
  uint64_t seed = 1;
};
void AddFitOptions(CLI::App& verb, FitOptions& options);

// InvalidArgument naming the option, its value and what it may be.
absl::StatusOr<ecm::FitSettings> ToSettings(const FitOptions& options);
absl::StatusOr<ecm::CapacityKind> ToCapacityKind(const std::string& word);
// fits.settings_json: the options as they were used.
std::string SettingsToJson(const FitOptions& options);

// Capacity rows of a sweep, in groups that may be fitted.
absl::StatusOr<std::vector<ecm::Group>> ReadGroups(Source& source, const std::string& sweep,
                                                   const std::string& capacity);
// Of a CSV file, as the only group.
absl::StatusOr<std::vector<ecm::Group>> ReadCsvGroups(const std::string& path);

// Row id of this fit in `fits`: of the stored one if the same fit was stored before, else of a new row.
absl::StatusOr<int64_t> StoreFitOnce(Source& source, const std::string& sweep, const std::string& fit_json,
                                     const std::string& settings_json);

// The newest stored fit of a sweep that has seen all of its results (and was made with these settings, unless "");
// 0 = none.
absl::StatusOr<int64_t> FindCurrentFit(Source& source, const std::string& sweep, const std::string& settings_json);

}  // namespace capsweep::cli
