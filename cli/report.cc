// capsweep report: everything about a sweep in one HTML file.
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <memory>

#include "cli/app.h"
#include "cli/figure_data.h"
#include "cli/figures/gnuplot.h"
#include "cli/fit_options.h"
#include "cli/report_page.h"
#include "cli/source.h"
#include "cli/table.h"
#include "common/build_info.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr int kReasonsShown = 10;

struct ReportArguments {
  SourceOptions source;
  FitOptions fit;
  std::string sweep, out, mls_from;
  int64_t seq_len = 0;
};

// Before minutes go into fits: the name, the folder, and gnuplot.
absl::Status CheckOut(const std::string& path) {
  if (!path.ends_with(".html") && !path.ends_with(".htm")) {
    return absl::InvalidArgumentError(StrCat("report file '", path, "': the name must end in .html"));
  }
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(path, error).parent_path();
  if (error || !std::filesystem::is_directory(folder, error)) {
    return absl::NotFoundError(StrCat("report file '", path, "': there is no folder ", folder.string()));
  }
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(StrCat("report file '", path, "' is a folder; give the name of a file"));
  }
  if (access(folder.c_str(), W_OK) != 0) {
    return absl::PermissionDeniedError(StrCat("report file '", path, "': the folder cannot be written"));
  }
  return figures::CheckGnuplot();
}

std::string NowText() {
  const std::time_t now = static_cast<std::time_t>(Clock::Real().WallMillis() / 1000);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

absl::Status ReadDevices(Source& source, const std::string& name, ReportFacts& facts) {
  ASSIGN_OR_RETURN(const store::Table devices,
                   source.Query(StrCat("SELECT backend, device_kind, device_name, host, version, COUNT(*), "
                                       "SUM(seconds) FROM v_results WHERE sweep = ",
                                       name, " GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC"),
                                {}));
  for (const auto& row : devices.rows) {
    facts.devices.push_back({TextOf(row[0]), TextOf(row[1]), TextOf(row[2]), TextOf(row[3]), TextOf(row[4]),
                             WholeOf(row[5]), RealOf(row[6])});
  }
  return absl::OkStatus();
}

absl::Status ReadFailures(Source& source, const std::string& name, ReportFacts& facts) {
  ASSIGN_OR_RETURN(
      const store::Table failures,
      source.Query(StrCat("SELECT p.reason, COUNT(*) FROM points p JOIN sweep_points USING (point_id) JOIN sweeps s "
                          "USING (sweep_id) WHERE p.state = 'failed' AND s.name = ",
                          name, " GROUP BY 1 ORDER BY 2 DESC LIMIT ", kReasonsShown),
                   {}));
  for (const auto& row : failures.rows) facts.failures.push_back({TextOf(row[0]), WholeOf(row[1])});
  return absl::OkStatus();
}

absl::StatusOr<ReportFacts> ReadFacts(Source& source, const std::string& sweep) {
  ReportFacts facts{.source = source.Name(), .made_at = NowText(), .made_by = StrCat("capsweep ", BuildInfo())};
  ASSIGN_OR_RETURN(const std::vector<store::SweepProgress> sweeps, source.Sweeps(sweep));
  if (sweeps.empty()) return absl::NotFoundError(StrCat("there is no sweep ", sweep, " in ", source.Name()));
  facts.progress = sweeps[0];
  const std::string name = SqlLiteral(sweep);
  ASSIGN_OR_RETURN(const store::Table file,
                   source.Query(StrCat("SELECT file_name, text, measure FROM sweeps WHERE name = ", name), {}));
  if (!file.rows.empty()) {
    facts.file_name = TextOf(file.rows[0][0]);
    facts.text = TextOf(file.rows[0][1]);
    facts.measure = TextOf(file.rows[0][2]);
  }
  ASSIGN_OR_RETURN(const store::Table sums,
                   source.Query(StrCat("SELECT COUNT(*), COUNT(DISTINCT init_seed), SUM(stop_reason = 'budget'), "
                                       "SUM(seconds), MIN(accepted_at), MAX(accepted_at) FROM v_results WHERE sweep = ",
                                       name),
                                {}));
  if (!sums.rows.empty()) {
    const auto& row = sums.rows[0];
    facts.results = WholeOf(row[0]);
    facts.seeds = WholeOf(row[1]);
    facts.by_budget = WholeOf(row[2]);
    facts.training_seconds = RealOf(row[3]);
    facts.first_result = TextOf(row[4]);
    facts.last_result = TextOf(row[5]);
  }
  RETURN_IF_ERROR(ReadDevices(source, name, facts));
  RETURN_IF_ERROR(ReadFailures(source, name, facts));
  return facts;
}

// The kinds of the topics that the sweep has. What a kind cannot show of this sweep is a sentence; a picture that fails
// to be drawn is an error.
absl::StatusOr<std::vector<ReportFigure>> DrawFigures(const figures::FigureData& data) {
  std::vector<ReportFigure> drawn;
  for (const figures::FigureKind& kind : figures::FigureKinds()) {
    if (std::find(data.topics.begin(), data.topics.end(), kind.topic) == data.topics.end()) continue;
    ReportFigure& figure = drawn.emplace_back();
    figure.kind = &kind;
    const absl::StatusOr<figures::Chart> chart = kind.make(data);
    if (!chart.ok()) {
      if (chart.status().code() != absl::StatusCode::kFailedPrecondition) return chart.status();
      figure.why_not = std::string(chart.status().message());
      continue;
    }
    figure.notes = chart->notes;
    ASSIGN_OR_RETURN(figure.svg, figures::DrawSvg(*chart));
  }
  return drawn;
}

absl::StatusOr<int> Report(const ReportArguments& options, Console& console) {
  RETURN_IF_ERROR(CheckOut(options.out));
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  ASSIGN_OR_RETURN(const ReportFacts facts, ReadFacts(*source, options.sweep));
  const FigureRequest request{.sweep = options.sweep,
                              .fit = options.fit,
                              .seq_len = options.seq_len,
                              .by_topic = true,
                              .mls_from = options.mls_from};
  ASSIGN_OR_RETURN(const figures::FigureData data, ReadFigureData(*source, request));
  ASSIGN_OR_RETURN(const std::vector<ReportFigure> drawn, DrawFigures(data));
  RETURN_IF_ERROR(WriteFileAtomic(options.out, ReportHtml(facts, data, drawn)));
  console.out << "wrote " << options.out << "\n";
  return kExitOk;
}

}  // namespace

void AddReportVerb(Verbs& verbs) {
  auto options = std::make_shared<ReportArguments>();
  CLI::App* verb = verbs.Add("report", "Everything about a sweep in one HTML file (needs gnuplot)",
                             "capsweep report quickstart --out quickstart.html");
  verb->add_option("sweep", options->sweep, "The sweep's name")->required()->type_name("SWEEP");
  verb->add_option("--out", options->out, "File to write; ends in .html")->required()->type_name("FILE");
  verb->add_option("--seq-len", options->seq_len,
                   "Sequence length of the figures that show one; the largest unless given")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->type_name("N");
  verb->add_option("--mls-from", options->mls_from,
                   "Another sweep of the same database, for MLS against MAC where this one did not measure MLS")
      ->type_name("SWEEP");
  AddFitOptions(*verb, options->fit);
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) { return Report(*options, console); });
}

}  // namespace capsweep::cli
