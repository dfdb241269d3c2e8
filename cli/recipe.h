// How the cells of a fitted group were trained, so that further cells can be trained alike: their points, and a sweep
// file of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/point.h"
#include "ecm/report.h"

namespace capsweep::cli {

// Everything a group shares, and the library and budget of its fitted cells. Of a cell that was measured these are its
// own; of another they are interpolated in ln P_train between the measured cells (an exact law for any power of
// P_train, such as 120·sqrt(params_train)), and beyond them continue with the slope of the nearer half of the sizes.
class Recipe {
 public:
  // FailedPrecondition, naming what is missing: the fit of a CSV holds neither recipe nor budgets.
  static absl::StatusOr<Recipe> FromFit(const ecm::GroupFit& fit);

  // A point of the group without library, budget and seeds; head_dim by `split` where the group has it so.
  PointSpec Shape(int64_t heads, int64_t width, int64_t seq_len) const;
  // The same with library and budget.
  PointSpec Point(int64_t heads, int64_t width, int64_t seq_len) const;
  // Sets the budget of a point by its size alone.
  void SetBudget(PointSpec& point) const;

  bool split_heads() const { return split_heads_; }
  // "steps as the fitted cells had them (3,000 to 12,345, interpolated in ln P_train)".
  std::string BudgetRule() const;

 private:
  struct Cell {
    int64_t heads = 0, width = 0, seq_len = 0;
    double log_params = 0;  // ln P_train
    double library = 0;     // items · targets per item
    double budget = 0;
  };
  double Interpolate(double log_params, double Cell::*value) const;

  PointSpec shared_;
  bool split_heads_ = false, in_epochs_ = false;
  std::vector<Cell> cells_;  // by log_params
};

// A point and the seeds it is to be trained with.
struct SeededPoint {
  PointSpec point;
  std::vector<uint64_t> seeds;
};

// A sweep file of exactly these points, which must share everything but heads, width, seq_len, library and budget.
// Levels become axes, `where` picks the cells. It is checked with the parser: Internal if it does not read back as the
// same points.
absl::StatusOr<std::string> SweepFileText(const std::string& name, const std::string& comment, bool split_heads,
                                          const std::vector<SeededPoint>& points);

}  // namespace capsweep::cli
