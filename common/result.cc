#include "common/result.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "common/json_number.h"
#include "common/json_scan.h"
#include "common/json_text.h"
#include "common/param_count.h"
#include "common/point.h"
#include "common/text.h"

namespace capsweep {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<FailureCause, std::string_view>, 7> kCauses = {{
    {FailureCause::kNanLoss, "nan_loss"},
    {FailureCause::kOutOfMemory, "out_of_memory"},
    {FailureCause::kUnsupported, "unsupported"},
    {FailureCause::kBadPoint, "bad_point"},
    {FailureCause::kTrainerDied, "trainer_died"},
    {FailureCause::kTrainerHung, "trainer_hung"},
    {FailureCause::kInternal, "internal"},
}};

template <class T>
bool Assign(const Json& json, T& out) {
  if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return false;
  } else if constexpr (std::is_same_v<T, double>) {
    if (!json.is_number()) return false;
  } else {
    return ReadInteger(json, out);
  }
  out = json.get<T>();
  return true;
}

// Measures that a point may not have asked for.
bool MayBeAbsent(std::string_view name) {
  return name == "heldout_loss" || name == "neighbour_mean" || name == "neighbour_median";
}

bool AssignEvaluation(const Json& row, Evaluation& e) {
  if (row.is_array() && row.size() == 7 && !row[6].is_null() && !Assign(row[6], e.heldout_loss)) return false;
  return row.is_array() && (row.size() == 6 || row.size() == 7) && Assign(row[0], e.epoch) && Assign(row[1], e.step) &&
         Assign(row[2], e.items_mem) && Assign(row[3], e.tokens_mem) && Assign(row[4], e.nll_bits) &&
         Assign(row[5], e.train_loss);
}

absl::Status Impossible(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(StrCat(field, ": ", why));
}

absl::Status ValidateCounts(const PointSpec& point, const PointResult& r) {
  const int64_t items = point.dataset_size;
  if (r.targets < 1 || r.targets > MaxTargets(point)) return Impossible("targets", StrCat(r.targets, " is impossible"));
  if (r.items_mem < 0 || r.items_mem > items) return Impossible("items_mem", StrCat(r.items_mem, " is not in 0..D"));
  if (r.items_mem_best < r.items_mem || r.items_mem_best > items) {
    return Impossible("items_mem_best", StrCat(r.items_mem_best, " is not in items_mem..D"));
  }
  if (r.tokens_mem < r.items_mem * r.targets || r.tokens_mem > items * r.targets) {
    return Impossible("tokens_mem", StrCat(r.tokens_mem, " is not in items_mem·T..D·T"));
  }
  if (r.steps < 0 || r.steps > BudgetSteps(point)) return Impossible("steps", StrCat(r.steps, " exceeds the budget"));
  if (r.epochs < 0 || r.presentations < 0 || r.redraws < 0) return Impossible("epochs", "a count is negative");
  return absl::OkStatus();
}

}  // namespace

std::string_view ToWord(FailureCause v) {
  for (const auto& [cause, word] : kCauses) {
    if (cause == v) return word;
  }
  return "internal";
}

bool FromWord(std::string_view word, FailureCause& out) {
  for (const auto& [cause, name] : kCauses) {
    if (name == word) {
      out = cause;
      return true;
    }
  }
  return false;
}

std::string ResultToJson(const PointResult& result) {
  std::string text = "{";
  text.reserve(1024);
  VisitResultFields(result, [&](std::string_view name, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, double>) {
      if (MayBeAbsent(name) && std::isnan(value)) return;
    }
    AppendJsonName(text, name);
    AppendJson(text, value);
  });
  AppendJsonName(text, "curve");
  text += '[';
  for (const Evaluation& e : result.curve) {
    if (&e != &result.curve.front()) text += ',';
    StrAppend(&text, '[', e.epoch, ',', e.step, ',', e.items_mem, ',', e.tokens_mem, ',');
    AppendJson(text, e.nll_bits);
    text += ',';
    AppendJson(text, e.train_loss);
    if (!std::isnan(e.heldout_loss)) {
      text += ',';
      AppendJson(text, e.heldout_loss);
    }
    text += ']';
  }
  text += "]}";
  return text;
}

absl::StatusOr<PointResult> ResultFromJson(std::string_view text) {
  return ResultFromParsed(Json::parse(text, nullptr, /*allow_exceptions=*/false));
}

absl::StatusOr<PointResult> ResultFromParsed(const Json& json) {
  if (json.is_discarded() || !json.is_object()) return absl::InvalidArgumentError("a result must be a JSON object");
  PointResult result;
  absl::Status status;
  auto next = json.begin();  // fields mostly come in our order
  VisitResultFields(result, [&](std::string_view name, auto& value) {
    const auto it = next != json.end() && next.key() == name ? next : json.find(std::string(name));
    if (!status.ok()) return;
    if (it != json.end()) next = std::next(it);
    if (it == json.end() || it->is_null()) {
      if (!MayBeAbsent(name)) status = Impossible(name, "is missing");
    } else if (!Assign(*it, value)) {
      status = Impossible(name, "has the wrong type");
    }
  });
  if (!status.ok()) return status;
  const auto curve = json.find("curve");
  if (curve == json.end() || !curve->is_array()) return Impossible("curve", "is missing or not a list");
  for (const Json& row : *curve) {
    Evaluation& evaluation = result.curve.emplace_back();
    if (!AssignEvaluation(row, evaluation)) return Impossible("curve", "a row is not six or seven numbers");
  }
  return result;
}

bool ScanResult(JsonScan& in, PointResult& out) {
  bool ok = in.Open();
  VisitResultFields(out, [&](std::string_view name, auto& value) {
    if (!ok) return;
    if (in.Name(name)) {
      ok = in.Read(value);
    } else {
      ok = MayBeAbsent(name);
    }
  });
  ok = ok && in.Name("curve") && in.Skip("[");
  for (bool more = ok && !in.Skip("]"); more && ok; more = ok && in.Skip(",")) {
    Evaluation& e = out.curve.emplace_back();
    ok = in.Skip("[") && in.Read(e.epoch) && in.Skip(",") && in.Read(e.step) && in.Skip(",") && in.Read(e.items_mem) &&
         in.Skip(",") && in.Read(e.tokens_mem) && in.Skip(",") && in.Read(e.nll_bits) && in.Skip(",") &&
         in.Read(e.train_loss) && (!in.Skip(",") || in.Read(e.heldout_loss)) && in.Skip("]");
  }
  return ok && (out.curve.empty() || in.Skip("]")) && in.Close();
}

absl::Status ValidateResult(const PointSpec& point, const PointResult& r) {
  if (r.point_key != PointKey(point)) {
    return Impossible("point_key", StrCat(r.point_key, " is not the key of the point that was asked for"));
  }
  return ValidateMeasures(point, r);
}

absl::Status ValidateMeasures(const PointSpec& point, const PointResult& r) {
  if (absl::Status status = ValidateCounts(point, r); !status.ok()) return status;
  for (double v : {r.nll_bits, r.bits_mem, r.items_corr, r.train_loss, r.seconds, r.seconds_train, r.seconds_eval}) {
    if (!std::isfinite(v)) return Impossible("result", "a measure is not a finite number");
  }
  if (r.nll_bits < 0) return Impossible("nll_bits", "is negative");
  const double bits = static_cast<double>(point.dataset_size * r.targets) * std::log2(static_cast<double>(point.vocab));
  if (r.bits_mem > bits * (1 + 1e-9) + 1e-9) return Impossible("bits_mem", "exceeds the library's bits");
  if (r.items_corr < 0 || r.items_corr > static_cast<double>(point.dataset_size) * (1 + 1e-9)) {
    return Impossible("items_corr", "is not in 0..D");
  }
  if (const ParamCount params = CountParams(point); r.params_total != params.total || r.params_train != params.train) {
    return Impossible("params_total", "does not agree with the point");
  }
  if (r.stop_reason != "memorized" && r.stop_reason != "plateau" && r.stop_reason != "budget") {
    return Impossible("stop_reason", "is not memorized, plateau or budget");
  }
  for (const Evaluation& e : r.curve) {
    if (!std::isfinite(e.nll_bits) || !std::isfinite(e.train_loss) || e.items_mem < 0 ||
        e.items_mem > point.dataset_size) {
      return Impossible("curve", "a row is impossible");
    }
  }
  return absl::OkStatus();
}

}  // namespace capsweep
