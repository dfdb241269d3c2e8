// The fits of a report. Pure.
#pragma once

#include <string>

#include "cli/figures/figures.h"

namespace capsweep::cli {

// HTML: for every group the rows, the errors of forms and baselines, and the parameters of the best form.
std::string FitSection(const figures::FigureData& data);

}  // namespace capsweep::cli
