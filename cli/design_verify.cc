#include "cli/design_verify.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/local_run.h"
#include "cli/local_worker.h"
#include "cli/remote.h"
#include "cli/table.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr size_t kLongestName = 64;
constexpr size_t kHashDigits = 8;
constexpr double kLookEvery = 0.5;
constexpr double kSayEvery = 10;

std::string ModelName(const ecm::Candidate& model) {
  return StrCat("heads ", model.heads, ", width ", model.width);
}

absl::Status RunHere(const VerifyOptions& options, const std::string& database, const SweepSpec& sweep,
                     Verification& verification, Console& console) {
  LocalRunOptions run_options;
  run_options.database = database;
  run_options.devices = options.devices;
  run_options.worker = StrCat(ExecutableFolder(), "/capsweep-worker");
  run_options.trainer = options.trainer;
  run_options.quiet = options.quiet;
  const std::string trainer =
      options.trainer.empty() ? StrCat(ExecutableFolder(), "/capsweep-trainer") : options.trainer;
  for (const std::string& program : {run_options.worker, trainer}) {
    if (access(program.c_str(), X_OK) != 0) {
      return absl::InternalError(
          StrCat(program, " is missing or not executable; build or install it beside this program"));
    }
  }
  const SignalWatch signals;
  ASSIGN_OR_RETURN(const auto run, LocalRun::Open(run_options, console));
  ASSIGN_OR_RETURN(const LocalRunOutcome outcome, run->Run(sweep));
  verification.signal = outcome.signal;
  verification.failed_points = outcome.failed;
  return absl::OkStatus();
}

absl::Status RunThere(const VerifyOptions& options, const RemoteOptions& coordinator, const SweepSpec& sweep,
                      Verification& verification, Console& console) {
  ASSIGN_OR_RETURN(const auto remote, Remote::Connect(coordinator));
  v1::SubmitSweepRequest request;
  request.set_text(sweep.text);
  request.set_file_name(sweep.file_name);
  RETURN_IF_ERROR(remote->Submit(request, /*extend=*/false).status());
  console.err << "sweep " << sweep.name << " submitted to " << remote->address()
              << "; waiting for its results (Ctrl-C leaves it to the coordinator)" << std::endl;
  const SignalWatch signals;
  double unsaid = kSayEvery;
  while (true) {
    ASSIGN_OR_RETURN(const auto progress, remote->Sweeps(sweep.name));
    const store::SweepProgress& now = progress.at(0);
    verification.failed_points = now.failed;
    if (now.state != "running") return absl::OkStatus();
    if (unsaid >= kSayEvery && !options.quiet) {
      console.err << sweep.name << ": " << now.done << " of " << now.points << " points done" << std::endl;
      unsaid = 0;
    }
    if (SleepUnlessSignalled(kLookEvery)) {
      verification.signal = SignalWatch::Caught();
      console.err << "the coordinator goes on with sweep " << sweep.name << "; the same command reads its results"
                  << std::endl;
      return absl::OkStatus();
    }
    unsaid += kLookEvery;
  }
}

int64_t Integer(const store::Cell& cell) {
  const auto* integer = std::get_if<int64_t>(&cell);
  return integer == nullptr ? 0 : *integer;
}

absl::Status ReadRepeats(Source& source, Verification& verification) {
  for (VerifiedModel& model : verification.models) {
    ASSIGN_OR_RETURN(const store::Table table,
                     source.Query(StrCat("SELECT init_seed, items_mem, steps, stop_reason, backend FROM v_results "
                                         "WHERE sweep = ",
                                         SqlLiteral(verification.sweep), " AND heads = ", model.model.heads,
                                         " AND width = ", model.model.width, " ORDER BY init_seed"),
                                  {}));
    for (const auto& row : table.rows) {
      model.repeats.push_back({.seed = Integer(row[0]),
                               .items_mem = Integer(row[1]),
                               .steps = Integer(row[2]),
                               .stop_reason = std::get<std::string>(row[3]),
                               .backend = std::get<std::string>(row[4])});
    }
  }
  return absl::OkStatus();
}

std::string ModelSentence(const VerifiedModel& model, int64_t target) {
  if (model.repeats.empty()) return StrCat(ModelName(model.model), ": no repeat has a result.\n");
  const int reached = model.reached(), repeats = static_cast<int>(model.repeats.size());
  const std::string name = StrCat(ModelName(model.model), " (", model.why, ")");
  if (reached == repeats) {
    return StrCat(name, ": all ", FormatCount(target),
                  " items were memorized in every repeat: the target was reached.\n");
  }
  return StrCat(name, ": ", FormatNumber(model.mean(), 5), " of ", FormatCount(target),
                " items on average, all of them in ", reached, " of ", repeats, " repeats: the target was ",
                reached > 0 ? "reached in some repeats only" : "not reached", ".\n");
}

}  // namespace

void AddVerifyOptions(CLI::App& verb, VerifyOptions& options) {
  verb.add_flag("--verify", options.verify, "Train the chosen models on a library of the target's size and report");
  verb.add_option("--verify-repeats", options.repeats, "Repeats (seeds) of --verify")
      ->check(CLI::Range(1, 100))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--verify-steps", options.steps, "Steps of --verify (default: by size, as the fitted cells had)")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  verb.add_option("--devices", options.devices, "Devices of --verify with --db: auto, all, cpu:N or cuda:0,1")
      ->capture_default_str()
      ->type_name("LIST");
  verb.add_option("--trainer", options.trainer, "Trainer program of --verify with --db")->type_name("FILE");
  verb.add_flag("--quiet", options.quiet, "No progress while --verify trains");
}

std::vector<std::pair<ecm::Candidate, std::string>> ChosenModels(const std::vector<ecm::Candidate>& candidates) {
  std::vector<std::pair<ecm::Candidate, std::string>> chosen;
  if (candidates.empty()) return chosen;
  chosen.emplace_back(candidates[0],
                      candidates[0].safe ? "smallest by the estimate, and safe" : "smallest by the estimate");
  const auto safe = std::find_if(candidates.begin(), candidates.end(), [](const auto& c) { return c.safe; });
  if (safe != candidates.end() && safe != candidates.begin()) chosen.emplace_back(*safe, "smallest safe choice");
  return chosen;
}

double VerifiedModel::mean() const {
  double sum = 0;
  for (const VerifiedRepeat& repeat : repeats) sum += static_cast<double>(repeat.items_mem);
  return repeats.empty() ? 0 : sum / static_cast<double>(repeats.size());
}

int VerifiedModel::reached() const {
  return static_cast<int>(
      std::count_if(repeats.begin(), repeats.end(), [&](const auto& r) { return r.items_mem >= point.dataset_size; }));
}

absl::StatusOr<VerifyPlan> PlanVerification(const VerifyOptions& options, const std::string& fitted_sweep,
                                            const ecm::GroupFit& group, const std::vector<ecm::Candidate>& candidates,
                                            double target, int64_t seq_len) {
  ASSIGN_OR_RETURN(const Recipe recipe, Recipe::FromFit(group));
  VerifyPlan plan;
  Verification& verification = plan.verification;
  verification.target = std::llround(std::ceil(target));
  verification.budget_rule =
      options.steps > 0 ? StrCat(FormatCount(options.steps), " steps, as asked") : recipe.BudgetRule();
  std::vector<uint64_t> seeds;
  for (int64_t seed = 1; seed <= options.repeats; ++seed) seeds.push_back(static_cast<uint64_t>(seed));
  std::vector<SeededPoint> points;
  for (const auto& [candidate, why] : ChosenModels(candidates)) {
    PointSpec point = recipe.Shape(candidate.heads, candidate.width, seq_len);
    point.dataset_size = verification.target;
    recipe.SetBudget(point);
    if (options.steps > 0) {
      point.steps = options.steps;
      point.epochs = 0;
    }
    RETURN_IF_ERROR(Annotate(ValidatePoint(point), "the chosen model cannot be trained"));
    points.push_back({point, seeds});
    verification.models.push_back({.model = candidate, .why = why, .point = point, .repeats = {}});
  }
  ASSIGN_OR_RETURN(const std::string body, SweepFileText("x", "", recipe.split_heads(), points));
  const std::string ending =
      StrCat("-verify-", verification.target, "-n", seq_len, "-", Sha256Hex(body).substr(0, kHashDigits));
  verification.sweep = StrCat(fitted_sweep.substr(0, kLongestName - std::min(ending.size(), kLongestName - 1)), ending);
  const std::string comment =
      StrCat("# Made by `capsweep design --verify`: the models chosen for ", verification.target,
             " items, trained on a library of that size.\n# Budget: ", verification.budget_rule, ".\n");
  ASSIGN_OR_RETURN(const std::string text, SweepFileText(verification.sweep, comment, recipe.split_heads(), points));
  ASSIGN_OR_RETURN(plan.sweep, ParseSweep(text, StrCat(verification.sweep, ".yaml")));
  return plan;
}

absl::StatusOr<Verification> VerifyDesign(const VerifyOptions& options, const SourceOptions& source,
                                          const std::string& fitted_sweep, const ecm::GroupFit& group,
                                          const std::vector<ecm::Candidate>& candidates, double target, int64_t seq_len,
                                          Console& console) {
  ASSIGN_OR_RETURN(VerifyPlan plan, PlanVerification(options, fitted_sweep, group, candidates, target, seq_len));
  RETURN_IF_ERROR(ValidateDevices(options.devices));
  // The flag that reads from there again also tells which of the two it is.
  ASSIGN_OR_RETURN(auto reader, OpenSource(source));
  const std::string flag = reader->Flag();
  reader.reset();
  const std::string place = flag.substr(flag.find(' ') + 1);
  const RemoteOptions there{place, source.security};
  const bool here = flag.starts_with("--db ");
  RETURN_IF_ERROR(here ? RunHere(options, place, plan.sweep, plan.verification, console)
                       : RunThere(options, there, plan.sweep, plan.verification, console));
  ASSIGN_OR_RETURN(reader, here ? OpenFileSource(place) : OpenRemoteSource(there));
  RETURN_IF_ERROR(ReadRepeats(*reader, plan.verification));
  return std::move(plan.verification);
}

std::string VerificationText(const Verification& verification) {
  std::string text = StrCat("\nVerification, sweep ", verification.sweep, ": libraries of ",
                            FormatCount(verification.target), " items; ", verification.budget_rule, ".\n");
  TextTable table({"heads", "width", "seed", "steps", "memorized", "of", "share %", "ended by", "back end"});
  bool all = true;
  for (const VerifiedModel& model : verification.models) {
    all = all && !model.repeats.empty() && model.reached() == static_cast<int>(model.repeats.size());
    for (const VerifiedRepeat& repeat : model.repeats) {
      const auto size = static_cast<double>(model.point.dataset_size);
      table.Add({StrCat(model.model.heads), StrCat(model.model.width), StrCat(repeat.seed), StrCat(repeat.steps),
                 StrCat(repeat.items_mem), StrCat(model.point.dataset_size),
                 FormatNumber(100 * static_cast<double>(repeat.items_mem) / size, 4), repeat.stop_reason,
                 repeat.backend});
    }
  }
  text += table.ToString(2);
  for (const VerifiedModel& model : verification.models) text += ModelSentence(model, verification.target);
  if (!all) {
    text +=
        "The capacities behind the design were measured on libraries larger than the model holds. Such a capacity says "
        "how much\n  is kept of too much; it does not promise that a library of exactly that size is memorized to the "
        "last item.\n";
  }
  return text;
}

std::string DesignJson(const std::vector<ecm::Candidate>& candidates, const Verification& verification) {
  const std::string plain = ecm::DesignToJson(candidates);
  if (verification.sweep.empty()) return plain;
  auto list = nlohmann::ordered_json::parse(plain);
  for (auto& entry : list) {
    for (const VerifiedModel& model : verification.models) {
      if (entry["heads"] != model.model.heads || entry["width"] != model.model.width) continue;
      nlohmann::ordered_json repeats = nlohmann::ordered_json::array();
      for (const VerifiedRepeat& r : model.repeats) {
        repeats.push_back({{"seed", r.seed},
                           {"items_mem", r.items_mem},
                           {"steps", r.steps},
                           {"stop_reason", r.stop_reason},
                           {"backend", r.backend}});
      }
      entry["verification"] = {
          {"sweep", verification.sweep},
          {"dataset_size", model.point.dataset_size},
          {"budget_rule", verification.budget_rule},
          {"repeats", repeats},
          {"items_mem_mean", model.mean()},
          {"reached", model.reached() == static_cast<int>(model.repeats.size()) && !model.repeats.empty()}};
    }
  }
  return list.dump(2) + "\n";
}

}  // namespace capsweep::cli
