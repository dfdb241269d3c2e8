// capsweep backup, doctor: a copy of a live database, and what is wrong with one.
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/source.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/backup.h"
#include "coordinator/store/doctor.h"

namespace capsweep::cli {
namespace {

struct RecoveryOptions {
  std::string database, target, spool, salvage;
  std::string format = "table";
};

absl::StatusOr<int> BackUpDatabase(const RecoveryOptions& options, Console& console) {
  std::string database = options.database;
  if (const char* given = std::getenv("CAPSWEEP_DB"); database.empty() && given != nullptr) {
    database = given;
  }
  if (database.empty()) {
    return absl::InvalidArgumentError("--db is required (or CAPSWEEP_DB): give the database file to copy");
  }
  ASSIGN_OR_RETURN(const store::BackupReport report, store::BackUp(database, options.target));
  console.out << options.target << ": " << FormatCount(report.points) << " points, " << FormatCount(report.results)
              << " results, schema version " << report.version << ", " << FormatCount(report.bytes)
              << " bytes, checked\n";
  return kExitOk;
}

std::string_view LevelWord(store::Finding::Level level) {
  switch (level) {
    case store::Finding::Level::kOk:
      return "ok";
    case store::Finding::Level::kNote:
      return "note";
    case store::Finding::Level::kProblem:
      return "PROBLEM";
  }
  return "";
}

void PrintDiagnosis(const store::Diagnosis& diagnosis, bool json, Console& console) {
  if (json) {
    nlohmann::json findings = nlohmann::json::array();
    for (const store::Finding& finding : diagnosis.findings) {
      const bool problem = finding.level == store::Finding::Level::kProblem;
      findings.push_back({{"level", problem ? "problem" : std::string(LevelWord(finding.level))},
                          {"check", finding.check},
                          {"what", finding.what},
                          {"advice", finding.advice}});
    }
    console.out << nlohmann::json{{"healthy", diagnosis.healthy()}, {"findings", findings}}.dump(2) << "\n";
    return;
  }
  for (const store::Finding& finding : diagnosis.findings) {
    console.out << LevelWord(finding.level) << "  " << finding.check << ": " << finding.what << "\n";
    if (!finding.advice.empty()) {
      console.out << "         what to do: " << finding.advice << "\n";
    }
  }
  console.out << (diagnosis.healthy() ? "healthy\n" : "NOT healthy\n");
}

void PrintSalvaged(const store::Salvaged& salvaged, const std::string& target, Console& console) {
  for (const store::Salvaged::Table& table : salvaged.tables) {
    console.out << "salvaged " << table.name << ": " << FormatCount(table.copied) << " rows";
    if (table.dropped > 0) {
      console.out << ", " << FormatCount(table.dropped) << " of them broken and left out";
    }
    if (table.gaps > 0) {
      console.out << ", unreadable in " << FormatCount(table.gaps) << (table.gaps == 1 ? " place" : " places");
    }
    console.out << "\n";
  }
  if (salvaged.reopened > 0) {
    console.out << FormatCount(salvaged.reopened) << " points have lost their result and will be trained again\n";
  }
  console.out << "use " << target << " from now on; submit your sweep files again, so that lost points come back\n";
}

absl::StatusOr<int> Examine(const RecoveryOptions& options, Console& console) {
  ASSIGN_OR_RETURN(const store::Diagnosis diagnosis, store::Diagnose(options.database, options.spool));
  PrintDiagnosis(diagnosis, options.format == "json", console);
  if (!options.salvage.empty()) {
    ASSIGN_OR_RETURN(const store::Salvaged salvaged, store::Salvage(options.database, options.salvage));
    std::ostream& out = options.format == "json" ? console.err : console.out;
    Console where{.out = out, .err = console.err};
    PrintSalvaged(salvaged, options.salvage, where);
  }
  return diagnosis.healthy() ? kExitOk : kExitFailed;
}

}  // namespace

void AddRecoveryVerbs(Verbs& verbs) {
  auto options = std::make_shared<RecoveryOptions>();
  CLI::App* backup = verbs.Add("backup", "Copy a database, also while a coordinator uses it",
                               "capsweep backup monday.db --db capsweep.db");
  backup->add_option("target", options->target, "The copy: a new file, never overwritten")
      ->required()
      ->type_name("FILE");
  backup->add_option("--db", options->database, "The database to copy (also CAPSWEEP_DB)")->type_name("FILE");
  verbs.SetAction(backup, [options](Console& console) { return BackUpDatabase(*options, console); });

  CLI::App* doctor = verbs.Add("doctor", "Examine a database, explain what is wrong, save what can be read",
                               "capsweep doctor capsweep.db --salvage rescued.db");
  doctor->add_option("database", options->database, "The database; it is not changed")->required()->type_name("FILE");
  doctor->add_option("--spool", options->spool, "Also look at this worker's folder of undelivered reports")
      ->type_name("FOLDER");
  doctor->add_option("--salvage", options->salvage, "Copy what can be read into this new database")->type_name("NEW");
  AddFormatOption(*doctor, options->format, {"table", "json"});
  verbs.SetAction(doctor, [options](Console& console) { return Examine(*options, console); });
}

}  // namespace capsweep::cli
