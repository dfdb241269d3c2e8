// Whole numbers from JSON that others wrote. nlohmann's get<T>() cuts off what is too large for T, and of a real number
// beyond T's range the outcome is undefined.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

namespace capsweep {

// False, and `out` is left alone, unless `json` is a whole number that T can hold.
template <class Json, class T>
bool ReadInteger(const Json& json, T& out) {
  if (json.is_number_unsigned()) {
    const auto value = json.template get<uint64_t>();
    if (!std::in_range<T>(value)) return false;
    out = static_cast<T>(value);
    return true;
  }
  if (!json.is_number_integer()) return false;
  const auto value = json.template get<int64_t>();
  if (!std::in_range<T>(value)) return false;
  out = static_cast<T>(value);
  return true;
}

}  // namespace capsweep
