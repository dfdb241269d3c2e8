#include "common/sweep/errors.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/escaping.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr size_t kMaxShown = 100;

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

void Errors::Add(int line, std::string_view field, std::string_view what) {
  if (++count_ <= kMaxShown) {
    lines_.emplace_back(line, StrCat(field, field.empty() ? "" : ": ", what));
  }
}

void Errors::Add(int line, std::string_view field, const absl::Status& failure) {
  Add(line, field, StrCat(failure.message()));
}

absl::Status Errors::ToStatus() const {
  if (empty()) {
    return absl::OkStatus();
  }
  std::vector<std::pair<int, std::string>> shown = lines_;
  std::stable_sort(shown.begin(), shown.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string message;
  for (const auto& [line, what] : shown) {
    StrAppend(&message, message.empty() ? "" : "\n", file_name_, ":", line, ": ", what);
  }
  if (count_ > shown.size()) {
    StrAppend(&message, "\n", file_name_, ": and ", count_ - shown.size(), " more errors");
  }
  return absl::InvalidArgumentError(message);
}

std::string_view Nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.empty() || word.size() > 40) {
    return "";
  }
  std::string_view best;
  size_t best_distance = word.size() <= 3 ? 2 : 3;
  for (const std::string_view candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  for (const std::string_view candidate : candidates) {
    if (best.empty() && std::min(word.size(), candidate.size()) >= 3 &&
        (candidate.starts_with(word) || word.starts_with(candidate))) {
      best = candidate;
    }
  }
  return best;
}

std::string Show(std::string_view text) {
  constexpr size_t kMax = 60;
  size_t length = std::min(text.size(), kMax);
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) {
    --length;  // not inside a character
  }
  const std::string head(text.substr(0, length));
  return StrCat("\"", absl::Utf8SafeCHexEscape(head), length < text.size() ? "..." : "", "\"");
}

}  // namespace capsweep::sweep
