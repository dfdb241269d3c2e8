#include "ecm/validation_table.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "ecm/baselines.h"
#include "ecm/forms.h"
#include "ecm/report.h"
#include "ecm/statistics.h"
#include "ecm/text_table.h"
#include "ecm/validation.h"

namespace capsweep::ecm {
namespace {

const char* const kWeightings[] = {"weighted", "plain"};

// What one model predicted for the rows of all parts of a split (one part, or five folds).
struct Predictions {
  std::vector<double> capacity, predicted;
  int inside = 0, judged = 0;  // by an interval
  ValidationErrors errors;

  void Add(const Split& part, const HeldOut& out) {
    if (!errors.skipped.empty()) return;
    errors.skipped = out.why_not;
    errors.parameters_used = std::max(errors.parameters_used, out.parameters_used);
    if (!out.why_not.empty()) return;
    for (const Row& row : part.held_out) capacity.push_back(row.capacity);
    predicted.insert(predicted.end(), out.predicted.begin(), out.predicted.end());
    inside += static_cast<int>(std::count(out.inside.begin(), out.inside.end(), true));
    judged += static_cast<int>(out.inside.size());
  }

  ValidationErrors Errors() {
    if (!errors.skipped.empty()) return errors;
    const PlainErrors plain = ComputeErrors(capacity, predicted);
    if (!std::isfinite(plain.rmse)) {
      errors.skipped = "a prediction is not finite";
      return errors;
    }
    errors.rmse = plain.rmse;
    errors.mape = plain.mape;
    errors.bias = plain.bias;
    if (judged > 0) errors.coverage = static_cast<double>(inside) / judged;
    return errors;
  }
};

struct Task {
  std::string name, why_not;
  std::vector<Split> parts;
};

std::vector<Task> ListSplits(const std::vector<Row>& rows, uint64_t seed) {
  std::vector<Task> tasks;
  tasks.push_back({kInSample, "", {Split{rows, rows, kInSample, ""}}});
  for (const char* field : {"heads", "width", "seq_len"}) {
    Split split = SplitRows(rows, field, 0);
    Task task{split.name, split.why_not, {}};
    if (task.why_not.empty()) task.parts.push_back(std::move(split));
    tasks.push_back(std::move(task));
  }
  Task folds{kFiveFold, "", MakeFolds(rows, seed)};
  if (folds.parts.empty()) folds.why_not = absl::StrCat("five folds need 10 rows; there are ", rows.size());
  tasks.push_back(std::move(folds));
  return tasks;
}

// The optimum of all rows per form, found once per loss; the starts of every held-out fit.
std::map<std::string, Theta> Optima(const std::vector<Row>& rows, const FitSettings& settings) {
  std::map<std::string, Theta> optima;
  const FitData data = MakeFitData(rows, settings.weighting);
  for (const std::string& name : settings.forms) {
    const Form* form = FindForm(name);
    if (form == nullptr) continue;
    SearchSettings search{.starts = settings.starts, .seed = settings.seed, .threads = settings.threads};
    const FormSearch found = SearchForm(*form, data, search);
    if (found.found) optima[name] = Unscale(*form, found.best.theta, data.scale);
  }
  return optima;
}

ValidationSplit RunSplit(const Task& task, const FitSettings& settings, const std::map<std::string, Theta>& optima) {
  ValidationSplit split{.name = task.name, .weighting = settings.weighting, .why_not = task.why_not};
  if (!task.why_not.empty()) return split;
  for (const Split& part : task.parts) split.rows += static_cast<int>(part.held_out.size());
  for (const std::string& name : settings.forms) {
    const Form* form = FindForm(name);
    if (form == nullptr) continue;
    const auto optimum = optima.find(name);
    Predictions predictions;
    if (optimum == optima.end()) predictions.errors.skipped = "too few rows";
    for (const Split& part : task.parts) {
      if (!predictions.errors.skipped.empty()) break;
      predictions.Add(part, HoldOutForm(*form, part, settings, optimum->second));
    }
    split.models[name] = predictions.Errors();
  }
  for (const std::string& name : BaselineNames()) {
    Predictions predictions;
    for (const Split& part : task.parts) predictions.Add(part, HoldOutBaseline(name, part, settings.weighting));
    split.models[name] = predictions.Errors();
  }
  return split;
}

// Which baselines that are at least as rich beat the ECM; it wins only if there are such and none does.
void Judge(const std::string& ecm, ValidationSplit& split) {
  const auto it = split.models.find(ecm);
  if (it == split.models.end() || !it->second.skipped.empty()) return;
  const ValidationErrors& own = it->second;
  std::vector<std::pair<double, std::string>> better;
  int rivals = 0;
  for (const std::string& name : BaselineNames()) {
    const ValidationErrors& errors = split.models.at(name);
    if (!errors.skipped.empty() || errors.parameters_used < own.parameters_used) continue;
    ++rivals;
    if (errors.rmse <= own.rmse) better.emplace_back(errors.rmse, name);
  }
  std::sort(better.begin(), better.end());
  for (const auto& [rmse, name] : better) split.beat_ecm.push_back(name);
  split.ecm_wins = split.name != kInSample && rivals > 0 && better.empty();
}

std::string Short(double value) {
  return absl::StrFormat(std::abs(value) >= 100 ? "%.0f" : "%.3g", value);
}

// "heads=5: log_quadratic (RMSE 40 against 130) and 3 more"
std::string SplitVerdict(const std::string& ecm, const ValidationSplit& split) {
  const auto own = split.models.find(ecm);
  if (!split.why_not.empty() || own == split.models.end() || !own->second.skipped.empty()) {
    return absl::StrCat(split.name, ": not tested");
  }
  if (split.beat_ecm.empty())
    return absl::StrCat(split.name, ": ", split.ecm_wins ? "none" : "there is no such baseline");
  const size_t more = split.beat_ecm.size() - 1;
  return absl::StrCat(split.name, ": ", split.beat_ecm[0], " (RMSE ", Short(split.models.at(split.beat_ecm[0]).rmse),
                      " against ", Short(own->second.rmse), ")", more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

std::string VerdictOf(const Validation& validation) {
  if (validation.ecm.empty()) return "The ECM was not among the fitted forms, so nothing is said of it";
  std::vector<std::string> parts;
  int held_out = 0, won = 0;
  for (const char* weighting : kWeightings) {
    std::vector<std::string> verdicts;
    for (const ValidationSplit& split : validation.splits) {
      if (split.weighting != weighting || split.name == kInSample) continue;
      verdicts.push_back(SplitVerdict(validation.ecm, split));
      held_out += split.models.empty() ? 0 : 1;
      won += split.ecm_wins ? 1 : 0;
    }
    parts.push_back(absl::StrCat("with the ", weighting, " loss ", absl::StrJoin(verdicts, ", ")));
  }
  return absl::StrCat("Held out, the ECM (`", validation.ecm,
                      "`) beats every baseline of at least as many parameters in ", won, " of ", held_out,
                      " tests; baselines that beat it: ", absl::StrJoin(parts, "; "));
}

std::vector<std::string> Cells(const ValidationSplit& split, const std::string& name) {
  const auto it = split.models.find(name);
  if (it == split.models.end() || !it->second.skipped.empty()) return {"-", "-", "-", "-", "-"};
  const ValidationErrors& errors = it->second;
  return {absl::StrCat(errors.parameters_used), Short(errors.rmse), absl::StrFormat("%.3g", errors.mape),
          Short(errors.bias), errors.coverage ? absl::StrFormat("%.0f", 100 * *errors.coverage) : "-"};
}

std::string Remark(const Validation& validation, const std::vector<const ValidationSplit*>& both,
                   const std::string& name) {
  if (name == validation.ecm) return "the ECM";
  std::vector<std::string> remarks;
  for (const ValidationSplit* split : both) {
    const auto it = split->models.find(name);
    if (it != split->models.end() && !it->second.skipped.empty()) return "not fitted: " + it->second.skipped;
    if (std::count(split->beat_ecm.begin(), split->beat_ecm.end(), name) > 0) remarks.push_back(split->weighting);
  }
  return remarks.empty() ? "" : absl::StrCat("beats the ECM (", absl::StrJoin(remarks, ", "), ")");
}

std::string SplitTable(const Validation& validation, const std::vector<const ValidationSplit*>& both) {
  const ValidationSplit& first = *both.front();
  if (!first.why_not.empty()) return absl::StrCat("Validation, ", first.name, ": not possible: ", first.why_not, ".\n");
  std::vector<std::vector<std::string>> table = {
      {"", "params", "RMSE", "MAPE %", "bias", "in 95 %", "| plain: params", "RMSE", "MAPE %", "bias", "in 95 %", ""}};
  std::vector<std::string> names;
  for (const char* form : {"min", "max", "softmin", "minlin"}) names.emplace_back(form);
  names.insert(names.end(), BaselineNames().begin(), BaselineNames().end());
  for (const std::string& name : names) {
    if (first.models.count(name) == 0) continue;
    std::vector<std::string> line = {name};
    for (const ValidationSplit* split : both) {
      for (const std::string& cell : Cells(*split, name)) line.push_back(cell);
    }
    line.push_back(Remark(validation, both, name));
    table.push_back(std::move(line));
  }
  const std::string title = first.name == kInSample ? "in-sample (the fitted rows)"
                            : first.name == kFiveFold
                                ? "five folds over the cells, each predicted by a fit to the others"
                                : first.name + " held out";
  return absl::StrCat("Validation, ", title, ", ", first.rows, " rows; weighted loss left, plain loss right\n",
                      AlignedTable(table));
}

}  // namespace

Validation Validate(const std::vector<Row>& rows, const FitSettings& settings) {
  Validation validation;
  for (const char* form : {"min", "softmin", "max"}) {
    const bool asked = std::count(settings.forms.begin(), settings.forms.end(), form) > 0;
    if (asked && validation.ecm.empty()) validation.ecm = form;
  }
  const std::vector<Task> tasks = ListSplits(rows, settings.seed);
  for (const char* weighting : kWeightings) {
    FitSettings with_loss = settings;
    with_loss.weighting = weighting;
    const std::map<std::string, Theta> optima = Optima(rows, with_loss);
    for (const Task& task : tasks) {
      validation.splits.push_back(RunSplit(task, with_loss, optima));
      Judge(validation.ecm, validation.splits.back());
    }
  }
  validation.verdict = VerdictOf(validation);
  return validation;
}

std::string ValidationText(const Validation& validation) {
  std::string out;
  std::set<std::string> shown;
  for (const ValidationSplit& split : validation.splits) {
    if (!shown.insert(split.name).second) continue;
    std::vector<const ValidationSplit*> both;
    for (const ValidationSplit& other : validation.splits) {
      if (other.name == split.name) both.push_back(&other);
    }
    absl::StrAppend(&out, SplitTable(validation, both), "\n");
  }
  return out + WrapText(validation.verdict + ".");
}

}  // namespace capsweep::ecm
