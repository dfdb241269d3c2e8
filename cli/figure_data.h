// Reads what a figure needs, from a file or through a coordinator.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/figures/figures.h"
#include "cli/fit_options.h"
#include "cli/source.h"

namespace capsweep::cli {

struct FigureRequest {
  std::string sweep;
  FitOptions fit;
  int64_t seq_len = 0;    // 0: the largest
  unsigned needs = 0;     // figures::Need of all kinds that will be drawn
  bool by_topic = false;  // in place of `needs`: those of all kinds of the topics that the sweep has
  std::string mls_from;   // another sweep, whose MLS and MAC stand in for those of this one; "" = none
};

// NotFound for an unknown sweep, FailedPrecondition if it has no result yet. A fit that is asked for with the usual
// options is the stored one where that has seen all results; nothing is stored.
absl::StatusOr<figures::FigureData> ReadFigureData(Source& source, const FigureRequest& request);

}  // namespace capsweep::cli
