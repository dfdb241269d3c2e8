// Collects every error of a sweep file so that a user mends them all at once.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/text.h"

namespace capsweep::sweep {

// InvalidArgument with the parts joined.
template <class... Args>
absl::Status Bad(const Args&... args) {
  return absl::InvalidArgumentError(StrCat(args...));
}

class Errors {
 public:
  explicit Errors(std::string file_name) : file_name_(std::move(file_name)) {}

  // `what` says what is wrong and how to mend it; `field` may be empty (the whole file).
  void Add(int line, std::string_view field, std::string_view what);
  // The same with the message of a failed step.
  void Add(int line, std::string_view field, const absl::Status& failure);

  bool empty() const { return count_ == 0; }
  size_t size() const { return count_; }

  // OK, or InvalidArgument with one "FILE:LINE: FIELD: WHAT" line per error in line order; at most 100 are shown.
  absl::Status ToStatus() const;

 private:
  std::string file_name_;
  size_t count_ = 0;
  std::vector<std::pair<int, std::string>> lines_;  // the first of them; a hostile file can hold half a million
};

// The candidate nearest to a mistyped word, or "" if none is near (two edits away at most, one for words of up to
// three letters, or one a prefix of the other).
std::string_view Nearest(std::string_view word, const std::vector<std::string_view>& candidates);

// Text from a file as shown in a message: quoted, unprintable bytes escaped, cut to 60 characters.
std::string Show(std::string_view text);

}  // namespace capsweep::sweep
