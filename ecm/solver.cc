#include "ecm/solver.h"

#include <ceres/ceres.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace capsweep::ecm {
namespace {

// All rows as one residual vector over one block that holds only the free parameters.
class FormCost final : public ceres::CostFunction {
 public:
  FormCost(const Variant& variant, const FitData& data, const Theta& base)
      : variant_(variant), data_(data), base_(base), predicted_(data.rows()) {
    for (int p = 0; p < variant.form->size(); ++p) {
      if (variant.free[p]) free_.push_back(p);
    }
    for (const double w : data.weight) root_weight_.push_back(std::sqrt(w));
    jacobian_.resize(static_cast<size_t>(data.rows()) * variant.form->size());
    set_num_residuals(data.rows());
    mutable_parameter_block_sizes()->push_back(static_cast<int>(free_.size()));
  }

  const std::vector<int>& free_parameters() const { return free_; }

  bool Evaluate(const double* const* parameters, double* residuals, double** jacobians) const override {
    Theta theta = base_;
    for (size_t j = 0; j < free_.size(); ++j) theta[free_[j]] = parameters[0][j];
    double* jacobian = jacobians != nullptr ? jacobians[0] : nullptr;
    if (!ecm::Evaluate(variant_, theta, data_, predicted_.data(), jacobian ? jacobian_.data() : nullptr)) return false;
    const int size = variant_.form->size(), columns = static_cast<int>(free_.size());
    for (int i = 0; i < data_.rows(); ++i) {
      residuals[i] = root_weight_[i] * (predicted_[i] - data_.capacity[i]);
      if (jacobian == nullptr) continue;
      for (int j = 0; j < columns; ++j) {
        jacobian[i * columns + j] = root_weight_[i] * jacobian_[static_cast<size_t>(i) * size + free_[j]];
      }
    }
    return true;
  }

 private:
  const Variant& variant_;
  const FitData& data_;
  const Theta base_;
  std::vector<int> free_;
  std::vector<double> root_weight_;
  // Scratch; a problem is solved by one thread.
  mutable std::vector<double> predicted_;
  mutable std::vector<double> jacobian_;
};

ceres::Solver::Options SolverOptions(Effort effort) {
  ceres::Solver::Options options;
  options.linear_solver_type = ceres::DENSE_QR;
  options.logging_type = ceres::SILENT;
  options.num_threads = 1;
  const bool polish = effort == Effort::kPolish;
  options.max_num_iterations = polish ? 600 : 50;
  options.function_tolerance = polish ? 1e-15 : 1e-7;
  options.gradient_tolerance = polish ? 1e-20 : 1e-14;
  options.parameter_tolerance = polish ? 1e-15 : 1e-9;
  options.max_num_consecutive_invalid_steps = 10;
  return options;
}

}  // namespace

double WeightedRss(const Variant& variant, const FitData& data, const Theta& theta) {
  std::vector<double> predicted(data.rows());
  if (!Evaluate(variant, theta, data, predicted.data(), nullptr)) return std::numeric_limits<double>::infinity();
  double rss = 0;
  for (int i = 0; i < data.rows(); ++i) {
    const double residual = data.capacity[i] - predicted[i];
    rss += data.weight[i] * residual * residual;
  }
  return rss;
}

Solution SolveFrom(const Variant& variant, const FitData& data, const Bounds& bounds, const Theta& start,
                   Effort effort) {
  Theta clamped{};
  for (int p = 0; p < variant.form->size(); ++p) {
    if (variant.free[p]) clamped[p] = std::clamp(start[p], bounds.low[p], bounds.high[p]);
  }
  const double start_rss = WeightedRss(variant, data, clamped);
  if (!std::isfinite(start_rss)) return {clamped, std::numeric_limits<double>::infinity()};

  auto* cost = new FormCost(variant, data, clamped);  // owned by the problem
  const std::vector<int> free = cost->free_parameters();
  std::vector<double> values;
  for (const int p : free) values.push_back(clamped[p]);
  ceres::Problem problem;
  problem.AddResidualBlock(cost, nullptr, values.data());
  for (size_t j = 0; j < free.size(); ++j) {
    problem.SetParameterLowerBound(values.data(), static_cast<int>(j), bounds.low[free[j]]);
    problem.SetParameterUpperBound(values.data(), static_cast<int>(j), bounds.high[free[j]]);
  }
  ceres::Solver::Summary summary;
  ceres::Solve(SolverOptions(effort), &problem, &summary);

  Solution solution{clamped, start_rss};
  Theta moved = clamped;
  for (size_t j = 0; j < free.size(); ++j) moved[free[j]] = values[j];
  const double rss = WeightedRss(variant, data, moved);
  if (rss <= start_rss) solution = {moved, rss};
  return solution;
}

}  // namespace capsweep::ecm
