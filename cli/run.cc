// capsweep run: from a sweep file to a fitted capacity model on this machine.
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "cli/app.h"
#include "cli/local_run.h"
#include "cli/local_worker.h"
#include "cli/plot.h"
#include "cli/run_report.h"
#include "cli/source.h"
#include "common/file.h"
#include "common/status.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/search.h"

namespace capsweep::cli {
namespace {

constexpr int64_t kFailuresListed = 20;

struct RunArguments {
  std::string spec, database, plot, trainer, devices = "auto";
  bool no_fit = false, no_plot = false, quiet = false, retry_failed = false;
};

absl::Status CheckProgram(const std::string& path) {
  return access(path.c_str(), X_OK) == 0
             ? absl::OkStatus()
             : absl::InternalError(
                   StrCat(path, " is missing or not executable; build or install it beside this program"));
}

// Everything that can be wrong with what the user gave, before anything is created.
absl::StatusOr<SweepSpec> Validate(const RunArguments& options) {
  ASSIGN_OR_RETURN(SweepSpec sweep, LoadSweep(options.spec));
  RETURN_IF_ERROR(plan::EnumerateSweep(sweep, [](const PointSpec&) { return absl::OkStatus(); }));
  RETURN_IF_ERROR(ValidateDevices(options.devices));
  if (!options.plot.empty()) {
    RETURN_IF_ERROR(PlotFormatFor(options.plot).status());
  }
  return sweep;
}

std::string DefaultPlotPath(const std::string& database, const std::string& sweep) {
  return (std::filesystem::path(database).parent_path() / StrCat(sweep, "-capacity.svg")).string();
}

void SayWhatIsMissing(const std::string& database, const LocalRunOutcome& outcome, const std::string& sweep,
                      Console& console) {
  console.err << "\nthe sweep is " << outcome.state << ": " << FormatCount(outcome.points - outcome.done) << " of "
              << FormatCount(outcome.points) << " points are not measured, " << FormatCount(outcome.failed) << " failed"
              << (outcome.reason.empty() ? "" : " (") << outcome.reason << (outcome.reason.empty() ? "\n" : ")\n");
  const auto source = OpenFileSource(database);
  if (source.ok()) {
    if (const auto table = (*source)->Query(FailedPointsSql(sweep, kFailuresListed), {}); table.ok()) {
      for (const auto& row : table->rows) {
        console.err << "  " << FailedPointText(row) << "\n";
      }
    }
  }
  if (outcome.failed > kFailuresListed) {
    console.err << "  … and " << FormatCount(outcome.failed - kFailuresListed) << " more\n";
  }
  if (outcome.failed > 0) {
    console.err << "run the same command with --retry-failed to try them again" << std::endl;
  }
}

absl::StatusOr<int> Run(const RunArguments& options, Console& console) {
  ASSIGN_OR_RETURN(const SweepSpec sweep, Validate(options));
  const std::string database = options.database.empty() ? StrCat(sweep.name, ".db") : options.database;
  LocalRunOptions run_options;
  run_options.database = database;
  run_options.devices = options.devices;
  run_options.worker = StrCat(ExecutableFolder(), "/capsweep-worker");
  run_options.trainer = options.trainer;
  run_options.retry_failed = options.retry_failed;
  run_options.quiet = options.quiet;
  RETURN_IF_ERROR(CheckProgram(run_options.worker));
  RETURN_IF_ERROR(
      CheckProgram(options.trainer.empty() ? StrCat(ExecutableFolder(), "/capsweep-trainer") : options.trainer));
  const SignalWatch signals;
  LocalRunOutcome outcome;
  {
    ASSIGN_OR_RETURN(const auto run, LocalRun::Open(run_options, console));
    if (options.database.empty()) {
      console.err << "database: " << database << " (choose another with --db)" << std::endl;
    }
    ASSIGN_OR_RETURN(outcome, run->Run(sweep));
  }
  if (outcome.signal != 0) {
    console.err << "stopped with " << FormatCount(outcome.done) << " of " << FormatCount(outcome.points)
                << " points done, all of them stored in " << database << "; run the same command again to continue"
                << std::endl;
    return 128 + outcome.signal;
  }
  RunReportOptions report;
  report.database = database;
  report.sweep = sweep.name;
  // Of a minimum network no capacity is measured.
  report.fit = !options.no_fit && sweep.measure != "minnet";
  report.plot = !options.no_plot && sweep.measure != "minnet";
  report.capacities = !MeasureSearches(sweep.measure);
  report.plot_path = options.plot.empty() ? DefaultPlotPath(database, sweep.name) : options.plot;
  RETURN_IF_ERROR(WriteRunReport(report, console));
  if (outcome.done < outcome.points) {
    SayWhatIsMissing(database, outcome, sweep.name, console);
    return kExitFailed;
  }
  return kExitOk;
}

}  // namespace

void AddRunVerb(Verbs& verbs) {
  auto options = std::make_shared<RunArguments>();
  CLI::App* verb = verbs.Add("run", "Train, measure and fit a sweep on this machine; run again to continue",
                             "capsweep run sweeps/quickstart.yaml --db quickstart.db");
  verb->add_option("spec", options->spec, "The sweep file (docs/sweep-file.md)")->required()->type_name("SPEC");
  verb->add_option("--db", options->database, "Database to keep everything in (default: <sweep name>.db here)")
      ->type_name("FILE");
  verb->add_option("--devices", options->devices, "auto, all, cpu:N (N trainers of one core each) or cuda:0,1")
      ->capture_default_str()
      ->type_name("LIST");
  verb->add_flag("--retry-failed", options->retry_failed, "Give points that failed before another chance");
  verb->add_flag("--no-fit", options->no_fit, "Do not fit capacity models at the end");
  verb->add_flag("--no-plot", options->no_plot, "Do not draw the capacity plot at the end");
  verb->add_option("--plot", options->plot,
                   "Plot file, .svg or .png (default: <sweep name>-capacity.svg beside the database)")
      ->type_name("FILE");
  verb->add_option("--trainer", options->trainer, "Trainer program (default: capsweep-trainer beside this program)")
      ->type_name("FILE");
  verb->add_flag("--quiet", options->quiet, "No progress, only messages and the report");
  verbs.SetAction(verb, [options](Console& console) { return Run(*options, console); });
}

}  // namespace capsweep::cli
