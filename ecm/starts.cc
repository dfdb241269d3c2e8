#include "ecm/starts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace capsweep::ecm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// (H + h)·N^z of minlin; N^(bH + c) of the ECM slope.
double BasisPower(SlopeKind kind, const Exponents& x, const Series& series) {
  if (kind == SlopeKind::kMinlin) return (series.heads + x[0]) * std::exp(x[1] * series.log_n);
  return std::exp((x[0] * series.heads + x[1]) * series.log_n);
}

// g of a series: the slope is a·g + e (ECM) or k·g (minlin).
double BasisValue(SlopeKind kind, const Exponents& x, const Series& series) {
  const double power = BasisPower(kind, x, series);
  return kind == SlopeKind::kMinlin ? power : 1 / (power + x[2]);
}

Exponents ExponentsOf(const Form& form, const Theta& theta) {
  if (form.slope == SlopeKind::kMinlin) return {theta[kH], theta[kZ], 0};
  return {theta[kB], theta[kC], theta[kD]};
}

void SetExponents(const Form& form, const Exponents& x, Theta& theta) {
  if (form.slope == SlopeKind::kMinlin) {
    theta[kH] = x[0];
    theta[kZ] = x[1];
  } else {
    theta[kB] = x[0];
    theta[kC] = x[1];
    theta[kD] = x[2];
  }
}

// Normal equations of y ≈ p·g + q with weights.
struct LineFit {
  double w = 0, wg = 0, wgg = 0, wy = 0, wgy = 0, wyy = 0;

  void Add(double weight, double g, double y) {
    w += weight;
    wg += weight * g;
    wgg += weight * g * g;
    wy += weight * y;
    wgy += weight * g * y;
    wyy += weight * y * y;
  }
  double Rss(double p, double q) const {
    return wyy - 2 * p * wgy - 2 * q * wy + p * p * wgg + 2 * p * q * wg + q * q * w;
  }
  // p ≥ 0; q ≥ q_low, and q = 0 unless it is free; p = 0 unless it is free.
  std::pair<double, double> Solve(bool p_free, bool q_free, double q_low) const {
    const double p_only = p_free && wgg > 0 ? std::max(0.0, wgy / wgg) : 0;
    if (!q_free) return {p_only, 0};
    const double q_only = w > 0 ? std::max(q_low, wy / w) : 0;
    if (!p_free) return {0, q_only};
    const double determinant = wgg * w - wg * wg;
    if (determinant > 1e-12 * wgg * w) {
      const double p = (wgy * w - wg * wy) / determinant, q = (wgg * wy - wg * wgy) / determinant;
      if (p >= 0 && q >= q_low) return {p, q};
    }
    const double edge = wgg > 0 ? std::max(0.0, (wgy - q_low * wg) / wgg) : 0;
    return Rss(edge, q_low) < Rss(0, q_only) ? std::pair(edge, q_low) : std::pair(0.0, q_only);
  }
};

// One series seen alone: the best single knot. The first `knot` rows by width lie on the branch that holds small
// widths.
struct SeriesKnot {
  int knot = 0;
};

SeriesKnot FindKnot(const FitData& data, const Series& series, bool small_is_linear) {
  const int n = static_cast<int>(series.rows.size());
  SeriesKnot best;
  double best_rss = kInfinity;
  for (int knot = 0; knot <= n; ++knot) {
    LineFit rising, flat;
    for (int j = 0; j < n; ++j) {
      const int i = series.rows[j];
      const bool linear = (j < knot) == small_is_linear;
      (linear ? rising : flat).Add(data.weight[i], linear ? data.width[i] : 0, data.capacity[i]);
    }
    const double slope = rising.Solve(true, false, 0).first;
    const double level = flat.Solve(false, true, -kInfinity).second;
    const double rss = rising.Rss(slope, 0) + flat.Rss(0, level);
    // A tie keeps the knot with more rows on the linear branch.
    if (rss < best_rss * (1 - 1e-9) || (small_is_linear && rss <= best_rss * (1 + 1e-9))) {
      best_rss = rss;
      best.knot = knot;
    }
  }
  return best;
}

// Branch of every row when each series bends at its own best knot, moved by `shift` rows.
std::vector<bool> AssignByKnots(const Variant& variant, const FitData& data, int shift) {
  std::vector<bool> saturated(data.rows(), !variant.linear);
  if (!variant.linear || !variant.saturated) return saturated;
  const bool small_is_linear = variant.form->combine != Combine::kMax;
  for (const Series& series : data.series) {
    const int knot = FindKnot(data, series, small_is_linear).knot + shift;
    for (int j = 0; j < static_cast<int>(series.rows.size()); ++j) {
      saturated[series.rows[j]] = (j < knot) != small_is_linear;
    }
  }
  return saturated;
}

Exponents MaskExponents(const Variant& variant, Exponents x) {
  const Form& form = *variant.form;
  Theta theta{};
  SetExponents(form, x, theta);
  for (int p = 0; p < form.size(); ++p) {
    if (!variant.free[p]) theta[p] = 0;
  }
  return ExponentsOf(form, theta);
}

// Exponents on a grid, ranked by how well f explains the per-series slopes of the linear rows.
std::vector<Exponents> RankExponents(const Variant& variant, const FitData& data, const std::vector<bool>& saturated) {
  struct Slope {
    double weight = 0, value = 0;
  };
  std::vector<Slope> slopes;
  for (const Series& series : data.series) {
    LineFit line;
    for (const int i : series.rows) {
      if (!saturated[i]) line.Add(data.weight[i], data.width[i], data.capacity[i]);
    }
    slopes.push_back({line.wgg, line.Solve(true, false, 0).first});
  }
  const bool minlin = variant.form->slope == SlopeKind::kMinlin;
  std::vector<double> first, second, third = {0};
  if (minlin) {
    first = {-0.9, -0.5, -0.2, 0, 0.3, 0.7, 1, 2, 4, 8, 20, 100};
    for (double& h : first) h = h < 0 ? h * data.min_heads : h;
    for (double z = -2.5; z <= 2.51; z += 0.1) second.push_back(z);
  } else {
    first = {-0.6, -0.3, -0.15, -0.07, -0.03, 0, 0.03, 0.07, 0.15, 0.3, 0.6};
    for (double c = -2; c <= 4.01; c += 0.2) second.push_back(c);
    third = {0, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000};
  }
  const Form& form = *variant.form;
  if (!variant.free[minlin ? int{kH} : int{kB}]) first = {0};
  if (!variant.free[minlin ? int{kZ} : int{kC}]) second = {0};
  if (!minlin && !variant.free[kD]) third = {0};
  // The best for every value of the third: spread along the valley in which a, c and d trade off.
  std::vector<std::pair<double, Exponents>> best(third.size(), {kInfinity, Exponents{}});
  const bool e_free = !minlin && variant.free[kE];
  std::vector<double> powers(slopes.size());
  for (const double b : first) {
    for (const double c : second) {
      for (size_t s = 0; s < slopes.size(); ++s) powers[s] = BasisPower(form.slope, {b, c, 0}, data.series[s]);
      for (size_t t = 0; t < third.size(); ++t) {
        LineFit line;
        for (size_t s = 0; s < slopes.size(); ++s) {
          if (slopes[s].weight > 0) {
            line.Add(slopes[s].weight, minlin ? powers[s] : 1 / (powers[s] + third[t]), slopes[s].value);
          }
        }
        const auto [p, q] = line.Solve(true, e_free, 0);
        const double rss = line.Rss(p, q);
        if (rss < best[t].first) best[t] = {rss, {b, c, third[t]}};
      }
    }
  }
  std::stable_sort(best.begin(), best.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<Exponents> ranked;
  for (const auto& [rss, x] : best) ranked.push_back(x);
  return ranked;
}

// Strata of a Latin hypercube: column d holds each of the `count` strata of dimension d once.
std::vector<std::vector<double>> LatinHypercube(int count, int dimensions, Random& random) {
  std::vector<std::vector<double>> columns(dimensions);
  for (std::vector<double>& column : columns) {
    for (int i = 0; i < count; ++i) column.push_back((i + random.Uniform()) / count);
    for (int i = count - 1; i > 0; --i) std::swap(column[i], column[random.Below(i + 1)]);
  }
  return columns;
}

// Rows beyond a log-linear knot surface B*(H, N).
std::vector<bool> AssignBySurface(const Variant& variant, const FitData& data, double position, double by_heads,
                                  double by_length) {
  const auto [low, high] = std::minmax_element(data.width.begin(), data.width.end());
  const double log_low = std::log(*low), span = std::log(*high) - log_low;
  double mean_h = 0, mean_n = 0;
  for (const Series& series : data.series) {
    mean_h += std::log(series.heads) / static_cast<double>(data.series.size());
    mean_n += series.log_n / static_cast<double>(data.series.size());
  }
  std::vector<bool> saturated(data.rows());
  for (int i = 0; i < data.rows(); ++i) {
    const Series& series = data.series[data.series_of[i]];
    const double knot =
        log_low + position * span + by_heads * (std::log(series.heads) - mean_h) + by_length * (series.log_n - mean_n);
    saturated[i] = (std::log(data.width[i]) > knot) == (variant.form->combine != Combine::kMax);
  }
  return saturated;
}

std::vector<Theta> HypercubeStarts(const Variant& variant, const FitData& data, const Bounds& bounds, int count,
                                   Random& random) {
  const auto u = LatinHypercube(count, 6, random);
  std::vector<Theta> starts;
  for (int i = 0; i < count; ++i) {
    Exponents x;
    if (variant.form->slope == SlopeKind::kMinlin) {
      x = {-0.95 * data.min_heads + std::exp(std::log(0.05) + u[0][i] * std::log(1e4)), -3 + 6 * u[1][i], 0};
    } else {
      x = {-0.7 + 1.4 * u[0][i], -2 + 6 * u[1][i], std::exp(std::log(1e-3) + u[2][i] * std::log(1e7))};
    }
    const auto saturated = AssignBySurface(variant, data, -0.1 + 1.2 * u[3][i], -1.5 + 3 * u[4][i], -1 + 2.5 * u[5][i]);
    starts.push_back(ProjectLinear(variant, data, bounds, MaskExponents(variant, x), saturated));
  }
  return starts;
}

}  // namespace

Theta ProjectLinear(const Variant& variant, const FitData& data, const Bounds& bounds, const Exponents& exponents,
                    std::vector<bool> saturated, int rounds) {
  const Form& form = *variant.form;
  Theta theta{};
  SetExponents(form, exponents, theta);
  const bool e_free = form.slope == SlopeKind::kEcm && variant.free[kE];
  if (!variant.linear) saturated.assign(data.rows(), true);
  if (!variant.saturated) saturated.assign(data.rows(), false);
  std::vector<double> predicted(data.rows());
  std::vector<bool> next;
  for (int round = 0; round < rounds; ++round) {
    LineFit slope, level;
    for (int i = 0; i < data.rows(); ++i) {
      const Series& series = data.series[data.series_of[i]];
      if (saturated[i]) {
        level.Add(data.weight[i], series.heads, data.capacity[i]);
      } else {
        // C/B ≈ a·g + e with the weight carried over from C.
        slope.Add(data.weight[i] * data.width[i] * data.width[i], BasisValue(form.slope, exponents, series),
                  data.capacity[i] / data.width[i]);
      }
    }
    if (slope.w > 0) {
      const auto [a, e] = slope.Solve(true, e_free, 0);
      theta[0] = a;
      if (e_free) theta[kE] = e;
    }
    if (level.w > 0) {
      std::tie(theta[form.alpha()], theta[form.beta()]) =
          level.Solve(variant.free[form.alpha()], true, bounds.low[form.beta()]);
    } else {
      // No row to learn from: a branch that does not bind.
      const bool binds_from_below = form.combine == Combine::kMax;
      theta[form.beta()] = binds_from_below ? 0 : bounds.high[form.beta()];
    }
    if (!variant.linear || !variant.saturated || !Evaluate(variant, theta, data, predicted.data(), nullptr, &next) ||
        next == saturated) {
      break;
    }
    saturated = next;
  }
  return theta;
}

std::vector<Theta> MakeStarts(const Variant& variant, const FitData& data, const Bounds& bounds, int count,
                              uint64_t seed) {
  Random random(seed, 0x57a27);
  std::vector<Theta> starts;
  const int staged = count / 2;
  for (const int shift : {0, -1, 1}) {
    if (static_cast<int>(starts.size()) >= staged) break;
    const std::vector<bool> saturated = AssignByKnots(variant, data, shift);
    for (const Exponents& x : RankExponents(variant, data, saturated)) {
      // One round keeps the knots as they were scanned; many let the model move them.
      for (const int rounds : {1, 8}) {
        if (static_cast<int>(starts.size()) < staged) {
          starts.push_back(ProjectLinear(variant, data, bounds, x, saturated, rounds));
        }
      }
    }
  }
  for (const Theta& start : HypercubeStarts(variant, data, bounds, count - static_cast<int>(starts.size()), random)) {
    starts.push_back(start);
  }
  return starts;
}

Theta Perturb(const Variant& variant, const FitData& data, const Bounds& bounds, const Theta& theta, Random& random) {
  const Form& form = *variant.form;
  std::vector<double> predicted(data.rows());
  std::vector<bool> saturated;
  Evaluate(variant, theta, data, predicted.data(), nullptr, &saturated);
  const bool small_is_linear = form.combine != Combine::kMax;
  // All series of one H or one N bend together more often than one alone.
  const int kind = random.Below(3);
  const Series& chosen = data.series[random.Below(static_cast<int>(data.series.size()))];
  const int shift = random.Below(2) == 0 ? -1 : 1;
  for (const Series& series : data.series) {
    const bool moves = kind == 0   ? &series == &chosen
                       : kind == 1 ? series.heads == chosen.heads
                                   : series.log_n == chosen.log_n;
    if (!moves) continue;
    int knot = 0;
    for (const int i : series.rows) knot += (saturated[i] != small_is_linear) ? 1 : 0;
    knot += shift;
    for (int j = 0; j < static_cast<int>(series.rows.size()); ++j) {
      saturated[series.rows[j]] = (j < knot) != small_is_linear;
    }
  }
  Exponents x = ExponentsOf(form, theta);
  const double size = std::exp(random.Uniform(-5, -0.5));
  x[0] += size * random.Uniform(-1, 1) * (form.slope == SlopeKind::kMinlin ? 3 : 0.3);
  x[1] += size * random.Uniform(-1, 1);
  x[2] = std::max(x[2], 1e-3) * std::exp(4 * size * random.Uniform(-1, 1));
  x = MaskExponents(variant, x);
  if (form.slope == SlopeKind::kMinlin) x[0] = std::max(x[0], bounds.low[kH]);
  return ProjectLinear(variant, data, bounds, x, saturated, 1 + random.Below(3));
}

}  // namespace capsweep::ecm
