// capsweep fit.
#include <memory>

#include "cli/app.h"
#include "cli/fit_options.h"
#include "cli/source.h"
#include "common/status.h"
#include "common/text.h"
#include "ecm/report.h"

namespace capsweep::cli {
namespace {

struct FitArguments {
  SourceOptions source;
  FitOptions fit;
  std::string sweep, csv, format = "table";
  bool validate = false;
};

// One line on where the fit went, or why it went nowhere. A fit that cannot be stored is still an answer.
std::string StoreAndSay(Source& source, const FitArguments& options, const std::string& fit_json) {
  const absl::StatusOr<int64_t> id = StoreFitOnce(source, options.sweep, fit_json, SettingsToJson(options.fit));
  if (!id.ok()) {
    return StrCat("the fit was not stored: ", id.status().message());
  }
  return StrCat("fit ", *id, " (in ", source.Name(), "; `capsweep design --fit ", *id, " ", source.Flag(),
                " --target ITEMS --seq-len N` uses it)");
}

absl::StatusOr<int> Fit(const FitArguments& options, Console& console) {
  if (options.sweep.empty() == options.csv.empty()) {
    return absl::InvalidArgumentError("give either the name of a sweep or --csv FILE");
  }
  ASSIGN_OR_RETURN(ecm::FitSettings settings, ToSettings(options.fit));
  settings.validate = options.validate;
  std::unique_ptr<Source> source;
  std::vector<ecm::Group> groups;
  if (options.csv.empty()) {
    ASSIGN_OR_RETURN(source, OpenSource(options.source));
    ASSIGN_OR_RETURN(groups, ReadGroups(*source, options.sweep, options.fit.capacity));
  } else {
    ASSIGN_OR_RETURN(groups, ReadCsvGroups(options.csv));
    // Without flags a fit of foreign numbers is stored nowhere: no database was named.
    if (!options.source.database.empty() || !options.source.coordinator.empty()) {
      ASSIGN_OR_RETURN(source, OpenSource(options.source));
    }
  }
  const ecm::FitReport report = ecm::FitGroups(groups, settings);
  const std::string json = ecm::ReportToJson(report);
  const bool as_json = options.format == "json";
  console.out << (as_json ? json : ecm::ReportText(report));
  console.out << ((as_json ? json : std::string("\n")).ends_with('\n') ? "" : "\n");
  if (source != nullptr) {
    // Beside JSON on standard output the sentence would be in the way.
    (as_json ? console.err : console.out) << StoreAndSay(*source, options, json) << std::endl;
  }
  for (const ecm::GroupFit& group : report.groups) {
    if (group.error.empty()) {
      return kExitOk;
    }
  }
  return absl::FailedPreconditionError(report.groups.empty() ? std::string("nothing could be fitted: there are no rows")
                                                             : report.groups[0].error);
}

}  // namespace

void AddFitVerb(Verbs& verbs) {
  auto options = std::make_shared<FitArguments>();
  CLI::App* verb = verbs.Add("fit", "Fit capacity models to a sweep or to a CSV of measurements",
                             "capsweep fit quickstart --holdout heads=4\n"
                             "  capsweep fit --csv mine.csv --format json   (columns heads,width,seq_len,capacity)");
  verb->add_option("sweep", options->sweep, "The sweep's name")->type_name("SWEEP");
  verb->add_option("--csv", options->csv, "Fit this file instead")->type_name("FILE");
  AddFitOptions(*verb, options->fit);
  verb->add_flag("--validate", options->validate,
                 "Tables of every form and baseline, in-sample and held out in four ways, under both losses");
  AddFormatOption(*verb, options->format, {"table", "json"});
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) { return Fit(*options, console); });
}

}  // namespace capsweep::cli
