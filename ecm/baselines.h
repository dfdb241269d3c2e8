// What a capacity form has to beat: laws of few parameters and polynomials, all by weighted least squares with the
// weights of the forms.
//
//   constant        C = mean
//   bits            C = η · P_train / (T·log2 V)
//   bits_parts      C = Σ_parts η_p · P_p / (T·log2 V), parts: embeddings, attention, MLP, head
//   power           C = κ · P_train^γ
//   power_bhn       C = κ · B^x · H^y · N^z
//   poly1 … poly4   all terms up to that total degree in standardized (B, H, ln N)
//   poly1_n … 4_n   the same in standardized (B, H, N)
//   log_quadratic   ln C quadratic in (ln B, ln H, ln N)
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ecm/capacity.h"

namespace capsweep::ecm {

// A baseline fitted to some rows.
struct BaselineFit {
  std::map<std::string, double> parameters;  // enough for PredictBaseline; a dropped term is absent
  std::vector<std::string> dropped_terms;    // that the rows cannot identify: linear combinations of earlier terms
  int parameters_used = 0;
  std::string skipped;  // not "": why it could not be fitted
};

// In the order of the list above.
const std::vector<std::string>& BaselineNames();

BaselineFit FitBaseline(const std::string& name, const std::vector<Row>& rows, const std::vector<double>& weights);

// Prediction for a row and its derivative by every term that was kept, in the order of BaselineFit::parameters' terms.
// Empty for an unknown name.
struct BaselinePoint {
  double value = 0;
  std::vector<std::string> terms;
  std::vector<double> by;
};
BaselinePoint BaselineGradient(const std::string& name, const std::map<std::string, double>& parameters,
                               const Row& row);

// NaN for an unknown name, and where the row lacks the parameter counts that `bits`, `bits_parts` and `power` need.
double PredictBaseline(const std::string& name, const std::map<std::string, double>& parameters, const Row& row);

}  // namespace capsweep::ecm
