// Charts as gnuplot scripts. Pure.
#pragma once

#include <string>

#include "cli/figures/chart.h"

namespace capsweep::figures {

enum class Format { kSvg, kPng };

struct Size {
  int width = 0, height = 0;  // of an SVG in pixels; a PNG has twice as many each way
};
// What a chart takes: it grows with its panels and its legend.
Size ChartSize(const Chart& chart);

// gnuplot commands, data included, that write the chart to `out`, an absolute path. Nothing in the data can become a
// command: texts stand in double quotes with all but letters, digits and harmless marks as octal escapes, control
// characters are dropped, and the rest are numbers. One legend above all panels has every title once.
std::string GnuplotScript(const Chart& chart, Format format, const std::string& out);

}  // namespace capsweep::figures
