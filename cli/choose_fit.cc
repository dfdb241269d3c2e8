#include "cli/choose_fit.h"

#include "cli/summary.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

bool Matches(const ecm::GroupFit& group, const std::vector<std::string>& conditions) {
  for (const std::string& condition : conditions) {
    const size_t equals = condition.find('=');
    const auto found = group.group.find(condition.substr(0, equals));
    if (equals == std::string::npos || found == group.group.end() || found->second != condition.substr(equals + 1)) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<ecm::FitReport> LoadFit(const FitChoice& options, Console& console) {
  if (!options.csv.empty()) {
    ASSIGN_OR_RETURN(const auto groups, ReadCsvGroups(options.csv));
    ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(options.fit));
    return ecm::FitGroups(groups, settings);
  }
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  int64_t id = options.fit_id;
  if (id == 0) {
    RETURN_IF_ERROR(source->Sweeps(options.sweep).status());
    ASSIGN_OR_RETURN(id, FindCurrentFit(*source, options.sweep, ""));
  }
  if (id != 0) {
    console.err << "using fit " << id << " of " << source->Name() << std::endl;
    ASSIGN_OR_RETURN(const std::string json, source->Fit(id));
    return ecm::ReportFromJson(json);
  }
  ASSIGN_OR_RETURN(const auto groups, ReadGroups(*source, options.sweep, options.fit.capacity));
  ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(options.fit));
  return ecm::FitGroups(groups, settings);
}

absl::StatusOr<const ecm::GroupFit*> ChooseGroup(const ecm::FitReport& report, const std::vector<std::string>& wanted) {
  std::vector<const ecm::GroupFit*> chosen;
  std::string titles;
  for (const ecm::GroupFit& group : report.groups) {
    StrAppend(&titles, "\n  ", GroupTitle(group.group));
    if (Matches(group, wanted)) {
      chosen.push_back(&group);
    }
  }
  if (chosen.size() != 1) {
    return absl::InvalidArgumentError(
        StrCat(chosen.empty() ? "no group of the fit matches --group" : "the fit has several groups that match",
               "; choose one with --group FIELD=VALUE (for example --group freeze_mlp=true). Groups:", titles));
  }
  if (!chosen[0]->error.empty()) {
    return absl::FailedPreconditionError(chosen[0]->error);
  }
  return chosen[0];
}

absl::StatusOr<std::string> SweepOf(const FitChoice& choice) {
  if (choice.fit_id == 0) return choice.sweep;
  ASSIGN_OR_RETURN(const auto source, OpenSource(choice.source));
  ASSIGN_OR_RETURN(const store::Table table,
                   source->Query(StrCat("SELECT sweep FROM fits WHERE fit_id = ", choice.fit_id), {}));
  return table.rows.empty() ? std::string() : std::get<std::string>(table.rows[0][0]);
}

}  // namespace capsweep::cli
