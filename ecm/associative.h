// Transformers as associative memories (Niu, Bai, Deng, Yue and others, 2024): energies over stored patterns and the
// balance of model size and data. What the paper's theory claims holds under its conditions; here it is checked where
// it is an exact inequality, and drawn as a reference where it is not.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace capsweep::ecm {

using Pattern = std::vector<double>;

double SquaredDistance(const Pattern& a, const Pattern& b);

// g(x) = min_i |x - rho_i|^2.
double NearestSquaredDistance(const Pattern& x, const std::vector<Pattern>& patterns);

// E(x) = -log sum_i exp(-|x - rho_i|^2). Proposition 1: g - log d <= E <= g with d patterns.
double DistanceEnergy(const Pattern& x, const std::vector<Pattern>& patterns);

// The energy of a modern continuous Hopfield network (Ramsauer and others, 2021), M the largest norm of a pattern:
// E_MCHN(x) = -log(sum_i exp(beta rho_i . x)) / beta + |x|^2 / 2 + log(d) / beta + M^2 / 2.
// Proposition 2, at beta = 2: |E - (2 E_MCHN - log d)| <= max |rho|^2 - min |rho|^2.
double HopfieldEnergy(const Pattern& x, const std::vector<Pattern>& patterns, double beta);

// Energy over the layers: -log sum_t exp(-E_t), between min E_t - log l and min E_t.
double GlobalEnergy(const std::vector<double>& layers);

// log Z + 1 / Z, the loss of Proposition 4 under its conditions; at least 1, which it is at Z = 1.
double BalancedLoss(double z);

// sqrt(n / (2 pi e)): the theory's radius of a pattern's ball in n dimensions.
double TheoryRadius(double dimensions);

// One evaluation of a run.
struct LossPair {
  double train = 0, heldout = 0;  // nats per target
};

// Mean of (training loss - least held-out loss)^2 over the `window` evaluations after the least held-out loss (that one
// alone if it is the last). Niu's rule calls a data size the critical one where this falls below sigma^2. Infinite
// without evaluations.
double BalanceGap(const std::vector<LossPair>& curve, int window);

struct CriticalSize {
  double tokens = 0;            // D*, the smallest data size with a gap below sigma^2; 0 = none of those measured
  bool below_smallest = false;  // it was the smallest measured: D* may be smaller
  bool returns = false;         // a larger data size has a gap above sigma^2 again
};
CriticalSize FindCriticalSize(const std::map<double, double>& gap_by_tokens, double sigma2);

}  // namespace capsweep::ecm
