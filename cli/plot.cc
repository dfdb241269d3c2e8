#include "cli/plot.h"

#include <algorithm>
#include <memory>

#include "cli/app.h"
#include "cli/figure_data.h"
#include "cli/figures/figures.h"
#include "cli/figures/gnuplot.h"
#include "cli/fit_options.h"
#include "cli/source.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

struct PlotArguments {
  SourceOptions source;
  FitOptions fit;
  std::string sweep, kind = "capacity", out;
  std::string mls_from;
  int64_t seq_len = 0;
};

// The kinds that need no fit of their own and can be drawn of this sweep.
absl::StatusOr<std::vector<std::string>> KindsThatFit(Source& source, const PlotArguments& options) {
  FigureRequest request{
      .sweep = options.sweep,
      .fit = options.fit,
      .needs = figures::kNeedCurves | figures::kNeedLibraries | figures::kNeedAnalyses | figures::kNeedLosses};
  ASSIGN_OR_RETURN(const figures::FigureData data, ReadFigureData(source, request));
  std::vector<std::string> names;
  for (const figures::FigureKind& kind : figures::FigureKinds()) {
    const bool asked = std::find(data.topics.begin(), data.topics.end(), kind.topic) != data.topics.end();
    if (asked && kind.make(data).ok()) names.emplace_back(kind.name);
  }
  return names;
}

// The reason, and what could be drawn in its place.
absl::Status WithKindsThatFit(const absl::Status& why, Source& source, const PlotArguments& options) {
  if (!absl::IsFailedPrecondition(why)) return why;
  const auto names = KindsThatFit(source, options);
  if (!names.ok() || names->empty()) return why;
  return absl::FailedPreconditionError(StrCat(why.message(), "; kinds that fit it: ", StrJoin(*names, ", ")));
}

absl::StatusOr<int> Plot(const PlotArguments& options, Console& console) {
  ASSIGN_OR_RETURN(const figures::Format format, PlotFormatFor(options.out));
  const figures::FigureKind* kind = figures::FindFigure(options.kind);
  if (kind == nullptr) {
    return absl::InvalidArgumentError(StrCat("--kind ", options.kind, ": unknown; see `capsweep plot --help`"));
  }
  RETURN_IF_ERROR(figures::CheckGnuplot());
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  ASSIGN_OR_RETURN(const figures::FigureData data, ReadFigureData(*source, {.sweep = options.sweep,
                                                                            .fit = options.fit,
                                                                            .seq_len = options.seq_len,
                                                                            .needs = kind->needs,
                                                                            .mls_from = options.mls_from}));
  const absl::StatusOr<figures::Chart> chart = kind->make(data);
  if (!chart.ok()) return WithKindsThatFit(chart.status(), *source, options);
  RETURN_IF_ERROR(figures::DrawChart(*chart, format, options.out));
  for (const std::string& note : chart->notes) {
    console.out << note << "\n";
  }
  console.out << "wrote " << options.out << "\n";
  return kExitOk;
}

}  // namespace

absl::StatusOr<figures::Format> PlotFormatFor(const std::string& path) {
  if (path.ends_with(".svg")) return figures::Format::kSvg;
  if (path.ends_with(".png")) return figures::Format::kPng;
  return absl::InvalidArgumentError(StrCat("plot file '", path, "': the name must end in .svg or .png"));
}

absl::Status DrawCapacityPlot(const std::string& sweep, const std::vector<ecm::Group>& groups,
                              const ecm::FitReport& report, const std::string& path) {
  ASSIGN_OR_RETURN(const figures::Format format, PlotFormatFor(path));
  ASSIGN_OR_RETURN(const figures::Chart chart,
                   figures::CapacityFigure({.sweep = sweep, .groups = groups, .fit = report}));
  return figures::DrawChart(chart, format, path);
}

void AddPlotVerb(Verbs& verbs) {
  auto options = std::make_shared<PlotArguments>();
  options->fit.bootstrap = 0;  // the curve alone needs no intervals
  CLI::App* verb = verbs.Add("plot", "Draw a figure of a sweep (needs gnuplot)",
                             "capsweep plot quickstart --kind capacity --out capacity.svg\n"
                             "  capsweep plot quickstart --kind heads --seq-len 16 --out heads.png");
  std::vector<std::string> names;
  std::string kinds;
  for (const figures::FigureKind& kind : figures::FigureKinds()) {
    names.emplace_back(kind.name);
    StrAppend(&kinds, kinds.empty() ? "" : ", ", kind.name);
  }
  verb->add_option("sweep", options->sweep, "The sweep's name")->required()->type_name("SWEEP");
  verb->add_option("--kind", options->kind, StrCat("Figure: ", kinds))
      ->check(CLI::IsMember(names))
      ->capture_default_str()
      ->type_name("KIND");
  verb->add_option("--out", options->out, "Picture to write; ends in .svg or .png")->required()->type_name("FILE");
  verb->add_option("--seq-len", options->seq_len,
                   "Sequence length of the figures that show one (heads, parameters, memory, freeze, curves); the "
                   "largest unless given")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->type_name("N");
  verb->add_option("--mls-from", options->mls_from, "mls: another sweep of the same database that measured both")
      ->type_name("SWEEP");
  AddFitOptions(*verb, options->fit);
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) { return Plot(*options, console); });
}

}  // namespace capsweep::cli
