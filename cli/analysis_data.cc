#include "cli/analysis_data.h"

#include "cli/analysis/rows.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {

absl::StatusOr<std::vector<ResultRow>> ReadAnalysisRows(Source& source, const std::string& sweep) {
  store::Table all;
  RETURN_IF_ERROR(source.Results(sweep, "", [&](const store::Table& page) {
    all.columns = page.columns;
    all.rows.insert(all.rows.end(), page.rows.begin(), page.rows.end());
    return absl::OkStatus();
  }));
  if (all.rows.empty()) {
    return absl::FailedPreconditionError(StrCat("sweep ", sweep, " has no results yet in ", source.Name(),
                                                "; `capsweep status ", sweep, " ", source.Flag(), "` shows why"));
  }
  return ReadResultRows(all);
}

absl::StatusOr<std::string> ReadMeasure(Source& source, const std::string& sweep) {
  ASSIGN_OR_RETURN(const store::Table table,
                   source.Query(StrCat("SELECT measure FROM sweeps WHERE name = ", SqlLiteral(sweep)), {}));
  if (table.rows.empty()) return "";
  const auto* text = std::get_if<std::string>(&table.rows[0][0]);
  return text == nullptr ? "" : *text;
}

absl::StatusOr<std::map<int64_t, PointLosses>> ReadLosses(Source& source, const std::string& sweep) {
  ASSIGN_OR_RETURN(
      const store::Table table,
      source.Query(StrCat("SELECT c.point_id, c.step, c.train_loss, c.heldout_loss FROM curves c JOIN sweep_points sp "
                          "USING (point_id) JOIN sweeps s USING (sweep_id) WHERE s.name = ",
                          SqlLiteral(sweep), " AND c.heldout_loss IS NOT NULL AND c.train_loss IS NOT NULL ",
                          "ORDER BY c.point_id, c.step"),
                   store::QueryLimits()));
  if (table.truncated) {
    return absl::ResourceExhaustedError(StrCat("sweep ", sweep,
                                               " has too many evaluations for one answer; raise "
                                               "eval_every, or analyze a part of it with `capsweep query`"));
  }
  std::map<int64_t, PointLosses> losses;
  for (const auto& row : table.rows) {
    const auto *point = std::get_if<int64_t>(&row[0]), *step = std::get_if<int64_t>(&row[1]);
    const auto *train = std::get_if<double>(&row[2]), *heldout = std::get_if<double>(&row[3]);
    if (point == nullptr || step == nullptr || train == nullptr || heldout == nullptr) continue;
    losses[*point].steps.push_back(static_cast<double>(*step));
    losses[*point].losses.push_back({*train, *heldout});
  }
  return losses;
}

std::map<int64_t, std::vector<ecm::LossPair>> LossPairs(const std::map<int64_t, PointLosses>& losses) {
  std::map<int64_t, std::vector<ecm::LossPair>> pairs;
  for (const auto& [point, curve] : losses) pairs[point] = curve.losses;
  return pairs;
}

}  // namespace capsweep::cli
