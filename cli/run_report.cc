#include "cli/run_report.h"

#include <memory>

#include "cli/fit_options.h"
#include "cli/plot.h"
#include "cli/run_search.h"
#include "cli/source.h"
#include "cli/summary.h"
#include "common/status.h"
#include "common/text.h"
#include "ecm/report.h"

namespace capsweep::cli {
namespace {

constexpr size_t kTableRows = 80;

// The stored fit of these results, else a new one, which is stored; `id` is 0 if that failed, with the reason in `why`.
absl::StatusOr<ecm::FitReport> FitOnce(Source& source, const std::string& sweep, const std::vector<ecm::Group>& groups,
                                       int64_t& id, std::string& why) {
  const FitOptions options;
  const std::string settings_json = SettingsToJson(options);
  ASSIGN_OR_RETURN(id, FindCurrentFit(source, sweep, settings_json));
  if (id != 0) {
    ASSIGN_OR_RETURN(const std::string json, source.Fit(id));
    return ecm::ReportFromJson(json);
  }
  ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(options));
  ecm::FitReport report = ecm::FitGroups(groups, settings);
  const absl::StatusOr<int64_t> stored = StoreFitOnce(source, sweep, ecm::ReportToJson(report), settings_json);
  id = stored.ok() ? *stored : 0;
  why = std::string(stored.status().message());
  return report;
}

void WriteSentences(const ecm::FitReport& report, const std::vector<ecm::Group>& groups, Console& console) {
  for (const ecm::GroupFit& group : report.groups) {
    const std::string name = ShortGroupTitle(group.group, groups);
    console.out << "In one sentence" << (name.empty() ? "" : StrCat(" (", name, ")")) << ": "
                << ecm::ReportSentence(group) << "\n";
  }
}

}  // namespace

absl::Status WriteRunReport(const RunReportOptions& options, Console& console) {
  ASSIGN_OR_RETURN(const auto source, OpenFileSource(options.database));
  const auto groups = ReadGroups(*source, options.sweep, "mac");
  if (!groups.ok()) {
    console.out << groups.status().message() << "\n";
    return absl::OkStatus();
  }
  if (options.capacities) {
    console.out << "\n"
                << CapacityText(*groups, kTableRows,
                                StrCat("capsweep results ", options.sweep, " --cells --db ", options.database));
  } else {
    ASSIGN_OR_RETURN(const std::string found, SearchText(*source, options.sweep));
    console.out << "\n" << found;
  }
  ecm::FitReport report;
  int64_t id = 0;
  std::string why;
  if (options.fit) {
    ASSIGN_OR_RETURN(report, FitOnce(*source, options.sweep, *groups, id, why));
    console.out << "\n" << ecm::ReportText(report) << "\n";
    WriteSentences(report, *groups, console);
  }
  console.out << "\n";
  if (options.plot) {
    const absl::Status drawn = DrawCapacityPlot(options.sweep, *groups, report, options.plot_path);
    console.out << "plot:     " << (drawn.ok() ? options.plot_path : StrCat("none: ", drawn.message())) << "\n";
  }
  if (options.fit) {
    console.out << "fit:      " << (id != 0 ? StrCat(id) : StrCat("not stored: ", why)) << "\n";
  }
  console.out << "database: " << options.database << "\n";
  console.out.flush();
  return absl::OkStatus();
}

}  // namespace capsweep::cli
