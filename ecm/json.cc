#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ecm/json_studies.h"
#include "ecm/report.h"

namespace capsweep::ecm {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinities; what is not available is null.
Json Number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}
Json Number(const std::optional<double>& value) {
  return value ? Number(*value) : Json(nullptr);
}

Json ParametersToJson(const std::map<std::string, double>& parameters) {
  Json out = Json::object();
  for (const auto& [name, value] : parameters) out[name] = Number(value);
  return out;
}

// Group values that read as numbers or truth values are written as such.
Json KeyValue(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return parsed.is_number() ? parsed : Json(text);
}

Json FormToJson(const FormFit& fit, bool is_form) {
  Json out = Json::object();
  const bool fitted = fit.skipped.empty();
  auto figure = [&](double value) { return fitted ? Number(value) : Json(nullptr); };
  out["parameters"] = ParametersToJson(fit.parameters);
  if (is_form) {
    out["intervals"] = Json::object();
    for (const auto& [name, interval] : fit.intervals) {
      out["intervals"][name] = {Number(interval.first), Number(interval.second)};
    }
    out["variant"] = fit.variant;
    out["not_identified"] = fit.not_identified;
  }
  out["rmse"] = figure(fit.rmse);
  out["mae"] = figure(fit.mae);
  out["mape"] = figure(fit.mape);
  out["r2"] = figure(fit.r2);
  out["aic"] = figure(fit.aic);
  out["aicc"] = figure(fit.aicc);
  out["bic"] = figure(fit.bic);
  out["heldout_rmse"] = Number(fit.heldout_rmse);
  out["heldout_mape"] = Number(fit.heldout_mape);
  out["heldout_bias"] = Number(fit.heldout_bias);
  out["heldout_coverage"] = Number(fit.heldout_coverage);
  out["parameters_used"] = fit.parameters_used;
  if (is_form) {
    out["rows_linear"] = fit.rows_linear;
    out["rows_saturated"] = fit.rows_saturated;
    out["starts"] = fit.starts;
    out["starts_agreeing"] = fit.starts_agreeing;
  } else {
    out["dropped_terms"] = fit.dropped_terms;
  }
  out["notes"] = fit.notes;
  out["skipped"] = fitted ? Json(nullptr) : Json(fit.skipped);
  return out;
}

Json PointToJson(const PredictedRow& point) {
  Json out = Json::object();
  const Row& row = point.row;
  out["heads"] = row.heads;
  out["width"] = row.width;
  out["seq_len"] = row.seq_len;
  out["capacity"] = Number(row.capacity);
  out["predicted"] = Number(point.predicted);
  out["lower"] = Number(point.lower);
  out["upper"] = Number(point.upper);
  out["used"] = point.used;
  out["why_not_used"] = point.used ? Json(nullptr) : Json(point.why_not_used);
  out["sd"] = row.sd >= 0 ? Number(row.sd) : Json(nullptr);
  out["repeats"] = row.repeats;
  out["dataset_size"] = row.dataset_size > 0 ? Number(row.dataset_size) : Json(nullptr);
  out["budget_steps"] = row.budget_steps > 0 ? Number(row.budget_steps) : Json(nullptr);
  out["budget_epochs"] = row.budget_in_epochs && row.budget > 0 ? Number(row.budget) : Json(nullptr);
  return out;
}

Json GroupToJson(const GroupFit& fit) {
  Json out = Json::object();
  out["group"] = Json::object();
  for (const auto& [name, value] : fit.group) out["group"][name] = KeyValue(value);
  out["best"] = fit.best.empty() ? Json(nullptr) : Json(fit.best);
  out["best_overall"] = fit.best_overall.empty() ? Json(nullptr) : Json(fit.best_overall);
  out["saturation"] = fit.saturation;
  out["saturation_reason"] = fit.saturation_reason;
  out["budget_study"] = StudyToJson(fit.budget_study);
  out["rows"] = fit.rows;
  out["rows_used"] = fit.rows_used;
  out["weighting"] = fit.weighting;
  out["holdout"] = fit.holdout.empty() ? Json(nullptr) : Json(fit.holdout);
  out["rows_held_out"] = fit.rows_held_out;
  out["forms"] = Json::object();
  for (const auto& [name, form] : fit.forms) out["forms"][name] = FormToJson(form, true);
  out["baselines"] = Json::object();
  for (const auto& [name, form] : fit.baselines) out["baselines"][name] = FormToJson(form, false);
  out["validation"] = fit.validation ? ValidationToJson(*fit.validation) : Json(nullptr);
  out["points"] = Json::array();
  for (const PredictedRow& point : fit.points) out["points"].push_back(PointToJson(point));
  out["warnings"] = fit.warnings;
  out["error"] = fit.error.empty() ? Json(nullptr) : Json(fit.error);
  out["draws"] = Json::array();
  for (const auto& draw : fit.draws) out["draws"].push_back(ParametersToJson(draw));
  return out;
}

// The readers below throw nlohmann's exceptions; ReportFromJson is the boundary.
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

double ReadNumber(const Json& json) {
  return json.is_null() ? kMissing : json.get<double>();
}
double ReadNumber(const Json& object, const char* key, double otherwise) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? otherwise : it->get<double>();
}
std::optional<double> ReadOptional(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return std::nullopt;
  return it->get<double>();
}
std::string ReadText(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? "" : it->get<std::string>();
}
std::vector<std::string> ReadTexts(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() ? std::vector<std::string>{} : it->get<std::vector<std::string>>();
}
int ReadInt(const Json& object, const char* key) {
  return static_cast<int>(ReadNumber(object, key, 0));
}

std::map<std::string, double> ReadParameters(const Json& json) {
  std::map<std::string, double> parameters;
  for (const auto& [name, value] : json.items()) parameters[name] = ReadNumber(value);
  return parameters;
}

FormFit ReadForm(const Json& json) {
  FormFit fit;
  fit.parameters = ReadParameters(json.at("parameters"));
  if (json.contains("intervals")) {
    for (const auto& [name, pair] : json.at("intervals").items()) {
      fit.intervals[name] = {ReadNumber(pair.at(0)), ReadNumber(pair.at(1))};
    }
  }
  fit.variant = ReadText(json, "variant");
  fit.skipped = ReadText(json, "skipped");
  fit.not_identified = ReadTexts(json, "not_identified");
  fit.notes = ReadTexts(json, "notes");
  fit.dropped_terms = ReadTexts(json, "dropped_terms");
  const double infinity = std::numeric_limits<double>::infinity();
  fit.rmse = ReadNumber(json, "rmse", 0);
  fit.mae = ReadNumber(json, "mae", 0);
  fit.mape = ReadNumber(json, "mape", 0);
  fit.r2 = ReadNumber(json, "r2", 0);
  fit.aic = ReadNumber(json, "aic", infinity);
  fit.aicc = ReadNumber(json, "aicc", infinity);
  fit.bic = ReadNumber(json, "bic", infinity);
  fit.heldout_rmse = ReadOptional(json, "heldout_rmse");
  fit.heldout_mape = ReadOptional(json, "heldout_mape");
  fit.heldout_bias = ReadOptional(json, "heldout_bias");
  fit.heldout_coverage = ReadOptional(json, "heldout_coverage");
  fit.parameters_used = ReadInt(json, "parameters_used");
  fit.rows_linear = ReadInt(json, "rows_linear");
  fit.rows_saturated = ReadInt(json, "rows_saturated");
  fit.starts = ReadInt(json, "starts");
  fit.starts_agreeing = ReadInt(json, "starts_agreeing");
  return fit;
}

PredictedRow ReadPoint(const Json& json) {
  PredictedRow point;
  point.row.heads = json.at("heads").get<double>();
  point.row.width = json.at("width").get<double>();
  point.row.seq_len = json.at("seq_len").get<double>();
  point.row.capacity = ReadNumber(json, "capacity", kMissing);
  point.row.sd = ReadNumber(json, "sd", -1);
  point.row.repeats = ReadInt(json, "repeats");
  point.row.dataset_size = ReadNumber(json, "dataset_size", 0);
  point.row.budget_steps = ReadNumber(json, "budget_steps", 0);
  point.row.budget = ReadNumber(json, "budget_epochs", 0);
  point.row.budget_in_epochs = point.row.budget > 0;
  if (!point.row.budget_in_epochs) point.row.budget = point.row.budget_steps;
  point.predicted = ReadNumber(json, "predicted", kMissing);
  point.lower = ReadNumber(json, "lower", kMissing);
  point.upper = ReadNumber(json, "upper", kMissing);
  point.used = json.at("used").get<bool>();
  point.why_not_used = ReadText(json, "why_not_used");
  return point;
}

GroupFit ReadGroup(const Json& json) {
  GroupFit fit;
  for (const auto& [name, value] : json.at("group").items()) {
    fit.group[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  fit.best = ReadText(json, "best");
  fit.best_overall = ReadText(json, "best_overall");
  fit.saturation = ReadText(json, "saturation");
  fit.saturation_reason = ReadText(json, "saturation_reason");
  // Fits stored before these were made lack them.
  if (json.contains("budget_study")) fit.budget_study = StudyFromJson(json.at("budget_study"));
  if (json.contains("validation") && !json.at("validation").is_null()) {
    fit.validation = ValidationFromJson(json.at("validation"));
  }
  fit.weighting = ReadText(json, "weighting");
  fit.holdout = ReadText(json, "holdout");
  fit.rows = ReadInt(json, "rows");
  fit.rows_used = ReadInt(json, "rows_used");
  fit.rows_held_out = ReadInt(json, "rows_held_out");
  for (const auto& [name, form] : json.at("forms").items()) fit.forms[name] = ReadForm(form);
  for (const auto& [name, form] : json.at("baselines").items()) fit.baselines[name] = ReadForm(form);
  for (const Json& point : json.at("points")) fit.points.push_back(ReadPoint(point));
  fit.warnings = ReadTexts(json, "warnings");
  fit.error = ReadText(json, "error");
  if (json.contains("draws")) {
    for (const Json& draw : json.at("draws")) fit.draws.push_back(ReadParameters(draw));
  }
  return fit;
}

}  // namespace

std::string ReportToJson(const FitReport& report) {
  Json out = Json::object();
  out["groups"] = Json::array();
  for (const GroupFit& group : report.groups) out["groups"].push_back(GroupToJson(group));
  // A file name or key may hold bytes that are no UTF-8; they are replaced rather than thrown at the caller.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<FitReport> ReportFromJson(std::string_view json) {
  try {
    const Json parsed = Json::parse(json);
    FitReport report;
    for (const Json& group : parsed.at("groups")) report.groups.push_back(ReadGroup(group));
    return report;
  } catch (const nlohmann::json::exception& e) {
    return absl::InvalidArgumentError(
        absl::StrCat("fit: not a fit report as `capsweep fit --format json` prints it: ", e.what()));
  }
}

}  // namespace capsweep::ecm
