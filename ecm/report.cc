#include "ecm/report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "ecm/baselines.h"
#include "ecm/bootstrap.h"
#include "ecm/budget_study.h"
#include "ecm/fit.h"
#include "ecm/saturation.h"
#include "ecm/statistics.h"
#include "ecm/validation.h"

namespace capsweep::ecm {
namespace {

constexpr int kFewestStarts = 64;
constexpr int kMostDraws = 200;  // kept in the report
constexpr int kFewRows = 12;
constexpr double kSameBudget = 1.15;  // budgets whose ratio is closer to 1 are taken for the same rule
constexpr double kAiccTie = 1e-3;     // two forms closer than this fit the same: the earlier one is named

// "" if the row belongs into the fit.
std::string WhyNotUsed(const Row& row, double smallest_budget) {
  if (row.budget > smallest_budget * (1 + 1e-9)) {
    return absl::StrFormat("%.3g times the smallest budget of this cell: kept for the saturation check",
                           row.budget / smallest_budget);
  }
  if (!std::isfinite(row.capacity) || row.capacity <= 0) return "no capacity above 0";
  if (row.at_chance) return "at chance: within 3 SD of what guessing gets";
  if (row.censored) return "censored: at least 95 % of the library was memorized, so capacity is a lower bound";
  return "";
}

using CellId = std::tuple<double, double, double>;

// Cells that were measured with a larger budget only, in a group where others have both: their smallest budget is that
// of a repeat, and a fit that took it for the base would mix budgets. Told by the base budgets of the three cells
// nearest in size, where these differ from it by a factor that the group holds repeats of (within 15 %). The value is
// the factor.
std::map<CellId, double> FindRepeatsWithoutBase(const std::vector<Row>& rows,
                                                const std::map<CellId, double>& smallest) {
  std::set<double> factors;
  std::map<CellId, double> size;
  for (const Row& row : rows) {
    const CellId cell{row.heads, row.width, row.seq_len};
    const double base = smallest.at(cell);
    if (base > 0 && row.budget > base * (1 + 1e-9)) factors.insert(row.budget / base);
    if (row.params_train > 0) size[cell] = std::log(row.params_train);
  }
  std::map<CellId, double> found;
  for (const auto& [cell, own_size] : size) {
    std::vector<std::pair<double, double>> near;  // distance in size, base budget
    for (const auto& [other, other_size] : size) {
      if (other != cell) near.emplace_back(std::abs(other_size - own_size), smallest.at(other));
    }
    std::sort(near.begin(), near.end());
    if (near.size() < 3) continue;
    std::vector<double> budgets = {near[0].second, near[1].second, near[2].second};
    const double expected = Quantile(budgets, 0.5);
    for (const double factor : factors) {
      const double ratio = expected > 0 ? smallest.at(cell) / expected / factor : 0;
      if (factor > kSameBudget && ratio > 1 / kSameBudget && ratio < kSameBudget) found[cell] = factor;
    }
  }
  return found;
}

std::vector<PredictedRow> SelectRows(const std::vector<Row>& rows) {
  std::map<CellId, double> smallest;
  for (const Row& row : rows) {
    const auto [it, is_new] = smallest.emplace(CellId(row.heads, row.width, row.seq_len), row.budget);
    it->second = std::min(it->second, row.budget);
  }
  const std::map<CellId, double> repeats = FindRepeatsWithoutBase(rows, smallest);
  std::vector<PredictedRow> points;
  for (const Row& row : rows) {
    PredictedRow point{.row = row, .predicted = kNaN, .lower = kNaN, .upper = kNaN};
    const CellId cell(row.heads, row.width, row.seq_len);
    point.why_not_used = WhyNotUsed(row, smallest[cell]);
    if (const auto it = repeats.find(cell); it != repeats.end() && point.why_not_used.empty()) {
      point.why_not_used = absl::StrFormat(
          "%.3g times the base budget of cells of its size, and not measured with that: one fit holds one budget",
          it->second);
    }
    point.used = point.why_not_used.empty();
    points.push_back(point);
  }
  return points;
}

// What became of the rows that cannot be used, and what to do about the most frequent reason; "" if all can.
std::string WhyLeftOut(const std::vector<PredictedRow>& points) {
  const std::map<std::string, int> reasons = ReasonsLeftOut(points);
  if (reasons.empty()) return "; measure more widths, heads or sequence lengths";
  std::vector<std::string> parts;
  std::string most;
  for (const auto& [reason, count] : reasons) {
    parts.push_back(absl::StrCat(count, " ", reason));
    if (most.empty() || count > reasons.at(most)) most = reason;
  }
  const std::string fix = most == "censored"    ? "; give those cells a larger dataset_size"
                          : most == "at chance" ? "; train those cells longer, or on smaller libraries"
                                                : "; measure more cells";
  return absl::StrCat(" (left out: ", absl::StrJoin(parts, ", "), ")", fix);
}

// The public parameters: items, and NaN for a branch that the variant lacks.
std::map<std::string, double> NamedParameters(const Variant& variant, const Theta& theta) {
  const Form& form = *variant.form;
  std::map<std::string, double> named;
  for (int p = 0; p < form.size(); ++p) {
    const bool has_branch = p < form.alpha() ? variant.linear : variant.saturated;
    named[form.parameters[p]] = has_branch ? theta[p] : kNaN;
  }
  return named;
}

// Which parameters the rows cannot tell, each with a note.
void MarkNotIdentified(const FormSearch& search, const FitData& data, FormFit& fit) {
  const Variant& variant = search.variant;
  const Form& form = *variant.form;
  auto mark = [&](int p) {
    const std::string& name = form.parameters[p];
    if (std::find(fit.not_identified.begin(), fit.not_identified.end(), name) == fit.not_identified.end()) {
      fit.not_identified.push_back(name);
    }
  };
  if (!variant.saturated || fit.rows_saturated < kFewestSaturatedRows) {
    mark(form.alpha());
    mark(form.beta());
    fit.notes.push_back(absl::StrCat("alpha and beta are not identified: ", fit.rows_saturated,
                                     fit.rows_saturated == 1 ? " row lies" : " rows lie",
                                     " on the branch alpha*H + beta, at least 3 are needed"));
  }
  if (!variant.linear) {
    for (int p = 0; p < form.alpha(); ++p) mark(p);
    fit.notes.push_back("the branch that grows with width is not identified: no row lies on it");
    return;
  }
  if (data.heads_levels < 2) {
    mark(form.slope == SlopeKind::kEcm ? int{kB} : int{kH});
    mark(form.alpha());
    fit.notes.push_back("one number of heads: the parameters that tell heads apart are held at 0");
  }
  if (data.seq_len_levels < 2) {
    mark(form.slope == SlopeKind::kEcm ? int{kC} : int{kZ});
    fit.notes.push_back("one sequence length: its exponent is held at 0");
  }
  if (form.slope == SlopeKind::kEcm && data.seq_len_levels < 4) {
    if (search.needs_more_levels) {
      for (const int p : {int{kA}, int{kD}, int{kE}}) mark(p);
    } else {
      if (!variant.free[kD]) mark(kD);
      if (!variant.free[kE]) mark(kE);
    }
    fit.notes.push_back(absl::StrCat(data.seq_len_levels, " sequence length", data.seq_len_levels == 1 ? "" : "s",
                                     ": a, d and e cannot all be identified (4 are needed); variant ", variant.name));
  }
}

struct FittedForm {
  const Form* form = nullptr;
  FormSearch search;
  std::vector<bool> on_bound;
  std::vector<Theta> draws;
};

FormFit DescribeForm(const FittedForm& fitted, const FitData& data, const std::vector<Row>& rows) {
  FormFit fit;
  const FormSearch& search = fitted.search;
  const Theta theta = Unscale(*fitted.form, search.best.theta, data.scale);
  fit.variant = search.variant.name;
  fit.parameters = NamedParameters(search.variant, theta);
  fit.starts = search.starts;
  fit.starts_agreeing = search.starts_agreeing;
  fit.rows_saturated = static_cast<int>(std::count(fitted.on_bound.begin(), fitted.on_bound.end(), true));
  fit.rows_linear = data.rows() - fit.rows_saturated;
  std::vector<double> predicted(data.rows()), capacity;
  Evaluate(search.variant, search.best.theta, data, predicted.data(), nullptr);
  for (double& value : predicted) value *= data.scale;
  for (const Row& row : rows) capacity.push_back(row.capacity);
  std::vector<double> weight = data.weight;  // in scaled units, like every other fit of these rows
  for (double& w : weight) w /= data.scale * data.scale;
  FillErrors(capacity, predicted, weight, search.variant.free_count(), fit);
  MarkNotIdentified(search, data, fit);
  return fit;
}

FormFit Skipped(const std::string& why) {
  FormFit fit;
  fit.skipped = why;
  return fit;
}

class GroupFitter {
 public:
  GroupFitter(const Group& group, const FitSettings& settings) : group_(group), settings_(settings) {
    settings_.starts = std::max(settings_.starts, kFewestStarts);
  }

  GroupFit Run() {
    fit_.group = group_.key;
    fit_.weighting = settings_.weighting;
    fit_.saturation = "not observed";
    fit_.points = SelectRows(group_.rows);
    for (const PredictedRow& point : fit_.points) {
      if (point.used) rows_.push_back(point.row);
    }
    fit_.rows = static_cast<int>(fit_.points.size());
    fit_.rows_used = static_cast<int>(rows_.size());
    data_ = MakeFitData(rows_, settings_.weighting);
    FitForms();
    FitBaselines();
    if (fitted_.empty()) {
      fit_.error =
          absl::StrCat("nothing could be fitted: the smallest form needs ", data_.heads_levels == 1 ? 4 : 5,
                       " rows, and ", rows_.size(), " of ", fit_.rows, " can be used", WhyLeftOut(fit_.points));
      fit_.saturation_reason = "no form could be fitted";
      return std::move(fit_);
    }
    HoldOut();
    ChooseBest();
    Intervals();
    const FittedForm& best = fitted_.at(fit_.best);
    fit_.budget_study = StudyBudgets(rows_, best.on_bound, group_.rows);
    const Saturation saturation = JudgeSaturation(best.search, rows_, best.on_bound, fit_.budget_study);
    fit_.saturation = saturation.word;
    fit_.saturation_reason = saturation.reason;
    if (saturation.word == "budget-limited") fit_.warnings.push_back("Saturation: " + saturation.reason + ".");
    PredictPoints();
    Warn();
    if (settings_.validate) fit_.validation = Validate(rows_, settings_);
    return std::move(fit_);
  }

 private:
  void FitForms() {
    for (const std::string& name : settings_.forms) {
      const Form* form = FindForm(name);
      if (form == nullptr) {
        fit_.warnings.push_back(absl::StrCat("Unknown form '", name, "'; known are min, max, softmin, minlin."));
        continue;
      }
      FittedForm fitted{.form = form};
      SearchSettings search{.starts = settings_.starts, .seed = settings_.seed, .threads = settings_.threads};
      fitted.search = SearchForm(*form, data_, search);
      if (!fitted.search.found) {
        fit_.forms[name] = Skipped(absl::StrCat("too few rows: ", rows_.size()));
        continue;
      }
      std::vector<double> predicted(data_.rows());
      Evaluate(fitted.search.variant, fitted.search.best.theta, data_, predicted.data(), nullptr, &fitted.on_bound);
      if (!fitted.search.variant.linear) fitted.on_bound.assign(rows_.size(), true);
      fit_.forms[name] = DescribeForm(fitted, data_, rows_);
      fitted_[name] = std::move(fitted);
      order_.push_back(name);
    }
  }

  void FitBaselines() {
    const std::vector<double> weights = RowWeights(rows_, settings_.weighting);
    for (const std::string& name : BaselineNames()) {
      const BaselineFit baseline = FitBaseline(name, rows_, weights);
      FormFit& out = fit_.baselines[name];
      out.skipped = baseline.skipped;
      if (!out.skipped.empty()) continue;
      out.parameters = baseline.parameters;
      out.dropped_terms = baseline.dropped_terms;
      std::vector<double> capacity, predicted;
      for (const Row& row : rows_) {
        capacity.push_back(row.capacity);
        predicted.push_back(PredictBaseline(name, baseline.parameters, row));
      }
      FillErrors(capacity, predicted, weights, baseline.parameters_used, out);
    }
  }

  void HoldOut() {
    const Split split = SplitRows(rows_, settings_.holdout_field, settings_.holdout_value);
    if (!split.why_not.empty()) {
      if (!settings_.holdout_field.empty()) fit_.warnings.push_back("Nothing held out: " + split.why_not + ".");
      return;
    }
    fit_.holdout = split.name;
    fit_.rows_held_out = static_cast<int>(split.held_out.size());
    for (const std::string& name : order_) {
      ValidateForm(*fitted_[name].form, split, settings_,
                   Unscale(*fitted_[name].form, fitted_[name].search.best.theta, data_.scale), fit_.forms[name]);
    }
    for (auto& [name, baseline] : fit_.baselines) {
      if (baseline.skipped.empty()) ValidateBaseline(name, split, settings_.weighting, baseline);
    }
  }

  void ChooseBest() {
    double aicc = std::numeric_limits<double>::infinity();
    for (const std::string& name : order_) {
      if (fit_.best.empty() || fit_.forms[name].aicc < aicc - kAiccTie) {
        fit_.best = name;
        aicc = fit_.forms[name].aicc;
      }
    }
    double lowest = std::numeric_limits<double>::infinity();
    auto consider = [&](const std::string& name, const FormFit& candidate) {
      if (!candidate.skipped.empty()) return;
      const double score = fit_.holdout.empty()
                               ? candidate.aicc
                               : candidate.heldout_rmse.value_or(std::numeric_limits<double>::infinity());
      if (fit_.best_overall.empty() || score < lowest) {
        fit_.best_overall = name;
        lowest = score;
      }
    };
    consider(fit_.best, fit_.forms[fit_.best]);
    for (const std::string& name : order_) consider(name, fit_.forms[name]);
    for (const std::string& name : BaselineNames()) consider(name, fit_.baselines[name]);
  }

  void Intervals() {
    if (settings_.bootstrap <= 0) return;
    for (const std::string& name : order_) {
      FittedForm& fitted = fitted_[name];
      const BootstrapSettings bootstrap{.draws = settings_.bootstrap,
                                        .seed = settings_.seed,
                                        .threads = settings_.threads,
                                        .weighting = settings_.weighting,
                                        .restarts = name == fit_.best};
      fitted.draws = BootstrapDraws(fitted.search, rows_, bootstrap);
      FormFit& form = fit_.forms[name];
      const ParameterIntervals intervals = MakeIntervals(fitted.search, data_, fitted.draws);
      for (const auto& [parameter, interval] : intervals.intervals) {
        const auto& unknown = form.not_identified;
        if (std::find(unknown.begin(), unknown.end(), parameter) == unknown.end()) form.intervals[parameter] = interval;
      }
      if (!intervals.covariance_used) {
        form.notes.push_back("the covariance is ill-conditioned: intervals are bootstrap percentiles alone");
      }
    }
    const FittedForm& best = fitted_[fit_.best];
    for (const Theta& theta : best.draws) {
      if (fit_.draws.size() < kMostDraws) fit_.draws.push_back(NamedParameters(best.search.variant, theta));
    }
  }

  void PredictPoints() {
    const std::map<std::string, double>& parameters = fit_.forms[fit_.best].parameters;
    for (PredictedRow& point : fit_.points) {
      const Row& row = point.row;
      point.predicted = point.lower = point.upper = Predict(fit_.best, parameters, row.heads, row.width, row.seq_len);
      std::vector<double> sample;
      for (const auto& draw : fit_.draws) sample.push_back(Predict(fit_.best, draw, row.heads, row.width, row.seq_len));
      if (sample.empty()) continue;
      point.lower = std::min(point.predicted, Quantile(sample, 0.025));
      point.upper = std::max(point.predicted, Quantile(sample, 0.975));
    }
  }

  void Warn() {
    if (rows_.size() < kFewRows) {
      fit_.warnings.push_back(absl::StrCat("Only ", rows_.size(), " rows: the figures below say little."));
    }
    if (data_.heads_levels < 2) {
      fit_.warnings.push_back("One number of heads: how capacity depends on heads is not identified (b and alpha).");
    }
    if (data_.seq_len_levels < 4) {
      fit_.warnings.push_back(absl::StrCat(
          data_.seq_len_levels, data_.seq_len_levels == 1 ? " sequence length" : " sequence lengths",
          ": a, d and e of f cannot all be identified (4 are needed); a nested variant is used unless the rows reject "
          "it."));
    }
    if (data_.width_levels < 3) {
      fit_.warnings.push_back(absl::StrCat(data_.width_levels, data_.width_levels == 1 ? " width" : " widths",
                                           ": whether capacity bends with width cannot be told (3 are needed)."));
    }
  }

  const Group& group_;
  FitSettings settings_;
  GroupFit fit_;
  std::vector<Row> rows_;  // those used
  FitData data_;
  std::map<std::string, FittedForm> fitted_;
  std::vector<std::string> order_;  // of the forms that were fitted, as asked for
};

}  // namespace

std::map<std::string, int> ReasonsLeftOut(const std::vector<PredictedRow>& points) {
  std::map<std::string, int> reasons;
  for (const PredictedRow& point : points) {
    if (point.used) continue;
    const std::string& why = point.why_not_used;
    const auto says = [&why](const char* what) { return why.find(what) != std::string::npos; };
    const std::string reason = says("times the smallest budget") ? "repeated with a larger budget"
                               : says("times the base budget")   ? "measured with a larger budget only"
                                                                 : why.substr(0, why.find(':'));
    ++reasons[reason];
  }
  return reasons;
}

FitReport FitGroups(const std::vector<Group>& groups, const FitSettings& settings) {
  FitReport report;
  for (const Group& group : groups) report.groups.push_back(GroupFitter(group, settings).Run());
  return report;
}

double Predict(const std::string& form, const std::map<std::string, double>& parameters, double heads, double width,
               double seq_len) {
  if (const Form* known = FindForm(form)) {
    Theta theta{};
    for (int p = 0; p < known->size(); ++p) {
      const auto it = parameters.find(known->parameters[p]);
      theta[p] = it == parameters.end() ? kNaN : it->second;
    }
    return EvaluateAt(*known, theta, heads, width, seq_len);
  }
  Row row;
  row.heads = heads;
  row.width = width;
  row.seq_len = seq_len;
  return PredictBaseline(form, parameters, row);
}

}  // namespace capsweep::ecm
