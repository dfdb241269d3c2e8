#include "ecm/json_studies.h"

#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace capsweep::ecm {
namespace {

using Json = nlohmann::ordered_json;

Json TextOrNull(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}
Json NumberOrNull(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

std::optional<double> OptionalNumber(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(json.get<double>());
}
std::string TextOrEmpty(const Json& json) {
  return json.is_null() ? "" : json.get<std::string>();
}

Json ErrorsToJson(const ValidationErrors& errors) {
  const bool fitted = errors.skipped.empty();
  auto figure = [&](double value) { return fitted ? NumberOrNull(value) : Json(nullptr); };
  return {{"rmse", figure(errors.rmse)},
          {"mape", figure(errors.mape)},
          {"bias", figure(errors.bias)},
          {"coverage", NumberOrNull(errors.coverage)},
          {"parameters_used", errors.parameters_used},
          {"skipped", TextOrNull(errors.skipped)}};
}

ValidationErrors ErrorsFromJson(const Json& json) {
  ValidationErrors errors;
  errors.rmse = OptionalNumber(json.at("rmse")).value_or(0);
  errors.mape = OptionalNumber(json.at("mape")).value_or(0);
  errors.bias = OptionalNumber(json.at("bias")).value_or(0);
  errors.coverage = OptionalNumber(json.at("coverage"));
  errors.parameters_used = json.at("parameters_used").get<int>();
  errors.skipped = TextOrEmpty(json.at("skipped"));
  return errors;
}

}  // namespace

Json StudyToJson(const BudgetStudy& study) {
  Json rows = Json::array();
  for (const BudgetRepeat& r : study.rows) {
    rows.push_back({{"heads", r.heads},
                    {"width", r.width},
                    {"seq_len", r.seq_len},
                    {"base_budget", r.base_budget},
                    {"budget", r.budget},
                    {"base_capacity", r.base_capacity},
                    {"capacity", r.capacity},
                    {"gain", NumberOrNull(r.gain)},
                    {"on_bound", r.on_bound},
                    {"counted", r.counted},
                    {"why_not_counted", TextOrNull(r.why_not_counted)}});
  }
  Json by_heads = Json::object();
  for (const auto& [heads, gain] : study.gain_by_heads) by_heads[absl::StrCat(heads)] = NumberOrNull(gain);
  return {{"rows", rows},
          {"widths", study.widths},
          {"factor", study.gain ? Json(study.factor) : Json(nullptr)},
          {"gain", NumberOrNull(study.gain)},
          {"gain_on_bound", NumberOrNull(study.gain_on_bound)},
          {"gain_by_heads", by_heads},
          {"verdict", TextOrNull(study.verdict)}};
}

BudgetStudy StudyFromJson(const Json& json) {
  BudgetStudy study;
  for (const Json& row : json.at("rows")) {
    BudgetRepeat r;
    r.heads = row.at("heads").get<double>();
    r.width = row.at("width").get<double>();
    r.seq_len = row.at("seq_len").get<double>();
    r.base_budget = row.at("base_budget").get<double>();
    r.budget = row.at("budget").get<double>();
    r.base_capacity = row.at("base_capacity").get<double>();
    r.capacity = row.at("capacity").get<double>();
    r.gain = OptionalNumber(row.at("gain")).value_or(0);
    r.on_bound = row.at("on_bound").get<bool>();
    r.counted = row.at("counted").get<bool>();
    r.why_not_counted = TextOrEmpty(row.at("why_not_counted"));
    study.rows.push_back(r);
  }
  study.widths = json.at("widths").get<std::vector<double>>();
  study.factor = OptionalNumber(json.at("factor")).value_or(0);
  study.gain = OptionalNumber(json.at("gain"));
  study.gain_on_bound = OptionalNumber(json.at("gain_on_bound"));
  for (const auto& [heads, gain] : json.at("gain_by_heads").items()) {
    double value = 0;
    if (absl::SimpleAtod(heads, &value)) study.gain_by_heads[value] = OptionalNumber(gain).value_or(0);
  }
  study.verdict = TextOrEmpty(json.at("verdict"));
  return study;
}

Json ValidationToJson(const Validation& validation) {
  Json splits = Json::array();
  for (const ValidationSplit& split : validation.splits) {
    Json models = Json::object();
    for (const auto& [name, errors] : split.models) models[name] = ErrorsToJson(errors);
    splits.push_back({{"split", split.name},
                      {"weighting", split.weighting},
                      {"rows", split.rows},
                      {"why_not", TextOrNull(split.why_not)},
                      {"beat_ecm", split.beat_ecm},
                      {"ecm_wins", split.ecm_wins},
                      {"models", models}});
  }
  return {{"ecm", TextOrNull(validation.ecm)}, {"verdict", validation.verdict}, {"splits", splits}};
}

Validation ValidationFromJson(const Json& json) {
  Validation validation;
  validation.ecm = TextOrEmpty(json.at("ecm"));
  validation.verdict = json.at("verdict").get<std::string>();
  for (const Json& entry : json.at("splits")) {
    ValidationSplit split;
    split.name = entry.at("split").get<std::string>();
    split.weighting = entry.at("weighting").get<std::string>();
    split.rows = entry.at("rows").get<int>();
    split.why_not = TextOrEmpty(entry.at("why_not"));
    split.beat_ecm = entry.at("beat_ecm").get<std::vector<std::string>>();
    split.ecm_wins = entry.at("ecm_wins").get<bool>();
    for (const auto& [name, errors] : entry.at("models").items()) split.models[name] = ErrorsFromJson(errors);
    validation.splits.push_back(std::move(split));
  }
  return validation;
}

}  // namespace capsweep::ecm
