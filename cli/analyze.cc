// capsweep analyze.
#include <memory>

#include "cli/adaptive_replay.h"
#include "cli/analysis/analysis.h"
#include "cli/analysis_data.h"
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

// What may be asked of these results, for the message about what may not.
std::string OthersThatFit(const std::string& measure, const std::vector<ResultRow>& rows) {
  std::vector<std::string> words;
  for (const Topic topic : TopicsOf(measure, rows, 0)) {
    if (topic != Topic::kCapacity) words.push_back(StrCat("--of ", TopicWord(topic)));
  }
  return words.empty() ? "`capsweep fit` fits it"
                       : StrCat(StrJoin(words, " and "), words.size() > 1 ? " fit it" : " fits it");
}

absl::StatusOr<std::string> Answer(const AnalyzeArguments& options, Source& source,
                                   const std::vector<ResultRow>& rows) {
  const bool json = options.format == "json";
  ASSIGN_OR_RETURN(const std::string measure, ReadMeasure(source, options.sweep));
  const auto cannot = [&](const std::string& why) {
    return absl::FailedPreconditionError(StrCat("sweep ", options.sweep, " ", why, "; ", OthersThatFit(measure, rows)));
  };
  if (options.of == "bits") {
    if (measure == "minnet") return cannot("looks for least networks, its libraries are not to be filled");
    const BitsAnalysis analysis = AnalyzeBits(rows);
    return json ? BitsJson(analysis) : BitsText(analysis);
  }
  if (options.of == "minnet") {
    if (measure != "minnet") return cannot(StrCat("has measure ", measure, ", so it does not look for least networks"));
    const MinnetAnalysis analysis = AnalyzeMinnet(rows);
    return json ? MinnetJson(analysis) : MinnetText(analysis);
  }
  if (options.of == "adaptive") {
    if (measure != "adaptive") return cannot(StrCat("has measure ", measure, ", so it has no rounds"));
    ASSIGN_OR_RETURN(const AdaptiveAnalysis analysis, ReplayAdaptive(source, options.sweep));
    return json ? AdaptiveJson(analysis) : AdaptiveText(analysis);
  }
  if (options.of == "families") {
    const FamiliesAnalysis analysis = AnalyzeFamilies(rows);
    if (analysis.families.size() < 2) return cannot("has one family of models");
    return json ? FamiliesJson(analysis) : FamiliesText(analysis);
  }
  ASSIGN_OR_RETURN(const auto losses, ReadLosses(source, options.sweep));
  if (losses.empty()) return cannot("measured no held-out items; set data.heldout_size in its file");
  const AssocAnalysis analysis = AnalyzeAssoc(rows, LossPairs(losses), options.assoc);
  return json ? AssocJson(analysis) : AssocText(analysis);
}

absl::StatusOr<int> Analyze(const AnalyzeArguments& options, Console& console) {
  if (!(options.assoc.sigma2 > 0)) {
    return absl::InvalidArgumentError(StrCat("--sigma2 ", options.assoc.sigma2, " is not a positive number"));
  }
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  ASSIGN_OR_RETURN(const std::vector<ResultRow> rows, ReadAnalysisRows(*source, options.sweep));
  ASSIGN_OR_RETURN(const std::string text, Answer(options, *source, rows));
  console.out << text << (text.ends_with('\n') ? "" : "\n");
  return kExitOk;
}

}  // namespace

void AddAnalyzeVerb(Verbs& verbs) {
  auto options = std::make_shared<AnalyzeArguments>();
  CLI::App* verb =
      verbs.Add("analyze", "Bits per parameter, associative memory, least networks, families or rounds of a sweep",
                "capsweep analyze bits-per-parameter --of bits --db sweep.db");
  verb->add_option("sweep", options->sweep, "The sweep's name")->type_name("SWEEP")->required();
  verb->add_option("--of", options->of, "bits, assoc, minnet, families or adaptive")
      ->type_name("WHAT")
      ->required()
      ->check(CLI::IsMember({"bits", "assoc", "minnet", "families", "adaptive"}));
  verb->add_option("--sigma2", options->assoc.sigma2, "assoc: limit of the mean square gap")->type_name("NATS2");
  verb->add_option("--window", options->assoc.window, "assoc: evaluations over which the gap is averaged")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  AddFormatOption(*verb, options->format, {"table", "json"});
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) { return Analyze(*options, console); });
}

}  // namespace capsweep::cli
