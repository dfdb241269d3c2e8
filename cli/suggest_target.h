// What `suggest --target` asks for.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "ecm/report.h"

namespace capsweep::cli {

struct SuggestTarget {
  int64_t heads = 0, width = 0, seq_len = 0;  // of the prediction; heads and width are 0 until a design is resolved
  int64_t items = 0;                          // of a design; 0 = a capacity
  std::string words;                          // for people
};

// "capacity:heads=5,width=64,seq_len=32" or "design:items=1000,seq_len=16". InvalidArgument naming what is wrong.
absl::StatusOr<SuggestTarget> ParseSuggestTarget(const std::string& text);

// Of a design: the smallest model by the estimate, whose capacity decides the choice. Errors of ecm::Design.
absl::Status ResolveSuggestTarget(const ecm::GroupFit& fit, SuggestTarget& target);

}  // namespace capsweep::cli
