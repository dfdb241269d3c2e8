#include "ecm/forms.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace capsweep::ecm {
namespace {

const std::vector<Form>& Forms() {
  static const auto& forms = *new std::vector<Form>{
      {"min", Combine::kMin, SlopeKind::kEcm, {"a", "b", "c", "d", "e", "alpha", "beta"}},
      {"max", Combine::kMax, SlopeKind::kEcm, {"a", "b", "c", "d", "e", "alpha", "beta"}},
      {"softmin", Combine::kSoftmin, SlopeKind::kEcm, {"a", "b", "c", "d", "e", "alpha", "beta"}},
      {"minlin", Combine::kMin, SlopeKind::kMinlin, {"k", "h", "z", "alpha", "beta"}},
  };
  return forms;
}

// f of one series and its gradient over the slope's parameters.
struct SlopeValue {
  double value = 0;
  std::array<double, 5> gradient{};
};

SlopeValue EvaluateSlope(SlopeKind kind, const Theta& t, double heads, double log_n) {
  SlopeValue slope;
  if (kind == SlopeKind::kMinlin) {
    const double power = std::exp(t[kZ] * log_n);
    slope.value = t[kK] * (heads + t[kH]) * power;
    slope.gradient = {(heads + t[kH]) * power, t[kK] * power, slope.value * log_n, 0, 0};
    return slope;
  }
  const double u = std::exp((t[kB] * heads + t[kC]) * log_n);
  const double inverse = 1 / (u + t[kD]);
  const double quotient = t[kA] * inverse;
  const double by_exponent = -quotient * inverse * u * log_n;
  slope.value = quotient + t[kE];
  slope.gradient = {inverse, by_exponent * heads, by_exponent, -quotient * inverse, 1};
  return slope;
}

// κ = 8 is a power of two, so powers and roots are squares and square roots; std::pow took most of a fit's time.
static_assert(kSoftminPower == 8);
double EighthPower(double v) {
  const double v2 = v * v, v4 = v2 * v2;
  return v4 * v4;
}

// The combined value and its derivatives by the two branches.
struct Combined {
  double value = 0, by_x = 0, by_y = 0;
};

Combined CombineBranches(Combine combine, double x, double y) {
  if (combine == Combine::kSoftmin && x > 0 && y > 0) {
    // Written with the ratio of the smaller to the larger branch, so that nothing overflows.
    const double low = std::min(x, y), ratio = low / std::max(x, y);
    const double value = low / std::sqrt(std::sqrt(std::sqrt(1 + EighthPower(ratio))));
    const double by_x = value / x, by_y = value / y;
    return {value, EighthPower(by_x) * by_x, EighthPower(by_y) * by_y};
  }
  if (x == y) return {x, 0.5, 0.5};
  const bool take_x = (combine == Combine::kMax) == (x > y);
  return take_x ? Combined{x, 1, 0} : Combined{y, 0, 1};
}

Variant EcmVariant(const Form& form, bool b, bool c, bool d, bool e, bool alpha) {
  Variant variant;
  variant.form = &form;
  variant.free = {true, b, c, d, e, alpha, true};
  std::string zeros = std::string(b ? "" : "b=") + (c ? "" : "c=") + (d ? "" : "d=") + (e ? "" : "e=");
  variant.name = zeros.empty() ? "full" : zeros + "0";
  return variant;
}

}  // namespace

const Form* FindForm(std::string_view name) {
  for (const Form& form : Forms()) {
    if (form.name == name) return &form;
  }
  return nullptr;
}

int Variant::free_count() const {
  return static_cast<int>(std::count(free.begin(), free.end(), true));
}

std::vector<VariantChoice> ListVariants(const Form& form, const FitData& data) {
  const bool many_heads = data.heads_levels >= 2, many_lengths = data.seq_len_levels >= 2;
  std::vector<VariantChoice> slopes;
  if (form.slope == SlopeKind::kMinlin) {
    Variant variant;
    variant.form = &form;
    variant.free = {true, many_heads, many_lengths, many_heads, true, false, false};
    variant.name = many_heads && many_lengths ? "full" : many_heads ? "z=0" : many_lengths ? "h=0" : "h=z=0";
    slopes.push_back({variant});
  } else {
    for (const bool b : {true, false}) {
      if (b && !many_heads) continue;
      if (many_lengths) slopes.push_back({EcmVariant(form, b, true, true, true, many_heads), data.seq_len_levels < 4});
      if (many_lengths) slopes.push_back({EcmVariant(form, b, true, false, true, many_heads), data.seq_len_levels < 3});
      slopes.push_back({EcmVariant(form, b, many_lengths, false, false, many_heads)});
    }
  }
  std::vector<VariantChoice> all;
  for (const VariantChoice& slope : slopes) all.push_back(slope);
  for (VariantChoice slope : slopes) {
    slope.variant.saturated = false;
    slope.variant.free[form.alpha()] = slope.variant.free[form.beta()] = false;
    slope.variant.name += ", linear branch only";
    all.push_back(slope);
  }
  Variant flat;
  flat.form = &form;
  flat.linear = false;
  flat.free[form.alpha()] = many_heads;
  flat.free[form.beta()] = true;
  flat.name = "saturated branch only";
  all.push_back({flat});
  return all;
}

Bounds ParameterBounds(const Form& form, const FitData& data) {
  Bounds bounds;
  const double s = data.scale, top = data.max_capacity;
  if (form.slope == SlopeKind::kMinlin) {
    bounds.low = {0, -0.999 * data.min_heads, -4, 0, -top};
    bounds.high = {1e9 / s, 1e3, 4, 1e7 / s, top};
  } else {
    bounds.low = {0, -1, -2, 0, 0, 0, -top};
    bounds.high = {1e9 / s, 1, 4, 1e6, data.max_per_width, 1e7 / s, top};
  }
  // Ceres wants an interior even where the data leaves none.
  for (int p = 0; p < form.size(); ++p) bounds.high[p] = std::max(bounds.high[p], bounds.low[p] + 1e-12);
  return bounds;
}

bool Evaluate(const Variant& variant, const Theta& theta, const FitData& data, double* predicted, double* jacobian,
              std::vector<bool>* saturated) {
  const Form& form = *variant.form;
  const int size = form.size(), slope_size = size - 2;
  if (saturated != nullptr) saturated->assign(data.width.size(), false);
  bool finite = true;
  for (const Series& series : data.series) {
    const SlopeValue slope =
        variant.linear ? EvaluateSlope(form.slope, theta, series.heads, series.log_n) : SlopeValue{};
    const double y = theta[form.alpha()] * series.heads + theta[form.beta()];
    for (const int i : series.rows) {
      const double width = data.width[i], x = slope.value * width;
      const Combined c = !variant.saturated ? Combined{x, 1, 0}
                         : !variant.linear  ? Combined{y, 0, 1}
                                            : CombineBranches(form.combine, x, y);
      predicted[i] = c.value;
      finite = finite && std::isfinite(c.value);
      if (saturated != nullptr) (*saturated)[i] = c.by_y > c.by_x;
      if (jacobian == nullptr) continue;
      double* row = jacobian + static_cast<ptrdiff_t>(i) * size;
      for (int p = 0; p < slope_size; ++p) row[p] = c.by_x == 0 ? 0 : c.by_x * slope.gradient[p] * width;
      row[form.alpha()] = c.by_y * series.heads;
      row[form.beta()] = c.by_y;
    }
  }
  return finite;
}

double EvaluateAt(const Form& form, const Theta& theta, double heads, double width, double seq_len) {
  const double x = EvaluateSlope(form.slope, theta, heads, std::log(seq_len)).value * width;
  const double y = theta[form.alpha()] * heads + theta[form.beta()];
  if (std::isnan(y)) return x;
  if (std::isnan(x)) return y;
  return CombineBranches(form.combine, x, y).value;
}

Theta Unscale(const Form& form, const Theta& theta, double scale) {
  Theta out = theta;
  out[0] *= scale;
  if (form.slope == SlopeKind::kEcm) out[kE] *= scale;
  out[form.alpha()] *= scale;
  out[form.beta()] *= scale;
  return out;
}

}  // namespace capsweep::ecm
