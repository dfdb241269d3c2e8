// capsweep analyze.
#include <memory>

#include "cli/analysis/analysis.h"
#include "cli/app.h"
#include "cli/source.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

struct AnalyzeArguments {
  SourceOptions source;
  AssocSettings assoc;
  std::string sweep, of, format = "table";
};

absl::StatusOr<std::vector<ResultRow>> ReadRows(Source& source, const std::string& sweep) {
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

absl::StatusOr<std::map<int64_t, std::vector<ecm::LossPair>>> ReadCurves(Source& source, const std::string& sweep) {
  ASSIGN_OR_RETURN(
      const store::Table table,
      source.Query(StrCat("SELECT c.point_id, c.train_loss, c.heldout_loss FROM curves c JOIN sweep_points "
                          "sp USING (point_id) JOIN sweeps s USING (sweep_id) WHERE s.name = ",
                          SqlLiteral(sweep), " AND c.heldout_loss IS NOT NULL AND c.train_loss IS NOT NULL ",
                          "ORDER BY c.point_id, c.step"),
                   store::QueryLimits()));
  if (table.truncated) {
    return absl::ResourceExhaustedError(StrCat("sweep ", sweep,
                                               " has too many evaluations for one answer; raise "
                                               "eval_every, or analyze a part of it with `capsweep query`"));
  }
  std::map<int64_t, std::vector<ecm::LossPair>> curves;
  for (const auto& row : table.rows) {
    const auto* point = std::get_if<int64_t>(&row[0]);
    const auto *train = std::get_if<double>(&row[1]), *heldout = std::get_if<double>(&row[2]);
    if (point != nullptr && train != nullptr && heldout != nullptr) curves[*point].push_back({*train, *heldout});
  }
  return curves;
}

absl::StatusOr<int> Analyze(const AnalyzeArguments& options, Console& console) {
  if (!(options.assoc.sigma2 > 0)) {
    return absl::InvalidArgumentError(StrCat("--sigma2 ", options.assoc.sigma2, " is not a positive number"));
  }
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  ASSIGN_OR_RETURN(const std::vector<ResultRow> rows, ReadRows(*source, options.sweep));
  const bool json = options.format == "json";
  std::string text;
  if (options.of == "bits") {
    const BitsAnalysis analysis = AnalyzeBits(rows);
    text = json ? BitsJson(analysis) : BitsText(analysis);
  } else if (options.of == "minnet") {
    const MinnetAnalysis analysis = AnalyzeMinnet(rows);
    text = json ? MinnetJson(analysis) : MinnetText(analysis);
  } else {
    ASSIGN_OR_RETURN(const auto curves, ReadCurves(*source, options.sweep));
    if (curves.empty()) {
      return absl::FailedPreconditionError(StrCat("sweep ", options.sweep,
                                                  " measured no held-out items; set "
                                                  "data.heldout_size in its file"));
    }
    const AssocAnalysis analysis = AnalyzeAssoc(rows, curves, options.assoc);
    text = json ? AssocJson(analysis) : AssocText(analysis);
  }
  console.out << text << (text.ends_with('\n') ? "" : "\n");
  return kExitOk;
}

}  // namespace

void AddAnalyzeVerb(Verbs& verbs) {
  auto options = std::make_shared<AnalyzeArguments>();
  CLI::App* verb = verbs.Add("analyze", "Bits per parameter, associative memory or least networks of a sweep",
                             "capsweep analyze bits-per-parameter --of bits --db sweep.db");
  verb->add_option("sweep", options->sweep, "The sweep's name")->type_name("SWEEP")->required();
  verb->add_option("--of", options->of, "bits, assoc or minnet")
      ->type_name("WHAT")
      ->required()
      ->check(CLI::IsMember({"bits", "assoc", "minnet"}));
  verb->add_option("--sigma2", options->assoc.sigma2, "assoc: limit of the mean square gap")->type_name("NATS2");
  verb->add_option("--window", options->assoc.window, "assoc: evaluations over which the gap is averaged")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  AddFormatOption(*verb, options->format, {"table", "json"});
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) { return Analyze(*options, console); });
}

}  // namespace capsweep::cli
