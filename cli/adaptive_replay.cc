#include "cli/adaptive_replay.h"

#include <cstdint>
#include <set>
#include <utility>

#include "cli/table.h"
#include "common/status.h"
#include "common/sweep/data_files.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/adaptive.h"
#include "coordinator/service/advise.h"

namespace capsweep::cli {
namespace {

absl::StatusOr<SweepSpec> ReadSpec(Source& source, const std::string& sweep) {
  RETURN_IF_ERROR(source.Sweeps(sweep).status());  // NotFound names those there are
  ASSIGN_OR_RETURN(
      const store::Table file,
      source.Query(StrCat("SELECT text, file_name, folder FROM sweeps WHERE name = ", SqlLiteral(sweep)), {}));
  if (file.rows.empty()) return absl::NotFoundError(StrCat("there is no sweep ", sweep, " in ", source.Name()));
  ASSIGN_OR_RETURN(SweepSpec spec, ParseSweep(TextOf(file.rows[0][0]), TextOf(file.rows[0][1])));
  if (spec.measure != "adaptive") {
    return absl::InvalidArgumentError(StrCat("sweep ", sweep, " has measure ", spec.measure, ", so it has no rounds"));
  }
  spec.folder = TextOf(file.rows[0][2]);
  RETURN_IF_ERROR(sweep::LoadDataFiles(spec));
  return spec;
}

absl::StatusOr<plan::Outcomes> ReadOutcomes(Source& source, const std::string& sweep) {
  ASSIGN_OR_RETURN(
      const store::Table table,
      source.Query(StrCat("SELECT p.point_key, p.state, p.reason, r.items_mem, r.items_corr, r.seconds FROM sweeps s "
                          "JOIN sweep_points USING (sweep_id) JOIN points p USING (point_id) LEFT JOIN results r USING "
                          "(point_id) WHERE s.name = ",
                          SqlLiteral(sweep)),
                   store::QueryLimits()));
  if (table.truncated) {
    return absl::ResourceExhaustedError(StrCat("sweep ", sweep, " has more points than one answer holds"));
  }
  plan::Outcomes outcomes;
  for (const auto& row : table.rows) {
    plan::Outcome& outcome = outcomes[TextOf(row[0])];
    const std::string state = TextOf(row[1]);
    outcome.state = state == "done"     ? plan::Outcome::State::kDone
                    : state == "failed" ? plan::Outcome::State::kFailed
                                        : plan::Outcome::State::kOpen;
    outcome.failure = TextOf(row[2]);
    outcome.items_mem = WholeOf(row[3]);
    outcome.items_corr = RealOf(row[4]);
    outcome.seconds = RealOf(row[5]);
  }
  return outcomes;
}

void AddRound(const plan::AdaptiveQuestion& question, const plan::AdaptiveAnswer& answer, AdaptiveAnalysis& analysis) {
  AdaptiveAnalysis::Round round{.spent = analysis.budget - question.budget, .unfitted = answer.unfitted};
  std::set<int> cells;
  for (const auto& sample : question.samples) cells.insert(sample.cell);
  round.points = static_cast<int64_t>(question.samples.size());
  round.cells = static_cast<int64_t>(cells.size());
  if (answer.unfitted.empty()) {
    round.predicted = answer.predicted;
    round.low = answer.low;
    round.high = answer.high;
    analysis.heads = answer.heads;
    analysis.width = answer.width;
    analysis.seq_len = answer.seq_len;
  }
  const int64_t before = analysis.rounds.empty() ? 0 : analysis.rounds.back().points;
  if (analysis.cells.empty()) {
    for (const auto& cell : question.cells) {
      analysis.cells.push_back({cell.point->heads, cell.point->width, cell.point->seq_len});
    }
  }
  for (int64_t i = before; i < round.points; ++i) {
    AdaptiveAnalysis::Cell& cell = analysis.cells[question.samples[i].cell];
    ++(before == 0 ? cell.first : cell.later);
  }
  analysis.rounds.push_back(std::move(round));
}

}  // namespace

absl::StatusOr<AdaptiveAnalysis> ReplayAdaptive(Source& source, const std::string& sweep) {
  ASSIGN_OR_RETURN(SweepSpec spec, ReadSpec(source, sweep));
  AdaptiveAnalysis analysis{.target = plan::TargetText(spec.search),
                            .by_seconds = spec.search.budget_seconds > 0,
                            .stop_at = spec.search.stop_at};
  analysis.budget = analysis.by_seconds ? spec.search.budget_seconds : static_cast<double>(spec.search.budget_points);
  ASSIGN_OR_RETURN(const plan::Outcomes outcomes, ReadOutcomes(source, sweep));
  ASSIGN_OR_RETURN(const auto adaptive, plan::Adaptive::Create(std::move(spec)));
  ASSIGN_OR_RETURN(
      const plan::SearchPlan plan,
      adaptive->Plan(outcomes, [&](const plan::AdaptiveQuestion& question) -> absl::StatusOr<plan::AdaptiveAnswer> {
        ASSIGN_OR_RETURN(plan::AdaptiveAnswer answer, service::Advise(question));
        AddRound(question, answer, analysis);
        return answer;
      }));
  if (plan.complete) analysis.why_ended = plan.cells[0].reason;
  for (AdaptiveAnalysis::Cell& cell : analysis.cells) {
    cell.target = cell.heads == analysis.heads && cell.width == analysis.width && cell.seq_len == analysis.seq_len;
  }
  return analysis;
}

}  // namespace capsweep::cli
