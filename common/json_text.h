// Writing JSON where a document in memory would cost more than the text: lines between agent and trainer, one or two
// for every point.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "common/text.h"

namespace capsweep {

inline void AppendJsonText(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {  // anything that may need care; bytes that are no UTF-8 too
      out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      return;
    }
  }
  StrAppend(&out, '"', text, '"');
}

// A text in quotes, a number in shortest form, true or false. What is not finite is null; a real number always looks
// like one ("1.0").
template <class T>
void AppendJson(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, double>) {
    if (!std::isfinite(value)) {
      out += "null";
      return;
    }
    const size_t start = out.size();
    StrAppend(&out, value);
    if (out.find_first_not_of("-0123456789", start) == std::string::npos) out += ".0";
  } else if constexpr (std::is_arithmetic_v<T>) {
    StrAppend(&out, value);
  } else {
    AppendJsonText(out, value);
  }
}

// `"name":` after the comma it needs.
inline void AppendJsonName(std::string& out, std::string_view name) {
  StrAppend(&out, out.back() == '{' ? "\"" : ",\"", name, "\":");
}

}  // namespace capsweep
