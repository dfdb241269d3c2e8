#include "cli/status_table.h"

#include "cli/console.h"
#include "cli/run_search.h"
#include "cli/table.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

bool IsOver(const store::SweepProgress& sweep) {
  return sweep.state == "finished" || sweep.state == "cancelled";
}

bool RateKnown(const store::SweepProgress& sweep) {
  return !IsOver(sweep) && sweep.rate_per_second > 0;
}

bool EtaKnown(const store::SweepProgress& sweep) {
  return !IsOver(sweep) && sweep.eta_seconds >= 0;
}

}  // namespace

std::string StatusText(const std::vector<store::SweepProgress>& sweeps,
                       const std::map<std::string, std::string>& adaptive) {
  if (sweeps.empty()) {
    return "no sweeps yet; `capsweep run SPEC` or `capsweep submit SPEC` makes one\n";
  }
  TextTable table({"sweep", "state", "points", "done", "failed", "running", "pending", "rate", "left"});
  std::string reasons;
  for (const store::SweepProgress& sweep : sweeps) {
    table.Add({sweep.sweep, sweep.state, FormatCount(sweep.points), FormatCount(sweep.done), FormatCount(sweep.failed),
               FormatCount(sweep.running), FormatCount(sweep.pending),
               RateKnown(sweep) ? StrCat(FormatNumber(sweep.rate_per_second, 3), "/s") : "",
               EtaKnown(sweep) ? FormatDuration(sweep.eta_seconds) : ""});
    if (const auto found = adaptive.find(sweep.sweep); found != adaptive.end()) {
      StrAppend(&reasons, sweep.sweep, ": ", found->second, "\n");
    } else if (sweep.architectures > 0 && !IsOver(sweep)) {
      StrAppend(&reasons, sweep.sweep, ": ",
                SearchProgressText(sweep.architectures, sweep.architectures_settled, sweep.points), "\n");
    }
    if (!sweep.reason.empty()) {
      StrAppend(&reasons, sweep.sweep, ": ", sweep.reason, "\n");
    }
  }
  return table.ToString() + reasons;
}

store::Table StatusToTable(const std::vector<store::SweepProgress>& sweeps) {
  store::Table table;
  table.columns = {"sweep",   "state",           "points",      "done",   "failed",        "running",
                   "pending", "rate_per_second", "eta_seconds", "reason", "architectures", "architectures_settled"};
  for (const store::SweepProgress& sweep : sweeps) {
    table.rows.push_back({sweep.sweep, sweep.state, sweep.points, sweep.done, sweep.failed, sweep.running,
                          sweep.pending, RateKnown(sweep) ? store::Cell(sweep.rate_per_second) : store::Cell(),
                          EtaKnown(sweep) ? store::Cell(sweep.eta_seconds) : store::Cell(), sweep.reason,
                          sweep.architectures > 0 ? store::Cell(sweep.architectures) : store::Cell(),
                          sweep.architectures > 0 ? store::Cell(sweep.architectures_settled) : store::Cell()});
  }
  return table;
}

std::vector<std::string> StatusToJson(const std::vector<store::SweepProgress>& sweeps) {
  const store::Table table = StatusToTable(sweeps);
  std::vector<std::string> objects;
  for (const auto& row : table.rows) {
    std::string object = "{";
    for (size_t i = 0; i < row.size(); ++i) {
      StrAppend(&object, i == 0 ? "" : ", ", JsonString(table.columns[i]), ": ", JsonCell(row[i], false));
    }
    objects.push_back(object + "}");
  }
  return objects;
}

}  // namespace capsweep::cli
