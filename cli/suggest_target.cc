#include "cli/suggest_target.h"

#include <map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "common/text.h"
#include "ecm/design.h"

namespace capsweep::cli {
namespace {

constexpr char kForms[] = "capacity:heads=5,width=64,seq_len=32 or design:items=1000,seq_len=16";
constexpr int64_t kLargest = 1'000'000'000;

absl::Status Wrong(const std::string& text, const std::string& what) {
  return absl::InvalidArgumentError(StrCat("--target ", text, ": ", what, "; write ", kForms));
}

}  // namespace

absl::StatusOr<SuggestTarget> ParseSuggestTarget(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  if (colon == std::string::npos || (kind != "capacity" && kind != "design")) {
    return Wrong(text, "must start with capacity: or design:");
  }
  std::map<std::string, int64_t*> fields;
  SuggestTarget target;
  fields["seq_len"] = &target.seq_len;
  if (kind == "design") {
    fields["items"] = &target.items;
  } else {
    fields["heads"] = &target.heads;
    fields["width"] = &target.width;
  }
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text.substr(colon + 1), ','))) {
    const size_t equals = part.find('=');
    const auto it = fields.find(part.substr(0, equals));
    if (equals == std::string::npos || it == fields.end()) {
      return Wrong(text, StrCat("'", part, "' is not one of its fields"));
    }
    if (!absl::SimpleAtoi(part.substr(equals + 1), it->second) || *it->second < 1 || *it->second > kLargest) {
      return Wrong(text, StrCat(it->first, " must be a whole number from 1 to ", kLargest));
    }
  }
  for (const auto& [name, value] : fields) {
    if (*value == 0) return Wrong(text, StrCat(name, " is missing"));
  }
  target.words = StrCat("the capacity at heads ", target.heads, ", width ", target.width, ", seq_len ", target.seq_len);
  return target;
}

absl::Status ResolveSuggestTarget(const ecm::GroupFit& fit, SuggestTarget& target) {
  if (target.items == 0) return absl::OkStatus();
  ecm::DesignRequest request;
  request.target = static_cast<double>(target.items);
  request.seq_len = target.seq_len;
  ASSIGN_OR_RETURN(const auto candidates, ecm::Design(fit, request));
  target.heads = candidates[0].heads;
  target.width = candidates[0].width;
  target.words = StrCat("the capacity of the smallest model for ", target.items, " items, heads ", target.heads,
                        ", width ", target.width, ", seq_len ", target.seq_len);
  return absl::OkStatus();
}

}  // namespace capsweep::cli
