// capsweep suggest: which cells to train next for one prediction.
#include "ecm/suggest.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "absl/strings/numbers.h"
#include "cli/app.h"
#include "cli/choose_fit.h"
#include "cli/measurements.h"
#include "cli/recipe.h"
#include "cli/suggest_target.h"
#include "cli/table.h"
#include "common/cost_model.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"
#include "ecm/statistics.h"

namespace capsweep::cli {
namespace {

using CellKey = std::tuple<int64_t, int64_t, int64_t>;  // heads, width, seq_len

struct SuggestArguments {
  FitChoice choice;
  std::string target, out, by = "form", format = "table";
  std::vector<int64_t> heads, widths, lengths;
  double seconds = 0;
  int points = 12, max_repeats = 6;
};

// What may be trained, and how: parallel arrays.
struct Cells {
  std::vector<ecm::SuggestCell> cells;
  std::vector<PointSpec> points;
  std::map<CellKey, std::set<uint64_t>> seeds;  // measured
};

absl::StatusOr<std::map<CellKey, std::set<uint64_t>>> MeasuredSeeds(Source& source, const std::string& sweep,
                                                                    const ecm::GroupFit& group) {
  ASSIGN_OR_RETURN(const auto measurements, ReadMeasurements(source, sweep));
  std::map<CellKey, std::set<uint64_t>> seeds;
  for (const ecm::Measurement& m : measurements) {
    if (m.group == group.group) seeds[{m.heads, m.width, m.seq_len}].insert(m.seed);
  }
  return seeds;
}

std::vector<int64_t> LevelsOf(const std::vector<int64_t>& asked, const ecm::GroupFit& group,
                              double (*level)(const ecm::Row&)) {
  if (!asked.empty()) return asked;
  std::set<int64_t> levels;
  for (const ecm::PredictedRow& point : group.points) levels.insert(std::llround(level(point.row)));
  return {levels.begin(), levels.end()};
}

Cells ListCells(const SuggestArguments& options, const ecm::GroupFit& group, const Recipe& recipe,
                const SuggestTarget& target, std::map<CellKey, std::set<uint64_t>> seeds) {
  Cells out;
  out.seeds = std::move(seeds);
  for (const int64_t heads : LevelsOf(options.heads, group, [](const ecm::Row& r) { return r.heads; })) {
    for (const int64_t width : LevelsOf(options.widths, group, [](const ecm::Row& r) { return r.width; })) {
      for (const int64_t seq_len : LevelsOf(options.lengths, group, [](const ecm::Row& r) { return r.seq_len; })) {
        // The target is a prediction: training it would be an answer, not evidence.
        if (heads == target.heads && width == target.width && seq_len == target.seq_len) continue;
        if (recipe.split_heads() && width % heads != 0) continue;
        const PointSpec point = recipe.Point(heads, width, seq_len);
        if (!ValidatePoint(point).ok()) continue;
        const auto measured = static_cast<int>(out.seeds[{heads, width, seq_len}].size());
        out.cells.push_back({.heads = static_cast<double>(heads),
                             .width = static_cast<double>(width),
                             .seq_len = static_cast<double>(seq_len),
                             .seconds = EstimateSeconds(point),
                             .most_repeats = std::max(0, options.max_repeats - measured)});
        out.points.push_back(point);
      }
    }
  }
  return out;
}

// The chosen repeats with the smallest seeds that their cells do not have yet.
std::vector<SeededPoint> ChosenPoints(const ecm::SuggestPlan& plan, const Cells& cells) {
  std::map<int, std::set<uint64_t>> used;
  std::map<int, std::vector<uint64_t>> added;
  for (const ecm::Suggestion& step : plan.order) {
    const PointSpec& point = cells.points[step.cell];
    auto& taken = used[step.cell];
    if (taken.empty()) taken = cells.seeds.at({point.heads, point.width, point.seq_len});
    uint64_t seed = 1;
    while (taken.contains(seed)) ++seed;
    taken.insert(seed);
    added[step.cell].push_back(seed);
  }
  std::vector<SeededPoint> chosen;
  for (const auto& [cell, seeds] : added) chosen.push_back({cells.points[cell], seeds});
  return chosen;
}

struct BootstrapInterval {
  double low = 0, high = 0;
};
std::optional<BootstrapInterval> IntervalOfDraws(const ecm::GroupFit& group, const SuggestTarget& target) {
  std::vector<double> sample;
  for (const auto& draw : group.draws) {
    sample.push_back(ecm::Predict(group.best, draw, static_cast<double>(target.heads),
                                  static_cast<double>(target.width), static_cast<double>(target.seq_len)));
  }
  if (sample.empty()) return std::nullopt;
  return BootstrapInterval{ecm::Quantile(sample, 0.025), ecm::Quantile(sample, 0.975)};
}

// `by`: the form or baseline that predicts.
std::string PlanText(const ecm::SuggestPlan& plan, const Cells& cells, const ecm::GroupFit& group,
                     const std::string& by, const SuggestTarget& target) {
  std::string text = StrCat("To predict ", target.words, " (now ", FormatNumber(plan.predicted, 5), " items by `", by,
                            "`), train in this order:\n");
  TextTable table({"", "heads", "width", "seq_len", "repeat", "seconds", "in all", "95 % interval, items", "note"});
  table.Add({"now", "", "", "", "", "", "", FormatNumber(plan.interval_before, 4), ""});
  double spent = 0;
  bool kink = plan.target_near_kink;
  for (size_t i = 0; i < plan.order.size(); ++i) {
    const ecm::Suggestion& step = plan.order[i];
    const PointSpec& point = cells.points[step.cell];
    spent += step.seconds;
    kink = kink || step.near_kink;
    table.Add({StrCat(i + 1), StrCat(point.heads), StrCat(point.width), StrCat(point.seq_len), StrCat(step.repeat),
               FormatNumber(step.seconds, 3), FormatNumber(spent, 4), FormatNumber(step.interval, 4),
               step.near_kink ? "at the bend" : ""});
  }
  StrAppend(&text, table.ToString(2));
  text +=
      "Seconds are estimates for one CPU core; intervals are expected ones, from the fit as it is linearised here.\n";
  if (const auto draws = IntervalOfDraws(group, target); draws.has_value() && by == group.best) {
    StrAppend(&text, "By the bootstrap the prediction lies between ", FormatNumber(draws->low, 5), " and ",
              FormatNumber(draws->high, 5), " now.\n");
  }
  if (plan.rank_lacking) {
    text +=
        "The measured cells do not identify all parameters: a weak prior stands in, and the first intervals show it.\n";
  }
  if (kink) {
    text +=
        "Where the form bends (the branches differ by less than 15 %) the linearisation is invalid; the mean of both "
        "branches was used.\n";
  }
  if (plan.order.empty()) text += "No cell fits the limits or helps this prediction.\n";
  return text;
}

std::string PlanJson(const ecm::SuggestPlan& plan, const Cells& cells, const ecm::GroupFit& group,
                     const std::string& by, const SuggestTarget& target) {
  nlohmann::ordered_json order = nlohmann::ordered_json::array();
  for (const ecm::Suggestion& step : plan.order) {
    const PointSpec& point = cells.points[step.cell];
    order.push_back({{"heads", point.heads},
                     {"width", point.width},
                     {"seq_len", point.seq_len},
                     {"dataset_size", point.dataset_size},
                     {"steps", point.steps > 0 ? nlohmann::ordered_json(point.steps) : nullptr},
                     {"epochs", point.epochs > 0 ? nlohmann::ordered_json(point.epochs) : nullptr},
                     {"repeat", step.repeat},
                     {"seconds", step.seconds},
                     {"interval", step.interval},
                     {"near_kink", step.near_kink}});
  }
  const auto draws = by == group.best ? IntervalOfDraws(group, target) : std::nullopt;
  const nlohmann::ordered_json out = {
      {"target", {{"heads", target.heads}, {"width", target.width}, {"seq_len", target.seq_len}}},
      {"form", by},
      {"predicted", plan.predicted},
      {"interval_before", plan.interval_before},
      {"bootstrap_interval", draws ? nlohmann::ordered_json{draws->low, draws->high} : nlohmann::ordered_json(nullptr)},
      {"rank_lacking", plan.rank_lacking},
      {"target_near_kink", plan.target_near_kink},
      {"order", order}};
  return out.dump(2) + "\n";
}

absl::Status WriteSweep(const SuggestArguments& options, const ecm::SuggestPlan& plan, const Cells& cells,
                        const Recipe& recipe, const SuggestTarget& target, Console& console) {
  const std::vector<SeededPoint> points = ChosenPoints(plan, cells);
  if (points.empty()) {
    console.err << "nothing was suggested, so " << options.out << " was not written" << std::endl;
    return absl::OkStatus();
  }
  const std::string comment = StrCat("# Made by `capsweep suggest ", options.choice.sweep, " --target ", options.target,
                                     "`: cells for the prediction of ", target.words, ".\n");
  ASSIGN_OR_RETURN(const std::string text, SweepFileText(options.choice.sweep, comment, recipe.split_heads(), points));
  RETURN_IF_ERROR(WriteFileAtomic(options.out, text));
  console.err << options.out << " written; train it with `capsweep extend " << options.choice.sweep << " "
              << options.out << "` or `capsweep run " << options.out << " --db FILE`" << std::endl;
  return absl::OkStatus();
}

absl::StatusOr<int> RunSuggest(const SuggestArguments& options, Console& console) {
  ASSIGN_OR_RETURN(SuggestTarget target, ParseSuggestTarget(options.target));
  ASSIGN_OR_RETURN(const ecm::FitReport report, LoadFit(options.choice, console));
  ASSIGN_OR_RETURN(const ecm::GroupFit* group, ChooseGroup(report, options.choice.group));
  RETURN_IF_ERROR(ResolveSuggestTarget(*group, target));
  ASSIGN_OR_RETURN(const Recipe recipe, Recipe::FromFit(*group));
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.choice.source));
  ASSIGN_OR_RETURN(auto seeds, MeasuredSeeds(*source, options.choice.sweep, *group));
  const Cells cells = ListCells(options, *group, recipe, target, std::move(seeds));
  if (cells.cells.empty()) {
    return absl::InvalidArgumentError("none of the cells can be trained; give other --heads, --width or --seq-len");
  }
  std::vector<ecm::Row> rows;
  for (const ecm::PredictedRow& point : group->points) {
    if (point.used) rows.push_back(point.row);
  }
  ecm::SuggestRequest request{.heads = static_cast<double>(target.heads),
                              .width = static_cast<double>(target.width),
                              .seq_len = static_cast<double>(target.seq_len)};
  request.points = options.points;
  if (options.seconds > 0) request.seconds = options.seconds;
  if (options.by != "form") request.form = options.by;
  const std::string by = request.form.empty() ? group->best : request.form;
  ASSIGN_OR_RETURN(const ecm::SuggestPlan plan, ecm::Suggest(*group, rows, cells.cells, request));
  console.out << (options.format == "json" ? PlanJson(plan, cells, *group, by, target)
                                           : PlanText(plan, cells, *group, by, target));
  return options.out.empty() ? absl::StatusOr<int>(kExitOk) : [&]() -> absl::StatusOr<int> {
    RETURN_IF_ERROR(WriteSweep(options, plan, cells, recipe, target, console));
    return kExitOk;
  }();
}

}  // namespace

void AddSuggestVerb(Verbs& verbs) {
  auto options = std::make_shared<SuggestArguments>();
  FitChoice& choice = options->choice;
  CLI::App* verb =
      verbs.Add("suggest", "Which cells to train next for one prediction, per second of training",
                "capsweep suggest quickstart --target capacity:heads=4,width=64,seq_len=8 --out next.yaml");
  verb->add_option("sweep", choice.sweep, "The sweep whose fit predicts")->required()->type_name("SWEEP");
  verb->add_option("--target", options->target, "capacity:heads=5,width=64,seq_len=32 or design:items=1000,seq_len=16")
      ->required()
      ->type_name("TARGET");
  verb->add_option("--by", options->by, "What predicts and chooses: the fit's best form, or log_quadratic")
      ->check(CLI::IsMember({"form", "log_quadratic"}))
      ->capture_default_str()
      ->type_name("MODEL");
  verb->add_option("--points", options->points, "Most points to suggest")
      ->check(CLI::Range(1, 100))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--seconds", options->seconds, "Most seconds of one CPU core to spend (estimated)")
      ->check(CLI::PositiveNumber)
      ->type_name("S");
  verb->add_option("--heads", options->heads, "Heads to choose from (default: those measured)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->type_name("LIST");
  verb->add_option("--width", options->widths, "Widths to choose from (default: those measured)")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->type_name("LIST");
  verb->add_option("--seq-len", options->lengths, "Sequence lengths to choose from (default: those measured)")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->type_name("LIST");
  verb->add_option("--max-repeats", options->max_repeats, "Most repeats of a cell, those measured counted")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--group", choice.group, "Which group of the fit, as FIELD=VALUE; may be repeated")
      ->allow_extra_args(false)
      ->type_name("FIELD=VALUE");
  verb->add_option("--out", options->out, "Write the cells as a sweep file for `extend` or `run`")->type_name("FILE");
  AddFitOptions(*verb, choice.fit);
  AddFormatOption(*verb, options->format, {"table", "json"});
  AddSourceOptions(*verb, choice.source);
  verbs.SetAction(verb, [options](Console& console) { return RunSuggest(*options, console); });
}

}  // namespace capsweep::cli
