// Which linear algebra library the process really runs with: Debian's LibTorch takes whatever libblas.so.3 points at,
// and the choice is worth a factor of six.
#pragma once

#include <string>

namespace capsweep::trainer {

// "openblas 0.3.21", "mkl", "atlas", "blis", "reference" or "unknown". `torch_has_mkl`: LibTorch was built with MKL.
std::string BlasName(bool torch_has_mkl);

}  // namespace capsweep::trainer
