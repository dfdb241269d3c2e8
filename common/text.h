// Joining text. Debian's Abseil is built with a string_view of its own, so absl::StrCat takes no std::string_view; this
// one takes both, and prints numbers in shortest round-trip form.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"

namespace capsweep {

namespace text_internal {

inline void AppendOne(std::string& out, std::string_view v) {
  out.append(v);
}
inline void AppendOne(std::string& out, absl::string_view v) {
  out.append(v.data(), v.size());
}
inline void AppendOne(std::string& out, const char* v) {
  out.append(v);
}
inline void AppendOne(std::string& out, const std::string& v) {
  out.append(v);
}
inline void AppendOne(std::string& out, char v) {
  out.push_back(v);
}
inline void AppendOne(std::string& out, bool v) {
  out.append(v ? "true" : "false");
}

template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
void AppendOne(std::string& out, T v) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
  if (error == std::errc()) out.append(buffer, end);
}

}  // namespace text_internal

template <class... Args>
void StrAppend(std::string* out, const Args&... args) {
  (text_internal::AppendOne(*out, args), ...);
}

template <class... Args>
std::string StrCat(const Args&... args) {
  std::string out;
  StrAppend(&out, args...);
  return out;
}

inline std::string StrJoin(const std::vector<std::string>& parts, std::string_view between) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) StrAppend(&out, i == 0 ? std::string_view() : between, parts[i]);
  return out;
}

}  // namespace capsweep
