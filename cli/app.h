// The `capsweep` command: verbs, their options, and how a Status becomes an exit code.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/console.h"

namespace capsweep::cli {

// The tree of verbs. Each family of verbs adds itself through one of the Add… functions below.
class Verbs {
 public:
  // What a verb does once its options are parsed; returns the exit code.
  using Action = std::function<absl::StatusOr<int>(Console&)>;

  Verbs();
  // A verb with one line of description and an example for --help. `parent` is nullptr or a verb with sub-verbs.
  CLI::App* Add(const std::string& name, const std::string& description, const std::string& example,
                CLI::App* parent = nullptr);
  void SetAction(CLI::App* verb, Action action);
  // Parses and runs. Wrong usage is exit code 2 with one sentence on console.err; --help is 0.
  int Run(const std::vector<std::string>& arguments, Console& console);

 private:
  std::unique_ptr<CLI::App> app_;
  std::vector<std::pair<CLI::App*, Action>> actions_;
};

void AddRunVerb(Verbs& verbs);        // run
void AddSubmitVerbs(Verbs& verbs);    // submit extend retry pause resume cancel
void AddStatusVerbs(Verbs& verbs);    // status workers explain
void AddResultsVerbs(Verbs& verbs);   // results query
void AddFitVerb(Verbs& verbs);        // fit
void AddDesignVerb(Verbs& verbs);     // design
void AddSuggestVerb(Verbs& verbs);    // suggest
void AddPlotVerb(Verbs& verbs);       // plot
void AddReportVerb(Verbs& verbs);     // report
void AddRecoveryVerbs(Verbs& verbs);  // backup doctor
void AddCertsVerb(Verbs& verbs);      // certs init
void AddExecVerbs(Verbs& verbs);      // coordinator worker version

// Everything: the verbs above, run on `arguments` (without the program's name). Returns the process exit code.
int RunCommandLine(const std::vector<std::string>& arguments, Console& console);

// `--format` for a verb; `words` as in "table, csv, json or jsonl".
CLI::Option* AddFormatOption(CLI::App& verb, std::string& format, const std::vector<std::string>& words);

}  // namespace capsweep::cli
