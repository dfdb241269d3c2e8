// The capacity forms and their nested variants.
//
//   min      C = min(f·B, αH + β),  f = a / (N^(bH + c) + d) + e      the default
//   max      C = max(f·B, αH + β)                                     as printed in Härmä et al. 2024
//   softmin  C = (x^-κ + y^-κ)^(-1/κ), x = f·B, y = αH + β, κ = 8     a smooth `min`
//   minlin   C = min(k(H + h)·N^z·B, αH + β)                          ours, found after looking at data
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "ecm/fit_data.h"

namespace capsweep::ecm {

inline constexpr int kMaxParameters = 7;
inline constexpr double kSoftminPower = 8;
using Theta = std::array<double, kMaxParameters>;

enum class Combine { kMin, kMax, kSoftmin };
enum class SlopeKind { kEcm, kMinlin };

// Positions in a Theta. Both kinds of slope end with α and β.
enum EcmParameter { kA, kB, kC, kD, kE, kEcmAlpha, kEcmBeta };
enum MinlinParameter { kK, kH, kZ, kMinlinAlpha, kMinlinBeta };

struct Form {
  std::string name;
  Combine combine = Combine::kMin;
  SlopeKind slope = SlopeKind::kEcm;
  std::vector<std::string> parameters;  // names by position

  int size() const { return static_cast<int>(parameters.size()); }
  int alpha() const { return size() - 2; }
  int beta() const { return size() - 1; }
};

// nullptr for an unknown name.
const Form* FindForm(std::string_view name);

// A form with some parameters held at 0 and possibly only one of its branches.
struct Variant {
  const Form* form = nullptr;
  std::string name;                         // "full", "d=0", "d=e=0", "b=0", …; ", linear branch only" may follow
  std::array<bool, kMaxParameters> free{};  // over the form's parameters
  bool linear = true;                       // has the branch that grows with B
  bool saturated = true;                    // has the branch αH + β

  int free_count() const;
};

// The variants that the levels of the data can tell apart, the richest first. With fewer than 4 values of N the
// variants that need them are still listed, but marked in `needs_more_levels` (their parameters are not identified one
// by one).
struct VariantChoice {
  Variant variant;
  bool needs_more_levels = false;
};
std::vector<VariantChoice> ListVariants(const Form& form, const FitData& data);

// Bounds in scaled units: a in [0, 1e9], b in [-1, 1], c in [-2, 4], d in [0, 1e6], e in [0, max C/B],
// α in [0, 1e7], β in [-max C, max C]; minlin: k in [0, 1e9], h in (-min H, 1e3], z in [-4, 4].
struct Bounds {
  Theta low{}, high{};
};
Bounds ParameterBounds(const Form& form, const FitData& data);

// Predictions of all rows, scaled. `jacobian` (row-major [rows, form.size()]) may be null. Where both branches are
// equal each counts half. `saturated` (may be null) gets for every row whether αH + β is the binding branch. False if a
// value is not finite.
bool Evaluate(const Variant& variant, const Theta& theta, const FitData& data, double* predicted, double* jacobian,
              std::vector<bool>* saturated = nullptr);

// One prediction from parameters in any unit. NaN for α or β means: no such branch; NaN for the slope's first parameter
// means: only αH + β.
double EvaluateAt(const Form& form, const Theta& theta, double heads, double width, double seq_len);

// Scaled parameters to items and back: a, e, k, α, β carry the unit of C, the exponents do not.
Theta Unscale(const Form& form, const Theta& theta, double scale);

}  // namespace capsweep::ecm
