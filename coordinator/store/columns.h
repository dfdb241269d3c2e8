// Column lists and conversions made from VisitFields and VisitResultFields, so that a new field cannot be forgotten
// half-way. Columns are named like their fields, but for the budgets. Internal to coordinator/store.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "common/point.h"
#include "common/result.h"
#include "common/text.h"
#include "coordinator/store/db.h"

namespace capsweep::store {

// `epochs` and `steps` of a point are its budget; the columns of those names hold what a run used.
constexpr std::string_view SpecColumn(std::string_view field) {
  if (field == "epochs") return "budget_epochs";
  if (field == "steps") return "budget_steps";
  return field;
}

// "mode, vocab, …", each with `prefix` in front.
std::string SpecColumnList(std::string_view prefix = "");
std::string ResultColumnList();
int SpecColumnCount();
int ResultColumnCount();
// "?3, ?4, …": `count` parameters from `first`.
std::string Parameters(int first, int count);

// Binds every field from parameter `first` on. The strings of `point` must outlive the next Step.
void BindSpec(Statement& statement, int first, const PointSpec& point);
void BindResult(Statement& statement, int first, const PointResult& result);
// Reads the columns of SpecColumnList from `first` on. DataLoss for a word this version does not know.
absl::Status ReadSpec(Statement& statement, int first, PointSpec& point);

}  // namespace capsweep::store
