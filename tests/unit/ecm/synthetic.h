// Capacities made from known parameters, for the tests of the fitter.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "ecm/capacity.h"
#include "ecm/forms.h"
#include "ecm/random.h"
#include "ecm/report.h"

namespace capsweep::ecm {

struct Grid {
  std::vector<double> heads = {1, 2, 3, 4, 5};
  std::vector<double> lengths = {4, 8, 16, 32, 64};
  std::vector<double> widths = {4, 8, 16, 32, 64};
};

// Positions as in Form::parameters.
inline std::vector<Row> MakeSyntheticRows(const std::string& form, const Theta& theta, const Grid& grid = {}) {
  std::vector<Row> rows;
  for (const double h : grid.heads) {
    for (const double n : grid.lengths) {
      for (const double b : grid.widths) {
        Row row;
        row.heads = h;
        row.seq_len = n;
        row.width = b;
        row.capacity = EvaluateAt(*FindForm(form), theta, h, b, n);
        rows.push_back(row);
      }
    }
  }
  return rows;
}

// Standard normal from twelve uniforms: the same on every platform, tails to 6 SD.
inline double Normal(Random& random) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += random.Uniform();
  return sum;
}

inline void AddNoise(double relative, Random& random, std::vector<Row>& rows) {
  for (Row& row : rows) row.capacity *= 1 + relative * Normal(random);
}

// Rows on the branch αH + β.
inline int CountOnBound(const std::string& form, const Theta& theta, const std::vector<Row>& rows) {
  const Form& known = *FindForm(form);
  Theta no_bound = theta;
  no_bound[known.beta()] = std::nan("");
  int count = 0;
  for (const Row& row : rows) {
    const double x = EvaluateAt(known, no_bound, row.heads, row.width, row.seq_len);
    const double y = theta[known.alpha()] * row.heads + theta[known.beta()];
    count += (known.combine == Combine::kMax ? y > x : y < x) ? 1 : 0;
  }
  return count;
}

// Random parameters whose branches both hold at least 15 % of the grid's rows and whose capacities are positive.
inline Theta RandomTheta(const std::string& form, const Grid& grid, Random& random) {
  const Form& known = *FindForm(form);
  for (;;) {
    const double magnitude = std::exp(random.Uniform(std::log(5), std::log(5000)));
    Theta t{};
    if (known.slope == SlopeKind::kMinlin) {
      t[kK] = magnitude;
      t[kH] = random.Uniform(-0.5, 4);
      t[kZ] = random.Uniform(-0.6, 0.6);
    } else {
      t[kB] = random.Below(3) == 0 ? 0 : random.Uniform(-0.3, 0.3);
      t[kC] = random.Uniform(-0.5, 2);
      t[kD] = random.Below(3) == 0 ? 0 : std::exp(random.Uniform(-2, 3));
      t[kE] = random.Below(3) == 0 ? 0 : magnitude * random.Uniform(0.02, 0.5);
      t[kA] = magnitude * (std::pow(8, t[kC]) + t[kD]);
    }
    t[known.alpha()] = 16 * magnitude * random.Uniform(0.05, 1);
    t[known.beta()] = 16 * magnitude * random.Uniform(-0.05, 1.5);
    const std::vector<Row> rows = MakeSyntheticRows(form, t, grid);
    bool positive = true;
    for (const Row& row : rows) positive = positive && row.capacity > 0.01 * magnitude;
    const double share = CountOnBound(form, t, rows) / static_cast<double>(rows.size());
    if (positive && share >= 0.15 && share <= 0.85) return t;
  }
}

inline GroupFit FitRows(const std::vector<Row>& rows, const FitSettings& settings) {
  return FitGroups({Group{.key = {}, .rows = rows}}, settings).groups.at(0);
}

// Largest |Ĉ/C − 1| of the group's best form over `truth`.
inline double WorstRelativeError(const GroupFit& fit, const std::string& form, const std::vector<Row>& truth) {
  double worst = 0;
  for (const Row& row : truth) {
    const double predicted = Predict(form, fit.forms.at(form).parameters, row.heads, row.width, row.seq_len);
    worst = std::max(worst, std::abs(predicted / row.capacity - 1));
  }
  return worst;
}

}  // namespace capsweep::ecm
