#include "cli/figure_data.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "cli/adaptive_replay.h"
#include "cli/analysis/rows.h"
#include "cli/analysis_data.h"
#include "cli/measurements.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr int kHeldOutDraws = 200;  // where --bootstrap 0 asks for none: this figure is about its intervals

double NumberIn(const store::Cell& cell) {
  if (const auto* real = std::get_if<double>(&cell)) return *real;
  if (const auto* integer = std::get_if<int64_t>(&cell)) return static_cast<double>(*integer);
  return figures::kNothing;
}

// Position of a column; nullopt if there is none.
std::optional<size_t> ColumnOf(const store::Table& table, const std::string& name) {
  const auto found = std::find(table.columns.begin(), table.columns.end(), name);
  if (found == table.columns.end()) return std::nullopt;
  return static_cast<size_t>(found - table.columns.begin());
}

struct Points {
  std::vector<ecm::Measurement> measurements;
  std::vector<int64_t> ids;  // point_id of each
  store::Table rows;         // of v_results
};

absl::Status AppendPage(const store::Table& page, Points& points) {
  RETURN_IF_ERROR(AppendMeasurements(page, points.measurements));
  const std::optional<size_t> column = ColumnOf(page, "point_id");
  if (!column) return absl::InternalError("v_results has no column point_id");
  points.rows.columns = page.columns;
  points.rows.rows.insert(points.rows.rows.end(), page.rows.begin(), page.rows.end());
  for (const auto& row : page.rows) points.ids.push_back(static_cast<int64_t>(NumberIn(row[*column])));
  return absl::OkStatus();
}

absl::StatusOr<Points> ReadPoints(Source& source, const std::string& sweep) {
  Points points;
  RETURN_IF_ERROR(source.Results(sweep, "", [&](const store::Table& page) { return AppendPage(page, points); }));
  if (points.measurements.empty()) {
    return absl::FailedPreconditionError(StrCat("sweep ", sweep, " has no results yet in ", source.Name(),
                                                "; `capsweep status ", sweep, " ", source.Flag(), "` shows why"));
  }
  MergeSplitHeads(points.measurements);
  return points;
}

// Only the fits of these groups.
ecm::FitReport Restricted(ecm::FitReport report, const std::vector<ecm::Group>& groups) {
  std::erase_if(report.groups, [&](const ecm::GroupFit& fit) {
    return std::none_of(groups.begin(), groups.end(), [&](const ecm::Group& group) { return group.key == fit.group; });
  });
  return report;
}

// The stored fit where it has seen all results. Bootstrap draws do not change what is fitted, so a fit that has them
// serves where none are asked for.
absl::StatusOr<ecm::FitReport> FitOf(Source& source, const FigureRequest& request,
                                     const std::vector<ecm::Group>& groups) {
  FitOptions with_draws = request.fit;
  if (with_draws.bootstrap == 0) with_draws.bootstrap = FitOptions().bootstrap;
  for (const FitOptions& options : {request.fit, with_draws}) {
    ASSIGN_OR_RETURN(const int64_t id, FindCurrentFit(source, request.sweep, SettingsToJson(options)));
    if (id == 0) continue;
    ASSIGN_OR_RETURN(const std::string json, source.Fit(id));
    ASSIGN_OR_RETURN(ecm::FitReport stored, ecm::ReportFromJson(json));
    return Restricted(std::move(stored), groups);
  }
  ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(request.fit));
  return ecm::FitGroups(groups, settings);
}

absl::StatusOr<std::vector<figures::LearningCurve>> ReadCurves(Source& source, const Points& points, int64_t seq_len) {
  std::vector<figures::LearningCurve> curves;
  std::map<int64_t, size_t> by_id;
  std::vector<std::string> ids;
  for (const size_t index : figures::ChooseCurvePoints(points.measurements, seq_len)) {
    by_id[points.ids[index]] = curves.size();
    ids.push_back(StrCat(points.ids[index]));
    curves.push_back({.point = points.measurements[index]});
  }
  if (ids.empty()) return curves;
  ASSIGN_OR_RETURN(const store::Table table,
                   source.Query(StrCat("SELECT point_id, epoch, items_mem FROM curves WHERE point_id IN (",
                                       StrJoin(ids, ", "), ") ORDER BY point_id, step"),
                                {}));
  for (const auto& row : table.rows) {
    const auto found = by_id.find(static_cast<int64_t>(NumberIn(row[0])));
    if (found != by_id.end()) curves[found->second].evaluations.push_back({NumberIn(row[1]), NumberIn(row[2])});
  }
  return curves;
}

// Rows of v_capacity that hold both measures; none where the view has no such columns.
absl::StatusOr<std::vector<figures::LibraryPair>> ReadLibraries(Source& source, const std::string& sweep) {
  std::vector<figures::LibraryPair> pairs;
  ASSIGN_OR_RETURN(const store::Table table,
                   source.Query(StrCat("SELECT * FROM v_capacity WHERE sweep = ", SqlLiteral(sweep)), {}));
  const auto mac = ColumnOf(table, "mac"), mls = ColumnOf(table, "mls"), heads = ColumnOf(table, "heads"),
             width = ColumnOf(table, "width"), seq_len = ColumnOf(table, "seq_len"),
             frozen = ColumnOf(table, "freeze_mlp");
  if (!mac || !mls || !heads || !width || !seq_len || !frozen) return pairs;
  for (const auto& row : table.rows) {
    const figures::LibraryPair pair{.heads = NumberIn(row[*heads]),
                                    .width = NumberIn(row[*width]),
                                    .seq_len = NumberIn(row[*seq_len]),
                                    .freeze_mlp = NumberIn(row[*frozen]) != 0,
                                    .mac = NumberIn(row[*mac]),
                                    .mls = NumberIn(row[*mls])};
    if (pair.mac > 0 && pair.mls > 0) pairs.push_back(pair);  // not so where one is NULL
  }
  return pairs;
}

// The largest number of pairs of heads and width in a recipe.
size_t LargestRecipe(const std::vector<ecm::Group>& groups) {
  size_t largest = 0;
  for (const ecm::Group& group : groups) {
    std::set<std::pair<double, double>> pairs;
    for (const ecm::Row& row : group.rows) pairs.insert({row.heads, row.width});
    largest = std::max(largest, pairs.size());
  }
  return largest;
}

unsigned NeedsOf(const std::vector<Topic>& topics) {
  unsigned needs = figures::kNoNeed;
  for (const figures::FigureKind& kind : figures::FigureKinds()) {
    if (std::find(topics.begin(), topics.end(), kind.topic) != topics.end()) needs |= kind.needs;
  }
  return needs;
}

absl::Status AddAssoc(Source& source, const std::vector<ResultRow>& rows, figures::FigureData& data) {
  ASSIGN_OR_RETURN(const auto losses, ReadLosses(source, data.sweep));
  data.assoc = AnalyzeAssoc(rows, LossPairs(losses), {});
  for (const size_t index : figures::ChooseLossPoints(*data.assoc, rows)) {
    const ResultRow& row = rows[index];
    const auto found = losses.find(row.point_id);
    if (found == losses.end()) continue;
    figures::LossCurve& curve = data.losses.emplace_back();
    curve.architecture = row.architecture;
    curve.tokens = TokensOf(row);
    const PointLosses& point = found->second;
    for (size_t i = 0; i < point.steps.size(); ++i) {
      curve.evaluations.push_back({point.steps[i], point.losses[i].train, point.losses[i].heldout});
    }
  }
  return absl::OkStatus();
}

absl::Status AddLibraries(Source& source, const FigureRequest& request, figures::FigureData& data) {
  if (!request.mls_from.empty()) {
    RETURN_IF_ERROR(source.Sweeps(request.mls_from).status());  // NotFound names those there are
    data.libraries_from = request.mls_from;
  }
  ASSIGN_OR_RETURN(data.libraries, ReadLibraries(source, request.mls_from.empty() ? request.sweep : request.mls_from));
  if (data.libraries.empty() && !request.mls_from.empty()) {
    return absl::FailedPreconditionError(
        StrCat("--mls-from ", request.mls_from, ": that sweep measured no MLS; give one with `measure: mls`"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<figures::FigureData> ReadFigureData(Source& source, const FigureRequest& request) {
  figures::FigureData data{.sweep = request.sweep, .seq_len = request.seq_len};
  ASSIGN_OR_RETURN(data.capacity, ToCapacityKind(request.fit.capacity));
  ASSIGN_OR_RETURN(ecm::FitSettings settings, ToSettings(request.fit));
  ASSIGN_OR_RETURN(Points points, ReadPoints(source, request.sweep));
  ASSIGN_OR_RETURN(data.measure, ReadMeasure(source, request.sweep));
  ASSIGN_OR_RETURN(const std::vector<ResultRow> rows, ReadResultRows(points.rows));
  const std::vector<ecm::Group> all = ecm::BuildGroups(points.measurements, data.capacity);
  data.topics = TopicsOf(data.measure, rows, LargestRecipe(all));
  data.groups = figures::MainGroups(all);
  data.repeated_recipes = all.size() - data.groups.size();
  const unsigned needs = request.by_topic ? NeedsOf(data.topics) : request.needs;
  if ((needs & figures::kNeedFit) != 0) {
    ASSIGN_OR_RETURN(data.fit, FitOf(source, request, data.groups));
  }
  if ((needs & figures::kNeedHeldOut) != 0) {
    if (settings.bootstrap == 0) settings.bootstrap = kHeldOutDraws;
    data.held_out = figures::HoldOutHeads(data.groups, settings);
  }
  if ((needs & figures::kNeedCurves) != 0) {
    ASSIGN_OR_RETURN(data.curves, ReadCurves(source, points, request.seq_len));
  }
  if ((needs & figures::kNeedLibraries) != 0) RETURN_IF_ERROR(AddLibraries(source, request, data));
  if ((needs & figures::kNeedAnalyses) != 0) {
    data.bits = AnalyzeBits(rows);
    if (data.measure == "minnet") data.minnet = AnalyzeMinnet(rows);
    data.families = AnalyzeFamilies(rows);
  }
  if ((needs & figures::kNeedRounds) != 0 && data.measure == "adaptive") {
    ASSIGN_OR_RETURN(data.adaptive, ReplayAdaptive(source, request.sweep));
  }
  if ((needs & figures::kNeedLosses) != 0) RETURN_IF_ERROR(AddAssoc(source, rows, data));
  data.measurements = std::move(points.measurements);
  return data;
}

}  // namespace capsweep::cli
