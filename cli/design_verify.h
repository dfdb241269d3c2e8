// Training the models that a design chose, to see what they memorize.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/console.h"
#include "cli/recipe.h"
#include "cli/source.h"
#include "common/sweep/spec.h"
#include "ecm/design.h"

namespace capsweep::cli {

struct VerifyOptions {
  bool verify = false;
  int64_t repeats = 3;
  int64_t steps = 0;  // 0 = by the recipe of the fitted group
  std::string devices = "auto", trainer;
  bool quiet = false;
};
void AddVerifyOptions(CLI::App& verb, VerifyOptions& options);

// The choice by the estimate and, if it is another model, the safe choice; each with its name.
std::vector<std::pair<ecm::Candidate, std::string>> ChosenModels(const std::vector<ecm::Candidate>& candidates);

struct VerifiedRepeat {
  int64_t seed = 0, items_mem = 0, steps = 0;
  std::string stop_reason, backend;
};

struct VerifiedModel {
  ecm::Candidate model;
  std::string why;  // "smallest by the estimate" | "smallest safe choice"
  PointSpec point;  // as trained, seeds aside
  std::vector<VerifiedRepeat> repeats;

  double mean() const;  // items_mem; 0 without repeats
  int reached() const;  // repeats that memorized every item
};

struct Verification {
  std::string sweep;  // its name; "" = nothing was verified
  std::string budget_rule;
  int64_t target = 0, failed_points = 0;
  int signal = 0;  // SIGINT or SIGTERM came while it trained
  std::vector<VerifiedModel> models;
};

// A sweep NAME-verify-… that trains the chosen models on a library of `target` items, by the recipe of the fitted
// group. The same request gives the same text and name. InvalidArgument where a point cannot be trained.
struct VerifyPlan {
  SweepSpec sweep;
  Verification verification;  // without repeats
};
absl::StatusOr<VerifyPlan> PlanVerification(const VerifyOptions& options, const std::string& fitted_sweep,
                                            const ecm::GroupFit& group, const std::vector<ecm::Candidate>& candidates,
                                            double target, int64_t seq_len);

// Runs that plan where `source` reads from: in this process for a file, as `run` does, or at its coordinator; waits for
// the results. Progress goes to console.err.
absl::StatusOr<Verification> VerifyDesign(const VerifyOptions& options, const SourceOptions& source,
                                          const std::string& fitted_sweep, const ecm::GroupFit& group,
                                          const std::vector<ecm::Candidate>& candidates, double target, int64_t seq_len,
                                          Console& console);

// For people: what each repeat memorized, and whether the target was reached.
std::string VerificationText(const Verification& verification);
// The array of docs/reference/design-json.md; verified models have a key `verification`.
std::string DesignJson(const std::vector<ecm::Candidate>& candidates, const Verification& verification);

}  // namespace capsweep::cli
