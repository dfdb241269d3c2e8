// PointSpec to and from its flat JSON object. The one place that sees nlohmann's exceptions for points.
#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "common/json_number.h"
#include "common/json_scan.h"
#include "common/json_text.h"
#include "common/point.h"
#include "common/text.h"

namespace capsweep {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
bool AssignField(const Json& json, T& out) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return false;
    out = json.get<bool>();
  } else if constexpr (std::is_same_v<T, double>) {
    if (!json.is_number()) return false;
    out = json.get<double>();
  } else if constexpr (std::is_integral_v<T>) {
    if (json.is_number_integer()) {
      return ReadInteger(json, out);
    } else if (json.is_number_float()) {
      const double real = json.get<double>();
      if (!(std::abs(real) <= 9007199254740992.0) || real != std::floor(real)) return false;
      if (std::is_unsigned_v<T> && real < 0) return false;
      out = static_cast<T>(real);
    } else {
      return false;
    }
  } else if constexpr (std::is_enum_v<T>) {
    return json.is_string() && FromWord(json.get<std::string>(), out);
  } else {
    if (!json.is_string()) return false;
    out = json.get<std::string>();
  }
  return true;
}

template <class T>
constexpr std::string_view Wanted() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, double>) return "a number";
  if constexpr (std::is_integral_v<T>) return "a whole number";
  if constexpr (std::is_enum_v<T>) return "one of its words";
  return "a text";
}

}  // namespace

std::string PointToJson(const PointSpec& point) {
  std::string text = "{";
  text.reserve(512);
  const uint64_t left_out = LaterDefaults(point);
  size_t place = 0;
  VisitFields(point, [&](std::string_view name, const auto& value) {
    if ((left_out >> place++ & 1) != 0) return;
    if ((name == "epochs" && point.epochs == 0) || (name == "steps" && point.steps == 0)) return;
    if (name == "backend" && point.backend.empty()) return;
    AppendJsonName(text, name);
    if constexpr (std::is_enum_v<std::decay_t<decltype(value)>>) {
      AppendJson(text, ToWord(value));
    } else {
      AppendJson(text, value);
    }
  });
  text += '}';
  return text;
}

bool ScanPoint(JsonScan& in, PointSpec& out) {
  out = PointSpec();
  bool ok = in.Open();
  VisitFields(out, [&](std::string_view name, auto& value) {
    if (!ok || !in.Name(name)) return;  // left out where it has its default
    if constexpr (std::is_enum_v<std::decay_t<decltype(value)>>) {
      std::string_view word;
      ok = in.Read(word) && FromWord(word, value);
    } else {
      ok = in.Read(value);
    }
  });
  return ok && in.Close();
}

absl::StatusOr<PointSpec> PointFromJson(std::string_view text) {
  return PointFromParsed(Json::parse(text, nullptr, /*allow_exceptions=*/false));
}

absl::StatusOr<PointSpec> PointFromParsed(const Json& json) {
  if (json.is_discarded() || !json.is_object()) return absl::InvalidArgumentError("a point must be a JSON object");
  PointSpec point;
  absl::Status status;
  size_t known = 0;
  auto next = json.begin();  // fields mostly come in our order
  VisitFields(point, [&](std::string_view name, auto& value) {
    const auto it = next != json.end() && next.key() == name ? next : json.find(std::string(name));
    if (it == json.end()) return;
    next = std::next(it);
    ++known;
    if (!AssignField(*it, value) && status.ok()) {
      status = absl::InvalidArgumentError(StrCat(name, ": ", it->dump(-1, ' ', false, Json::error_handler_t::replace),
                                                 " must be ", Wanted<std::decay_t<decltype(value)>>()));
    }
  });
  if (!status.ok()) return status;
  if (known != json.size()) {
    for (const auto& item : json.items()) {
      const std::string& name = item.key();
      bool found = false;
      VisitFields(point, [&](std::string_view field, const auto&) { found = found || field == name; });
      if (!found) return absl::InvalidArgumentError(StrCat(name, ": no such field of a point"));
    }
  }
  return point;
}

}  // namespace capsweep
