// Where a reading verb reads from: straight from a database file or through its coordinator.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/remote.h"
#include "coordinator/core/core.h"
#include "coordinator/store/reader.h"

namespace capsweep::cli {

// The flags --db, --coordinator and those of its TLS as given; "" = not given.
struct SourceOptions {
  std::string database;
  std::string coordinator;
  ClientSecurity security;
};
void AddSourceOptions(CLI::App& verb, SourceOptions& options);

// Not thread-safe.
class Source {
 public:
  virtual ~Source() = default;
  // For messages: "sweep.db" or "the coordinator at 127.0.0.1:7171".
  virtual std::string Name() const = 0;
  // The options a user gives to read from here again: "--db sweep.db".
  virtual std::string Flag() const = 0;

  // All sweeps if `sweep` is ""; NotFound names the sweeps there are.
  virtual absl::StatusOr<std::vector<store::SweepProgress>> Sweeps(const std::string& sweep) = 0;
  virtual absl::StatusOr<std::vector<core::WorkerView>> Workers() = 0;
  virtual absl::StatusOr<store::Table> Query(const std::string& sql, const store::QueryLimits& limits) = 0;
  // v_results of a sweep in pages, in the order of points. `page` is called at least once, so that the columns are
  // known of an empty answer too.
  using Page = std::function<absl::Status(const store::Table&)>;
  virtual absl::Status Results(const std::string& sweep, const std::string& where, const Page& page) = 0;
  virtual absl::StatusOr<store::Table> Cells(const std::string& sweep) = 0;
  virtual absl::StatusOr<std::string> Fit(int64_t id) = 0;
  // Row id of the fit in the table `fits`. FailedPrecondition if a coordinator holds the file that is read here.
  virtual absl::StatusOr<int64_t> StoreFit(const std::string& sweep, const std::string& fit_json,
                                           const std::string& settings_json) = 0;
};

absl::StatusOr<std::unique_ptr<Source>> OpenFileSource(const std::string& path);
absl::StatusOr<std::unique_ptr<Source>> OpenRemoteSource(const RemoteOptions& options);

// The flag; else CAPSWEEP_DB or CAPSWEEP_COORDINATOR; else the one capsweep database of the current folder.
// InvalidArgument if two are given, none, or the folder holds several.
absl::StatusOr<std::unique_ptr<Source>> OpenSource(const SourceOptions& options);

// 'text' as an SQL literal.
std::string SqlLiteral(const std::string& text);

}  // namespace capsweep::cli
