// capsweep submit, extend, retry, pause, resume, cancel: verbs that change sweeps at a coordinator.
#include <algorithm>
#include <memory>

#include "cli/app.h"
#include "cli/remote.h"
#include "cli/source.h"
#include "cli/table.h"
#include "common/file.h"
#include "common/status.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/adaptive.h"
#include "coordinator/plan/grid.h"
#include "coordinator/plan/search.h"

namespace capsweep::cli {
namespace {

struct SubmitOptions {
  std::string spec, sweep;
  RemoteOptions coordinator;
  bool dry_run = false;
  int32_t priority = 0;
};

// The points that a search begins with, for a dry run.
std::string FirstRunsText(const std::vector<PointSpec>& points) {
  constexpr size_t kShown = 20;
  TextTable table({"heads", "width", "layers", "seq_len", "dataset_size", "seed"});
  for (size_t i = 0; i < std::min(kShown, points.size()); ++i) {
    const PointSpec& p = points[i];
    table.Add({StrCat(p.heads), StrCat(p.width), StrCat(p.layers), StrCat(p.seq_len), StrCat(p.dataset_size),
               StrCat(p.init_seed)});
  }
  std::string text = table.ToString(2);
  if (points.size() > kShown) {
    StrAppend(&text, "  … and ", FormatCount(static_cast<int64_t>(points.size() - kShown)), " more\n");
  }
  return text;
}

std::string SomePoints(int64_t n) {
  return StrCat(FormatCount(n), n == 1 ? " point" : " points");
}

// What an adaptive sweep does after these, for a dry run.
absl::StatusOr<std::string> RoundsText(const SweepSpec& spec) {
  ASSIGN_OR_RETURN(const auto adaptive, plan::Adaptive::Create(spec));
  const SearchSpec& s = spec.search;
  std::string text = StrCat("these ", FormatCount(adaptive->start()), " points first, about ",
                            FormatDuration(adaptive->start_seconds()), " of one CPU core; then rounds of ");
  StrAppend(&text,
            adaptive->round() > 0 ? StrCat("at most ", SomePoints(adaptive->round()))
                                  : StrCat("about ", FormatDuration(adaptive->round_seconds())),
            ", each chosen by a fit of all before, for the prediction of ", plan::TargetText(s), "\n");
  StrAppend(&text, "budget: ",
            s.budget_points > 0 ? SomePoints(s.budget_points)
                                : StrCat(FormatNumber(s.budget_seconds, 6), " s of measured training"),
            ", the first points counted",
            s.stop_at > 0 ? StrCat("; it ends before that when half the interval is within ",
                                   FormatNumber(100 * s.stop_at, 3), " % of the prediction twice in a row")
                          : std::string(),
            "\n");
  return text;
}

// What each study of a file adds, for a dry run.
absl::StatusOr<std::string> StudiesText(const SweepSpec& spec) {
  ASSIGN_OR_RETURN(const std::vector<plan::StudyCount> counts, plan::CountStudies(spec));
  TextTable table({"study", "points", "not asked for above"});
  for (const plan::StudyCount& count : counts) {
    table.Add({count.name.empty() ? "(base grid)" : count.name, FormatCount(count.points), FormatCount(count.added)});
  }
  return table.ToString(2);
}

std::string SubmitText(const v1::SubmitSweepResponse& response, bool dry_run, const std::string& address) {
  std::string text = StrCat("sweep ", response.sweep(), ": ", FormatCount(response.points()), " points, ",
                            FormatCount(response.new_points()), " new, ", FormatCount(response.known_points()),
                            " known before, ", FormatCount(response.done_points()), " already measured\n");
  if (response.searches()) {
    StrAppend(&text, "the sweep searches: how many points it needs is not known beforehand; these are the first\n");
  }
  if (response.points() > response.done_points()) {
    StrAppend(&text, "left to do: ", FormatCount(response.points() - response.done_points()), " points in ",
              FormatCount(response.shapes()), response.shapes() == 1 ? " shape" : " shapes", ", at most about ",
              FormatDuration(response.estimated_core_seconds()), " on one CPU core",
              response.estimated_seconds() > 0
                  ? StrCat(", ", FormatDuration(response.estimated_seconds()), " with the devices connected now")
                  : std::string(", no worker is connected"),
              "\n");
  }
  text += dry_run
              ? "dry run: nothing was stored\n"
              : StrCat("follow it with `capsweep status ", response.sweep(), " --watch --coordinator ", address, "`\n");
  return text;
}

// The file is checked here first: a wrong one is reported without a coordinator, and never leaves this machine.
absl::StatusOr<int> Submit(const SubmitOptions& options, bool extend, Console& console) {
  ASSIGN_OR_RETURN(const SweepSpec spec, LoadSweep(options.spec));
  if (extend && spec.name != options.sweep) {
    return absl::InvalidArgumentError(StrCat(options.spec, ": is sweep '", spec.name, "', not '", options.sweep,
                                             "'; give it that name or extend '", spec.name, "'"));
  }
  ASSIGN_OR_RETURN(const auto remote, Remote::Connect(options.coordinator));
  v1::SubmitSweepRequest request;
  request.set_text(spec.text);
  request.set_file_name(options.spec);
  request.set_folder(spec.folder);
  request.set_dry_run(options.dry_run);
  request.set_priority(options.priority);
  ASSIGN_OR_RETURN(const v1::SubmitSweepResponse response, remote->Submit(request, extend));
  if (options.dry_run && response.searches()) {
    std::vector<PointSpec> first;
    RETURN_IF_ERROR(plan::EnumerateSweep(spec, [&first](const PointSpec& point) {
      first.push_back(point);
      return absl::OkStatus();
    }));
    console.out << FirstRunsText(first);
    if (spec.measure == "adaptive") {
      ASSIGN_OR_RETURN(const std::string rounds, RoundsText(spec));
      console.out << rounds;
    }
  }
  if (options.dry_run && !spec.studies.empty()) {
    ASSIGN_OR_RETURN(const std::string studies, StudiesText(spec));
    console.out << studies;
  }
  console.out << SubmitText(response, options.dry_run, remote->address());
  return kExitOk;
}

void AddSubmit(Verbs& verbs, const std::string& name, bool extend) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* verb =
      extend ? verbs.Add(name, "Add the points a stored sweep lacks, from a changed sweep file",
                         "capsweep extend quickstart sweeps/quickstart.yaml")
             : verbs.Add(name, "Give a sweep to a coordinator", "capsweep submit sweeps/quickstart.yaml --dry-run");
  if (extend) {
    verb->add_option("sweep", options->sweep, "The stored sweep")->required()->type_name("SWEEP");
  }
  verb->add_option("spec", options->spec, "The sweep file (docs/sweep-file.md)")->required()->type_name("SPEC");
  verb->add_flag("--dry-run", options->dry_run, "Count and estimate; store nothing");
  if (!extend) {
    verb->add_option("--priority", options->priority, "Higher runs first")->capture_default_str()->type_name("P");
  }
  AddRemoteOptions(*verb, options->coordinator);
  verbs.SetAction(verb, [options, extend](Console& console) { return Submit(*options, extend, console); });
}

CLI::App* AddChange(Verbs& verbs, const std::string& name, const std::string& description,
                    v1::ChangeSweepRequest::Verb change) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* verb = verbs.Add(name, description, StrCat("capsweep ", name, " quickstart"));
  verb->add_option("sweep", options->sweep, "The sweep's name")->required()->type_name("SWEEP");
  AddRemoteOptions(*verb, options->coordinator);
  verbs.SetAction(verb, [options, change](Console& console) -> absl::StatusOr<int> {
    ASSIGN_OR_RETURN(const auto remote, Remote::Connect(options->coordinator));
    ASSIGN_OR_RETURN(const v1::ChangeSweepResponse response, remote->ChangeSweep(options->sweep, change));
    console.out << "sweep " << options->sweep << ": " << response.state() << ", "
                << FormatCount(response.points_affected()) << " points affected\n";
    return kExitOk;
  });
  return verb;
}

}  // namespace

void AddSubmitVerbs(Verbs& verbs) {
  AddSubmit(verbs, "submit", /*extend=*/false);
  AddSubmit(verbs, "extend", /*extend=*/true);
  CLI::App* retry =
      AddChange(verbs, "retry", "Give failed points another chance", v1::ChangeSweepRequest::RETRY_FAILED);
  // Failed points are all there is to retry; the flag says so in scripts.
  retry->add_flag_callback(
      "--failed", [] {}, "Retry the failed points (the default)");
  AddChange(verbs, "pause", "Start no more points of a sweep; running ones finish", v1::ChangeSweepRequest::PAUSE);
  AddChange(verbs, "resume", "Go on with a paused or stopped sweep", v1::ChangeSweepRequest::RESUME);
  AddChange(verbs, "cancel", "Drop what a sweep has not measured; results stay", v1::ChangeSweepRequest::CANCEL);
}

}  // namespace capsweep::cli
