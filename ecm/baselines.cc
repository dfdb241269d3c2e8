#include "ecm/baselines.h"

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

// A term whose part orthogonal to the earlier terms is smaller than this share of it cannot be identified.
constexpr double kRankTolerance = 1e-8;
constexpr int kRefinements = 30;

struct Term {
  std::string name;
  std::array<int, 3> power{};  // of the three inputs
};

// A baseline as a linear model of its terms, directly or in the logarithm.
struct Model {
  bool logarithmic = false;   // ln C = Σ
  bool standardized = false;  // inputs are shifted and scaled first; the figures go into the parameters
  std::array<std::string, 3> inputs;
  std::vector<Term> terms;
  enum class Needs { kNothing, kParams, kParts } needs = Needs::kNothing;
};

std::string TermName(const std::array<std::string, 3>& inputs, const std::array<int, 3>& power) {
  std::vector<std::string> factors;
  for (int j = 0; j < 3; ++j) {
    if (power[j] == 1) factors.push_back(inputs[j]);
    if (power[j] > 1) factors.push_back(absl::StrCat(inputs[j], "^", power[j]));
  }
  return factors.empty() ? "1" : absl::StrJoin(factors, "*");
}

// All terms up to total degree `degree`, lower degrees first, so that a dropped term is the higher one.
std::vector<Term> PolynomialTerms(const std::array<std::string, 3>& inputs, int degree) {
  std::vector<Term> terms;
  for (int total = 0; total <= degree; ++total) {
    for (int i = total; i >= 0; --i) {
      for (int j = total - i; j >= 0; --j) {
        const std::array<int, 3> power = {i, j, total - i - j};
        terms.push_back({TermName(inputs, power), power});
      }
    }
  }
  // Mixed terms before pure powers of one degree: with few levels of an input it is the pure power that is lost.
  std::stable_sort(terms.begin(), terms.end(), [](const Term& x, const Term& y) {
    auto rank = [](const Term& t) {
      const int total = t.power[0] + t.power[1] + t.power[2];
      const int largest = std::max({t.power[0], t.power[1], t.power[2]});
      return std::pair(total, total > 1 && largest == total);
    };
    return rank(x) < rank(y);
  });
  return terms;
}

std::optional<Model> FindModel(const std::string& name) {
  Model model;
  if (name == "constant") {
    model.terms = {{"1", {}}};
  } else if (name == "bits") {
    model.inputs = {"eta", "", ""};
    model.terms = {{"eta", {1, 0, 0}}};
    model.needs = Model::Needs::kParams;
  } else if (name == "bits_parts") {
    model.terms = {{"eta_embeddings", {}}, {"eta_attention", {}}, {"eta_mlp", {}}, {"eta_head", {}}};
    model.needs = Model::Needs::kParts;
  } else if (name == "power") {
    model.logarithmic = true;
    model.terms = {{"log_kappa", {}}, {"gamma", {1, 0, 0}}};
    model.needs = Model::Needs::kParams;
  } else if (name == "power_bhn") {
    model.logarithmic = true;
    model.terms = {{"log_kappa", {}}, {"x", {1, 0, 0}}, {"y", {0, 1, 0}}, {"z", {0, 0, 1}}};
  } else if (name == "log_quadratic") {
    model.logarithmic = true;
    model.standardized = true;
    model.inputs = {"lnB", "lnH", "lnN"};
    model.terms = PolynomialTerms(model.inputs, 2);
  } else if (absl::StartsWith(name, "poly") && name.size() >= 5 && name[4] >= '1' && name[4] <= '4') {
    model.standardized = true;
    model.inputs = {"B", "H", absl::EndsWith(name, "_n") ? "N" : "lnN"};
    model.terms = PolynomialTerms(model.inputs, name[4] - '0');
  } else {
    return std::nullopt;
  }
  return model;
}

std::array<double, 3> Inputs(const Model& model, const Row& row) {
  if (model.needs == Model::Needs::kParams) {
    if (row.params_train <= 0) return {kNaN, kNaN, kNaN};
    if (model.logarithmic) return {std::log(row.params_train), 0, 0};
    return {row.bits_per_item > 0 ? row.params_train / row.bits_per_item : kNaN, 0, 0};
  }
  if (model.logarithmic) return {std::log(row.width), std::log(row.heads), std::log(row.seq_len)};
  return {row.width, row.heads, model.inputs[2] == "N" ? row.seq_len : std::log(row.seq_len)};
}

double TermValue(const Model& model, size_t term, const Row& row, const std::array<double, 3>& inputs) {
  if (model.needs == Model::Needs::kParts) {
    return row.bits_per_item > 0 && row.params_train > 0 ? row.params_parts[term] / row.bits_per_item : kNaN;
  }
  double value = 1;
  for (int j = 0; j < 3; ++j) {
    for (int p = 0; p < model.terms[term].power[j]; ++p) value *= inputs[j];
  }
  return value;
}

struct Standard {
  std::array<double, 3> mean{0, 0, 0}, sd{1, 1, 1};

  std::array<double, 3> Apply(std::array<double, 3> x) const {
    for (int j = 0; j < 3; ++j) x[j] = (x[j] - mean[j]) / sd[j];
    return x;
  }
};

Standard Standardize(const Model& model, const std::vector<Row>& rows) {
  Standard standard;
  const double n = static_cast<double>(rows.size());
  for (int j = 0; j < 3 && model.standardized; ++j) {
    double mean = 0, squares = 0;
    for (const Row& row : rows) mean += Inputs(model, row)[j] / n;
    for (const Row& row : rows) squares += std::pow(Inputs(model, row)[j] - mean, 2) / n;
    standard.mean[j] = mean;
    // An input with one level is a constant: its terms become 0 and are dropped.
    standard.sd[j] = squares > 1e-24 * mean * mean + 1e-300 ? std::sqrt(squares) : 1;
  }
  return standard;
}

std::string WhyNot(const Model& model, const std::vector<Row>& rows) {
  if (rows.empty()) return "no rows";
  for (const Row& row : rows) {
    if (model.needs != Model::Needs::kNothing && row.params_train <= 0) {
      return "needs parameter counts, which the input does not hold";
    }
    const bool parts_known = row.params_parts[0] > 0;
    if (model.needs == Model::Needs::kParts && !parts_known) {
      return "needs parameter counts per part of the model, which the input does not hold";
    }
    if (model.needs != Model::Needs::kNothing && !model.logarithmic && row.bits_per_item <= 0) {
      return "needs the vocabulary, which the input does not hold";
    }
    if (model.logarithmic && row.capacity <= 0) return "needs capacities above 0";
  }
  return "";
}

// Columns of `design` that add to the span of the earlier ones (Gram–Schmidt, twice for accuracy).
std::vector<int> IndependentColumns(const Eigen::MatrixXd& design) {
  std::vector<int> kept;
  Eigen::MatrixXd basis(design.rows(), 0);
  for (int c = 0; c < design.cols(); ++c) {
    Eigen::VectorXd rest = design.col(c);
    const double norm = rest.norm();
    for (int pass = 0; pass < 2; ++pass) rest -= basis * (basis.transpose() * rest);
    if (!(rest.norm() > kRankTolerance * norm) || norm == 0) continue;
    basis.conservativeResize(Eigen::NoChange, basis.cols() + 1);
    basis.col(basis.cols() - 1) = rest.normalized();
    kept.push_back(c);
  }
  return kept;
}

// Weighted least squares of C ≈ exp(X β) from the log-linear solution: Gauss–Newton with step halving.
Eigen::VectorXd RefineExponential(const Eigen::MatrixXd& x, const Eigen::VectorXd& capacity,
                                  const Eigen::VectorXd& root_weight, Eigen::VectorXd beta) {
  auto rss = [&](const Eigen::VectorXd& b) {
    return ((capacity.array() - (x * b).array().exp()) * root_weight.array()).matrix().squaredNorm();
  };
  double best = rss(beta);
  for (int it = 0; it < kRefinements; ++it) {
    const Eigen::ArrayXd predicted = (x * beta).array().exp();
    const Eigen::MatrixXd jacobian = (predicted * root_weight.array()).matrix().asDiagonal() * x;
    const Eigen::VectorXd residual = ((capacity.array() - predicted) * root_weight.array()).matrix();
    const Eigen::VectorXd step = jacobian.colPivHouseholderQr().solve(residual);
    double length = 1, next = best;
    while (length > 1e-4 && !((next = rss(beta + length * step)) < best)) length /= 2;
    if (!(next < best)) break;
    beta += length * step;
    const bool settled = best - next < 1e-12 * best;
    best = next;
    if (settled) break;
  }
  return beta;
}

std::array<std::string, 3> StandardNames(const std::string& prefix, const Model& model) {
  return {prefix + model.inputs[0], prefix + model.inputs[1], prefix + model.inputs[2]};
}

}  // namespace

const std::vector<std::string>& BaselineNames() {
  static const auto& names = *new std::vector<std::string>{
      "constant", "bits",  "bits_parts", "power",   "power_bhn", "poly1",   "poly2",
      "poly3",    "poly4", "poly1_n",    "poly2_n", "poly3_n",   "poly4_n", "log_quadratic"};
  return names;
}

BaselineFit FitBaseline(const std::string& name, const std::vector<Row>& rows, const std::vector<double>& weights) {
  BaselineFit fit;
  const std::optional<Model> model = FindModel(name);
  if (!model) {
    fit.skipped = absl::StrCat("unknown baseline '", name, "'");
    return fit;
  }
  fit.skipped = WhyNot(*model, rows);
  if (!fit.skipped.empty()) return fit;

  const Standard standard = Standardize(*model, rows);
  const int n = static_cast<int>(rows.size()), m = static_cast<int>(model->terms.size());
  Eigen::MatrixXd design(n, m);
  Eigen::VectorXd capacity(n), root_weight(n);
  for (int i = 0; i < n; ++i) {
    const std::array<double, 3> inputs = standard.Apply(Inputs(*model, rows[i]));
    for (int t = 0; t < m; ++t) design(i, t) = TermValue(*model, t, rows[i], inputs);
    capacity(i) = rows[i].capacity;
    root_weight(i) = std::sqrt(weights[i]);
  }
  const std::vector<int> kept = IndependentColumns(design);
  if (n < static_cast<int>(kept.size()) + 2) {
    fit.skipped = absl::StrCat("needs at least ", kept.size() + 2, " rows to fit ", kept.size(), " terms; has ", n);
    return fit;
  }
  Eigen::MatrixXd x(n, kept.size());
  for (size_t j = 0; j < kept.size(); ++j) x.col(static_cast<int>(j)) = design.col(kept[j]);
  // In the logarithm a row's weight is that of its relative error.
  const Eigen::VectorXd scale =
      model->logarithmic ? Eigen::VectorXd(root_weight.array() * capacity.array()) : root_weight;
  const Eigen::VectorXd target = model->logarithmic ? Eigen::VectorXd(capacity.array().log()) : capacity;
  Eigen::VectorXd beta = (scale.asDiagonal() * x)
                             .bdcSvd(Eigen::ComputeThinU | Eigen::ComputeThinV)
                             .solve((scale.array() * target.array()).matrix());
  if (model->logarithmic) beta = RefineExponential(x, capacity, root_weight, beta);

  for (size_t j = 0; j < kept.size(); ++j) fit.parameters[model->terms[kept[j]].name] = beta(static_cast<int>(j));
  for (int t = 0; t < m; ++t) {
    if (std::find(kept.begin(), kept.end(), t) == kept.end()) fit.dropped_terms.push_back(model->terms[t].name);
  }
  fit.parameters_used = static_cast<int>(kept.size());
  if (model->standardized) {
    const auto means = StandardNames("mean_", *model), sds = StandardNames("sd_", *model);
    for (int j = 0; j < 3; ++j) {
      fit.parameters[means[j]] = standard.mean[j];
      fit.parameters[sds[j]] = standard.sd[j];
    }
  }
  return fit;
}

BaselinePoint BaselineGradient(const std::string& name, const std::map<std::string, double>& parameters,
                               const Row& row) {
  const std::optional<Model> model = FindModel(name);
  BaselinePoint out;
  if (!model) return out;
  out.value = PredictBaseline(name, parameters, row);
  Standard standard;
  if (model->standardized) {
    const auto means = StandardNames("mean_", *model), sds = StandardNames("sd_", *model);
    for (int j = 0; j < 3; ++j) {
      standard.mean[j] = parameters.at(means[j]);
      standard.sd[j] = parameters.at(sds[j]);
    }
  }
  const std::array<double, 3> inputs = standard.Apply(Inputs(*model, row));
  for (size_t t = 0; t < model->terms.size(); ++t) {
    if (!parameters.contains(model->terms[t].name)) continue;
    out.terms.push_back(model->terms[t].name);
    out.by.push_back(TermValue(*model, t, row, inputs) * (model->logarithmic ? out.value : 1));
  }
  return out;
}

double PredictBaseline(const std::string& name, const std::map<std::string, double>& parameters, const Row& row) {
  const std::optional<Model> model = FindModel(name);
  if (!model || parameters.empty()) return kNaN;
  Standard standard;
  if (model->standardized) {
    const auto means = StandardNames("mean_", *model), sds = StandardNames("sd_", *model);
    for (int j = 0; j < 3; ++j) {
      const auto mean = parameters.find(means[j]), sd = parameters.find(sds[j]);
      if (mean == parameters.end() || sd == parameters.end()) return kNaN;
      standard.mean[j] = mean->second;
      standard.sd[j] = sd->second;
    }
  }
  const std::array<double, 3> inputs = standard.Apply(Inputs(*model, row));
  double sum = 0;
  for (size_t t = 0; t < model->terms.size(); ++t) {
    const auto it = parameters.find(model->terms[t].name);
    if (it != parameters.end()) sum += it->second * TermValue(*model, t, row, inputs);
  }
  return model->logarithmic ? std::exp(sum) : sum;
}

}  // namespace capsweep::ecm
