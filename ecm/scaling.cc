#include "ecm/scaling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ecm/random.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

struct Line {
  double slope, intercept;
};

// Nothing if all x are equal.
std::optional<Line> FitLine(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / n;
    mean_y += y[i] / n;
  }
  double sxx = 0, sxy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    sxx += (x[i] - mean_x) * (x[i] - mean_x);
    sxy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  if (sxx <= 1e-12 * n) return std::nullopt;
  return Line{sxy / sxx, mean_y - sxy / sxx * mean_x};
}

std::vector<double> Logs(const std::vector<double>& values) {
  std::vector<double> logs;
  for (double v : values) logs.push_back(std::log(v));
  return logs;
}

}  // namespace

absl::StatusOr<PowerLaw> FitPowerLaw(const std::vector<double>& x, const std::vector<double>& y, int draws,
                                     uint64_t seed) {
  if (x.size() != y.size() || x.size() < 3) {
    return absl::InvalidArgumentError(absl::StrCat("a power law needs three pairs or more, there are ", x.size()));
  }
  for (const auto& values : {x, y}) {
    for (double v : values) {
      if (!std::isfinite(v) || v <= 0) return absl::InvalidArgumentError("a power law needs positive values");
    }
  }
  const std::vector<double> lx = Logs(x), ly = Logs(y);
  const std::optional<Line> line = FitLine(lx, ly);
  if (!line) return absl::InvalidArgumentError("a power law needs two different sizes of the task or more");
  PowerLaw law;
  law.exponent = line->slope;
  law.factor = std::exp(line->intercept);
  law.pairs = static_cast<int>(x.size());
  Random random(seed);
  std::vector<double> slopes, dx(x.size()), dy(x.size());
  while (static_cast<int>(slopes.size()) < draws) {
    for (size_t i = 0; i < x.size(); ++i) {
      const auto k = static_cast<size_t>(random.Below(law.pairs));
      dx[i] = lx[k];
      dy[i] = ly[k];
    }
    if (const std::optional<Line> drawn = FitLine(dx, dy)) slopes.push_back(drawn->slope);
  }
  law.low = slopes.empty() ? law.exponent : Quantile(slopes, 0.025);
  law.high = slopes.empty() ? law.exponent : Quantile(slopes, 0.975);
  return law;
}

std::vector<Overlay> FitOverlays(const std::vector<double>& items, const std::vector<double>& tokens,
                                 const std::vector<double>& parameters) {
  using Curve = std::function<double(double, double)>;  // of D and n
  std::vector<std::pair<std::string, Curve>> curves = {
      {"sqrt(D)", [](double d, double) { return std::sqrt(d); }},
      {"sqrt(D ln D)", [](double d, double) { return std::sqrt(d * std::log(d)); }},
      {"D", [](double d, double) { return d; }},
  };
  if (std::set<double>(tokens.begin(), tokens.end()).size() > 1) {
    curves.emplace_back("sqrt(n D)", [](double d, double n) { return std::sqrt(n * d); });
  }
  std::vector<Overlay> overlays;
  const auto n = static_cast<double>(items.size());
  for (const auto& [name, curve] : curves) {
    std::vector<double> residuals;
    double mean = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      residuals.push_back(std::log(parameters[i] / curve(items[i], tokens[i])));
      mean += residuals.back() / n;
    }
    Overlay overlay{name, std::exp(mean)};
    for (double r : residuals) overlay.rss += (r - mean) * (r - mean);
    overlay.aicc = Aicc(std::max(overlay.rss, 1e-18 * n), static_cast<int>(items.size()), 1);
    overlays.push_back(std::move(overlay));
  }
  std::stable_sort(overlays.begin(), overlays.end(),
                   [](const Overlay& a, const Overlay& b) { return a.aicc < b.aicc; });
  return overlays;
}

}  // namespace capsweep::ecm
