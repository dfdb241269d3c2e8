// Error measures, information criteria and quantiles shared by forms and baselines.
#pragma once

#include <limits>
#include <vector>

#include "ecm/report.h"

namespace capsweep::ecm {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Linear interpolation between order statistics; NaN of an empty sample. q in [0, 1].
double Quantile(std::vector<double> sample, double q);

// Two-sided 95 % quantile of Student's t (Cornish–Fisher expansion; error below 1 % from 3 degrees on).
double StudentT975(int degrees);

// Σ w (C − Ĉ)², but not less than what a relative error of 1e-9 in every row gives: below that the difference between
// two exact fits is rounding, and ln(RSS) must stay finite and comparable.
double FlooredRss(const std::vector<double>& capacity, const std::vector<double>& predicted,
                  const std::vector<double>& weight);

// n ln(RSS/n) + 2K + 2K(K+1)/(n−K−1) with K = k + 1 (the variance counts). Infinite if n ≤ K + 1.
double Aicc(double rss, int rows, int parameters);

// Fills rmse, mae, mape, r2 (plain, in items; mape in percent, over rows with C > 0) and aic, aicc, bic (from the
// weighted, floored RSS). R² = 1 − RSS/TSS, 0 where TSS = 0.
void FillErrors(const std::vector<double>& capacity, const std::vector<double>& predicted,
                const std::vector<double>& weight, int parameters, FormFit& fit);

struct PlainErrors {
  double rmse = 0, mae = 0, mape = 0, bias = 0;  // bias: mean of predicted − measured, items
};
PlainErrors ComputeErrors(const std::vector<double>& capacity, const std::vector<double>& predicted);

}  // namespace capsweep::ecm
