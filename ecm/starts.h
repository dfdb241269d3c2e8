// Start points of the multi-start search. With the exponents (b, c, d; or h, z) and the branch of every row given, the
// other parameters are two small linear least-squares problems (variable projection), so a start is a draw of exponents
// and of the widths at which each series bends, not of all seven parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "ecm/forms.h"
#include "ecm/random.h"

namespace capsweep::ecm {

// b, c, d of the ECM slope; h, z, unused of minlin.
using Exponents = std::array<double, 3>;

// Linear parameters for given exponents by weighted least squares with the signs of §bounds, alternating with the
// assignment of rows to branches for at most `rounds`.
Theta ProjectLinear(const Variant& variant, const FitData& data, const Bounds& bounds, const Exponents& exponents,
                    std::vector<bool> saturated, int rounds = 8);

// `count` starts. The first is the two-stage start: per (heads, seq_len) the best min(s·B, K) over all knots, then K
// regressed on H and f fitted to the slopes; the next ones take other exponents that explain the slopes almost as well
// and knots moved by one width. At least half are a Latin hypercube over exponents and knots (ln d and the knots'
// logarithm uniform).
std::vector<Theta> MakeStarts(const Variant& variant, const FitData& data, const Bounds& bounds, int count,
                              uint64_t seed);

// A start near `theta`: some series bend one width earlier or later, the exponents move a little.
Theta Perturb(const Variant& variant, const FitData& data, const Bounds& bounds, const Theta& theta, Random& random);

}  // namespace capsweep::ecm
