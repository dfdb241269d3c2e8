#include "ecm/suggest.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ecm/baselines.h"
#include "ecm/fit_data.h"
#include "ecm/forms.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr double kKink = 0.15;         // branches closer than this count as a bend
constexpr double kPriorSizes = 10;     // a parameter is known beforehand to this many times its size
constexpr double kModelError = 0.05;   // of a capacity, as in the weights of a fit
constexpr double kLackingRank = 1e12;  // condition of the scaled information matrix
constexpr int kFewestDegrees = 3;
constexpr char kBaseline[] = "log_quadratic";

struct Gradient {
  Eigen::VectorXd by;  // of the free parameters
  double value = 0;
  bool near_kink = false;
};

// A fitted model as a linear one around its optimum.
class Linear {
 public:
  virtual ~Linear() = default;
  virtual int parameters() const = 0;
  virtual Gradient At(double heads, double width, double seq_len) const = 0;
  // Size of each parameter: its value, or what its unit suggests where that is smaller.
  virtual Eigen::VectorXd Sizes() const = 0;
};

// ln C is linear in the terms, which are of order 1.
class LinearBaseline : public Linear {
 public:
  LinearBaseline(std::string name, const FormFit& fit) : name_(std::move(name)), fit_(fit) {
    terms_ = BaselineGradient(name_, fit_.parameters, {.heads = 1, .width = 1, .seq_len = 1}).terms;
  }
  int parameters() const override { return static_cast<int>(terms_.size()); }
  Gradient At(double heads, double width, double seq_len) const override {
    const BaselinePoint point =
        BaselineGradient(name_, fit_.parameters, {.heads = heads, .width = width, .seq_len = seq_len});
    Gradient out{.by = Eigen::VectorXd(parameters()), .value = point.value};
    for (int j = 0; j < parameters(); ++j) out.by(j) = point.by[j];
    return out;
  }
  Eigen::VectorXd Sizes() const override {
    Eigen::VectorXd sizes(parameters());
    for (int j = 0; j < parameters(); ++j) sizes(j) = std::max(1.0, std::abs(fit_.parameters.at(terms_[j])));
    return sizes;
  }

 private:
  const std::string name_;
  const FormFit& fit_;
  std::vector<std::string> terms_;
};

class LinearForm : public Linear {
 public:
  LinearForm(const GroupFit& fit, const std::vector<Row>& rows) : form_(*FindForm(fit.best)) {
    const FormFit& best = fit.forms.at(fit.best);
    const FitData data = MakeFitData(rows, "weighted");
    for (const VariantChoice& choice : ListVariants(form_, data)) {
      if (choice.variant.name == best.variant) variant_ = choice.variant;
    }
    for (int p = 0; p < form_.size(); ++p) {
      const auto it = best.parameters.find(form_.parameters[p]);
      theta_[p] = it == best.parameters.end() || std::isnan(it->second) ? 0 : it->second;
      if (variant_.free[p]) free_.push_back(p);
    }
    typical_ = data.scale;
    typical_slope_ = data.max_per_width * data.scale;
  }

  bool known() const { return variant_.form != nullptr; }
  int parameters() const override { return static_cast<int>(free_.size()); }

  Gradient At(double heads, double width, double seq_len) const override {
    Gradient out = BranchAt(variant_, heads, width, seq_len);
    if (!variant_.linear || !variant_.saturated || form_.combine == Combine::kSoftmin) return out;
    Variant rising = variant_, flat = variant_;
    rising.saturated = false;
    flat.linear = false;
    const Gradient x = BranchAt(rising, heads, width, seq_len), y = BranchAt(flat, heads, width, seq_len);
    out.near_kink = std::abs(x.value - y.value) < kKink * std::abs(std::min(x.value, y.value));
    if (out.near_kink) out.by = 0.5 * (x.by + y.by);
    return out;
  }

  Eigen::VectorXd Sizes() const override {
    Eigen::VectorXd sizes(parameters());
    for (int j = 0; j < parameters(); ++j) {
      const int p = free_[j];
      double floor = 1;
      if (p >= form_.alpha()) floor = typical_;
      if (form_.slope == SlopeKind::kEcm && p == kE) floor = typical_slope_;
      if (p == 0) floor = typical_slope_;
      sizes(j) = std::max(std::abs(theta_[p]), floor);
    }
    return sizes;
  }

 private:
  Gradient BranchAt(const Variant& variant, double heads, double width, double seq_len) const {
    Row row{.heads = heads, .width = width, .seq_len = seq_len};
    const FitData one = MakeFitData({row}, "plain");  // a capacity of 0: nothing is scaled
    std::vector<double> jacobian(form_.size());
    Gradient out;
    if (!Evaluate(variant, theta_, one, &out.value, jacobian.data())) out.value = kNaN;
    out.by.resize(parameters());
    for (int j = 0; j < parameters(); ++j) out.by(j) = jacobian[free_[j]];
    return out;
  }

  const Form& form_;
  Variant variant_;
  Theta theta_{};
  std::vector<int> free_;
  double typical_ = 1, typical_slope_ = 1;
};

using CellKey = std::tuple<double, double, double>;

class Planner {
 public:
  Planner(const Linear& linear, const std::vector<Row>& rows) : linear_(linear), spread_(PooledSpread(rows)) {
    const Eigen::VectorXd sizes = linear.Sizes();
    information_ = (kPriorSizes * sizes).cwiseAbs2().cwiseInverse().asDiagonal();
    Eigen::MatrixXd scaled = Eigen::MatrixXd::Zero(linear.parameters(), linear.parameters());
    std::vector<double> capacities;
    for (const Row& row : rows) capacities.push_back(row.capacity);
    const double median = Quantile(capacities, 0.5);
    double squares = 0;
    for (const Row& row : rows) {
      const Gradient g = linear.At(row.heads, row.width, row.seq_len);
      const double weight = RowWeight(row, "weighted", median);
      information_ += weight * g.by * g.by.transpose();
      const Eigen::VectorXd unit = g.by.cwiseProduct(sizes);
      scaled += weight * unit * unit.transpose();
      squares += weight * (row.capacity - g.value) * (row.capacity - g.value);
      repeats_[{row.heads, row.width, row.seq_len}] += row.repeats;
    }
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(scaled);
    const auto& values = eigen.eigenvalues();
    rank_lacking_ = values(0) <= 0 || values(values.size() - 1) / values(0) > kLackingRank;
    const int degrees = static_cast<int>(repeats_.size()) - linear.parameters();
    variance_scale_ = degrees >= kFewestDegrees ? squares / degrees : 1;
    covariance_ = information_.ldlt().solve(Eigen::MatrixXd::Identity(linear.parameters(), linear.parameters()));
  }

  bool rank_lacking() const { return rank_lacking_; }
  double Variance(const Gradient& target) const { return target.by.dot(covariance_ * target.by); }
  double Interval(const Gradient& target) const {
    const int degrees = std::max<int>(1, static_cast<int>(repeats_.size()) - linear_.parameters());
    return 2 * StudentT975(degrees) * std::sqrt(variance_scale_ * Variance(target));
  }
  int Repeats(const CellKey& key) const {
    const auto it = repeats_.find(key);
    return it == repeats_.end() ? 0 : it->second;
  }

  // Variance of the target once the cell has one more repeat.
  double VarianceWith(const Gradient& cell, const CellKey& key, const Gradient& target) const {
    const double weight = AddedWeight(cell.value, Repeats(key));
    const double shared = target.by.dot(covariance_ * cell.by);
    return Variance(target) - weight * shared * shared / (1 + weight * cell.by.dot(covariance_ * cell.by));
  }

  void Add(const Gradient& cell, const CellKey& key) {
    const double weight = AddedWeight(cell.value, Repeats(key));
    const Eigen::VectorXd direction = covariance_ * cell.by;
    covariance_ -= weight / (1 + weight * cell.by.dot(direction)) * direction * direction.transpose();
    ++repeats_[key];
  }

 private:
  double AddedWeight(double capacity, int repeats) const {
    const double c = std::max(capacity, 1.0), model = kModelError * kModelError * c * c;
    const double after = 1 / (spread_ * c / (repeats + 1) + model);
    return repeats == 0 ? after : after - 1 / (spread_ * c / repeats + model);
  }

  const Linear& linear_;
  const double spread_;
  Eigen::MatrixXd information_, covariance_;
  std::map<CellKey, int> repeats_;
  double variance_scale_ = 1;
  bool rank_lacking_ = false;
};

absl::Status Check(const GroupFit& fit, const std::vector<SuggestCell>& candidates, const SuggestRequest& request) {
  if (request.form == kBaseline) {
    const auto found = fit.baselines.find(kBaseline);
    if (found == fit.baselines.end() || !found->second.skipped.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("no suggestion without a fit of ", kBaseline, ": ",
                       found == fit.baselines.end() ? "there is none" : found->second.skipped));
    }
  } else if (!request.form.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no suggestions by '", request.form, "'; use ", kBaseline));
  } else if (!fit.error.empty() || fit.forms.find(fit.best) == fit.forms.end() || FindForm(fit.best) == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("no suggestion without a fit: ", fit.error.empty() ? "it names no best form" : fit.error));
  }
  if (!(request.heads >= 1) || !(request.width >= 1) || !(request.seq_len >= 1)) {
    return absl::InvalidArgumentError("the target needs heads, width and seq_len of at least 1");
  }
  if (candidates.empty()) return absl::InvalidArgumentError("there are no cells to choose from");
  for (const SuggestCell& cell : candidates) {
    if (!(cell.heads >= 1) || !(cell.width >= 1) || !(cell.seq_len >= 1) || !(cell.seconds > 0)) {
      return absl::InvalidArgumentError("a cell to choose from has heads, width, seq_len or seconds out of range");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SuggestPlan> Suggest(const GroupFit& fit, const std::vector<Row>& rows,
                                    const std::vector<SuggestCell>& candidates, const SuggestRequest& request) {
  if (const absl::Status status = Check(fit, candidates, request); !status.ok()) return status;
  std::unique_ptr<Linear> owned;
  if (request.form == kBaseline) {
    owned = std::make_unique<LinearBaseline>(kBaseline, fit.baselines.at(kBaseline));
  } else {
    auto form = std::make_unique<LinearForm>(fit, rows);
    if (!form->known()) {
      return absl::FailedPreconditionError(absl::StrCat("the fit's variant '", fit.forms.at(fit.best).variant,
                                                        "' does not fit its rows; fit the sweep again"));
    }
    owned = std::move(form);
  }
  const Linear& linear = *owned;
  Planner planner(linear, rows);
  const Gradient target = linear.At(request.heads, request.width, request.seq_len);
  std::vector<Gradient> gradients;
  for (const SuggestCell& cell : candidates) gradients.push_back(linear.At(cell.heads, cell.width, cell.seq_len));

  SuggestPlan plan{.predicted = target.value, .interval_before = planner.Interval(target)};
  plan.rank_lacking = planner.rank_lacking();
  plan.target_near_kink = target.near_kink;
  std::vector<int> added(candidates.size(), 0);
  double spent = 0;
  while (static_cast<int>(plan.order.size()) < request.points) {
    int best = -1;
    double best_score = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const SuggestCell& cell = candidates[i];
      if (added[i] >= cell.most_repeats || spent + cell.seconds > request.seconds) continue;
      if (!gradients[i].by.allFinite()) continue;
      const double after = planner.VarianceWith(gradients[i], {cell.heads, cell.width, cell.seq_len}, target);
      const double score = std::log(planner.Variance(target) / after) / cell.seconds;
      if (score > best_score) {
        best = static_cast<int>(i);
        best_score = score;
      }
    }
    if (best < 0) break;
    const SuggestCell& cell = candidates[best];
    const CellKey key{cell.heads, cell.width, cell.seq_len};
    planner.Add(gradients[best], key);
    ++added[best];
    spent += cell.seconds;
    plan.order.push_back({.cell = best,
                          .repeat = planner.Repeats(key),
                          .seconds = cell.seconds,
                          .interval = planner.Interval(target),
                          .near_kink = gradients[best].near_kink});
  }
  return plan;
}

}  // namespace capsweep::ecm
