#include "cli/fit_options.h"

#include <algorithm>
#include <thread>

#include "absl/strings/numbers.h"
#include "cli/measurements.h"
#include "cli/table.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr int kMinStarts = 64;
constexpr int kMaxStarts = 100'000;
constexpr int kMaxBootstrap = 10'000;

absl::Status SetHoldout(const std::string& holdout, ecm::FitSettings& settings) {
  if (holdout == "none") {
    settings.holdout_field.clear();
    return absl::OkStatus();
  }
  const size_t equals = holdout.find('=');
  settings.holdout_field = holdout.substr(0, equals);
  settings.holdout_value = 0;
  const bool known =
      settings.holdout_field == "heads" || settings.holdout_field == "width" || settings.holdout_field == "seq_len";
  const bool valued =
      equals == std::string::npos ||
      (absl::SimpleAtod(holdout.substr(equals + 1), &settings.holdout_value) && settings.holdout_value > 0);
  if (!known || !valued) {
    return absl::InvalidArgumentError(
        StrCat("--holdout ", holdout,
               ": must be none, heads, width or seq_len (the largest value is held out), or one of "
               "these with a value, like heads=5"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddFitOptions(CLI::App& verb, FitOptions& options) {
  verb.add_option("--form", options.form, "Form to fit: all, min, max, softmin or minlin")
      ->check(CLI::IsMember({"all", "min", "max", "softmin", "minlin"}))
      ->capture_default_str()
      ->type_name("FORM");
  verb.add_option("--capacity", options.capacity,
                  "What to fit: mac (items_corr), items (items_mem) or bits (bits_mem as items)")
      ->check(CLI::IsMember({"mac", "items", "bits"}))
      ->capture_default_str()
      ->type_name("KIND");
  verb.add_option("--holdout", options.holdout, "Rows kept out of a second fit and predicted: heads, heads=5, none")
      ->capture_default_str()
      ->type_name("FIELD[=VALUE]");
  verb.add_option("--bootstrap", options.bootstrap, "Bootstrap draws for 95 % intervals; 0 = none")
      ->check(CLI::Range(0, kMaxBootstrap))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--starts", options.starts, "Starting points of each fit")
      ->check(CLI::Range(kMinStarts, kMaxStarts))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--weighting", options.weighting, "weighted (by the repeats' spread and 5 %) or plain")
      ->check(CLI::IsMember({"weighted", "plain"}))
      ->capture_default_str()
      ->type_name("WORD");
  verb.add_option("--seed", options.seed, "Seed of starts and bootstrap")->capture_default_str()->type_name("N");
}

absl::StatusOr<ecm::FitSettings> ToSettings(const FitOptions& options) {
  ecm::FitSettings settings;
  if (options.form != "all") {
    settings.forms = {options.form};
  }
  RETURN_IF_ERROR(SetHoldout(options.holdout, settings));
  settings.starts = options.starts;
  settings.bootstrap = options.bootstrap;
  settings.weighting = options.weighting;
  settings.seed = options.seed;
  settings.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  return settings;
}

absl::StatusOr<ecm::CapacityKind> ToCapacityKind(const std::string& word) {
  if (word == "mac") return ecm::CapacityKind::kItemsCorr;
  if (word == "items") return ecm::CapacityKind::kItems;
  if (word == "bits") return ecm::CapacityKind::kBits;
  return absl::InvalidArgumentError(StrCat("--capacity ", word, ": use mac, items or bits"));
}

std::string SettingsToJson(const FitOptions& options) {
  return StrCat("{\"form\": ", JsonString(options.form), ", \"capacity\": ", JsonString(options.capacity),
                ", \"holdout\": ", JsonString(options.holdout), ", \"weighting\": ", JsonString(options.weighting),
                ", \"bootstrap\": ", options.bootstrap, ", \"starts\": ", options.starts, ", \"seed\": ", options.seed,
                "}");
}

absl::StatusOr<std::vector<ecm::Group>> ReadGroups(Source& source, const std::string& sweep,
                                                   const std::string& capacity) {
  ASSIGN_OR_RETURN(const ecm::CapacityKind kind, ToCapacityKind(capacity));
  ASSIGN_OR_RETURN(const auto measurements, ReadMeasurements(source, sweep));
  return ecm::BuildGroups(measurements, kind);
}

absl::StatusOr<std::vector<ecm::Group>> ReadCsvGroups(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(ecm::Group group, ecm::ReadCapacityCsv(text, path));
  return std::vector<ecm::Group>{std::move(group)};
}

absl::StatusOr<int64_t> StoreFitOnce(Source& source, const std::string& sweep, const std::string& fit_json,
                                     const std::string& settings_json) {
  // Fits are deterministic, so the same results and settings give the same text.
  ASSIGN_OR_RETURN(
      const store::Table last,
      source.Query(StrCat("SELECT fit_id, fit_json FROM fits WHERE sweep = ", SqlLiteral(sweep),
                          " AND settings_json = ", SqlLiteral(settings_json), " ORDER BY fit_id DESC LIMIT 1"),
                   {}));
  if (!last.rows.empty() && last.rows[0][1] == store::Cell(fit_json)) {
    return std::get<int64_t>(last.rows[0][0]);
  }
  return source.StoreFit(sweep, fit_json, settings_json);
}

absl::StatusOr<int64_t> FindCurrentFit(Source& source, const std::string& sweep, const std::string& settings_json) {
  const std::string name = SqlLiteral(sweep);
  const std::string settings = settings_json.empty() ? "" : StrCat(" AND settings_json = ", SqlLiteral(settings_json));
  ASSIGN_OR_RETURN(const store::Table table,
                   source.Query(StrCat("SELECT fit_id FROM fits WHERE sweep = ", name, settings,
                                       " AND created_ms >= (SELECT coalesce(max(accepted_ms), 0) FROM v_results "
                                       "WHERE sweep = ",
                                       name, ") ORDER BY fit_id DESC LIMIT 1"),
                                {}));
  return table.rows.empty() ? 0 : std::get<int64_t>(table.rows[0][0]);
}

}  // namespace capsweep::cli
