// One round of a sweep that chooses its cells: fit what is measured, say how sure a prediction is, choose what to train
// next.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ecm/capacity.h"
#include "ecm/suggest.h"

namespace capsweep::ecm {

struct NextRequest {
  std::string form = "log_quadratic";        // log_quadratic | softmin
  double heads = 0, width = 0, seq_len = 0;  // of the prediction
  // Above 0: the prediction is that of the smallest model for so many items, over heads to max_heads and widths to
  // max_width, of the length above; `params` counts its parameters (below 0: there is no such model).
  double items = 0;
  int64_t max_heads = 0, max_width = 0;
  std::function<int64_t(int64_t heads, int64_t width)> params;
  double seconds = 0;  // most that may still be spent, in units of SuggestCell::seconds
  int points = 1000;   // most to choose
};

struct NextCells {
  std::string unfitted;  // not empty: nothing can be fitted yet, or no model reaches the items; nothing below is set
  double heads = 0, width = 0, seq_len = 0;
  double predicted = 0, low = 0, high = 0;  // items, with the 95 % interval
  std::vector<int> order;                   // of candidates, one entry per repeat
};

// log_quadratic: the baseline of that name, weighted by w = 1/(φC/n + (0.05·C)²) with φ as in Suggest, once it has
// three more rows than terms; its interval is exp(ln C ± t·s·√(gᵀ(XᵀWX)⁻¹g)/C). Milliseconds. softmin: the smooth form
// of the ECM with 64 starts; its interval is that of 200 bootstrap draws. Half a second for 100 cells on one core.
// Then Suggest chooses, never the predicted cell itself. One thread, fixed seeds: the same answer to the same question.
// `candidates` need a seconds above 0. The measurements count as one group.
absl::StatusOr<NextCells> ChooseNextCells(const std::vector<Measurement>& measurements,
                                          std::vector<SuggestCell> candidates, const NextRequest& request);

}  // namespace capsweep::ecm
