// Reading back what json_text.h wrote: lines between agent and trainer, one or two for every point, for which a
// document in memory costs more than everything else that is done with them. Takes only text in the very form in which
// we write it; of anything else (other blanks, another order, escapes) it says false, and the caller reads it as the
// JSON it may be.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>

namespace capsweep {

class JsonScan {
 public:
  explicit JsonScan(std::string_view text) : rest_(text) {}

  bool AtEnd() const { return rest_.empty(); }

  // Takes exactly these characters, or nothing.
  bool Skip(std::string_view text) {
    if (rest_.substr(0, text.size()) != text) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  // `"name":`, after a comma unless it is the first of its object; or nothing.
  bool Name(std::string_view name) {
    const size_t comma = first_ ? 0 : 1;
    const size_t length = comma + name.size() + 3;
    if (rest_.size() < length || (comma == 1 && rest_[0] != ',') || rest_[comma] != '"' ||
        rest_.substr(comma + 1, name.size()) != name || rest_.substr(length - 2, 2) != "\":") {
      return false;
    }
    rest_.remove_prefix(length);
    first_ = false;
    return true;
  }
  bool Open() { return first_ = Skip("{"); }
  bool Close() {
    first_ = false;
    return Skip("}");
  }

  // A text without escapes; a view of the input.
  bool Read(std::string_view& out) {
    if (rest_.empty() || rest_[0] != '"') return false;
    for (size_t i = 1; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '"') {
        out = rest_.substr(1, i - 1);
        rest_.remove_prefix(i + 1);
        return true;
      }
      if (c < 0x20 || c > 0x7e || c == '\\') return false;
    }
    return false;
  }
  bool Read(std::string& out) {
    std::string_view text;
    if (!Read(text)) return false;
    out = text;
    return true;
  }
  bool Read(bool& out) {
    out = Skip("true");
    return out || Skip("false");
  }
  // A number as JSON writes it, though more than that would be read: no leading zeros, points or signs, no "inf". That
  // it ends where it should is noticed by what is taken next.
  template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  bool Read(T& out) {
    const size_t sign = !rest_.empty() && rest_[0] == '-' ? 1 : 0;
    const auto digit = [&](size_t i) { return i < rest_.size() && rest_[i] >= '0' && rest_[i] <= '9'; };
    if (!digit(sign) || (rest_[sign] == '0' && digit(sign + 1))) return false;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), out);
    if (error != std::errc()) return false;
    const auto length = static_cast<size_t>(end - rest_.data());
    const size_t point = rest_.substr(0, length).find('.');
    if (point < length && !digit(point + 1)) return false;
    rest_.remove_prefix(length);
    // "-0" is a whole number to a JSON reader, and its sign lost.
    return !(sign == 1 && out == T{0});
  }

 private:
  std::string_view rest_;
  bool first_ = false;
};

}  // namespace capsweep
