// What a figure shows, as data: the makers of figures fill it, script.h turns it into gnuplot commands.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace capsweep::figures {

inline constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

struct ChartPoint {
  double x = 0, y = 0;
  double low = kNothing, high = kNothing;  // ends of the bar or band; NaN: none
};

enum class Mark { kPoints, kLine, kLinePoints, kBand };

// A style is a colour and the shape of a point that goes with it, so that figures can be read without colours.
inline constexpr int kReference = -1;  // a thin grey line; -2 to -4 are others, each broken in its own way

struct Series {
  std::string title;  // in the legend; "": not there. One title has one look in all panels
  int style = 0;      // from 0; kReference or below
  bool open = false;  // hollow points, broken line
  Mark mark = Mark::kPoints;
  std::vector<ChartPoint> points;  // those that are not finite, or not above 0 on a logarithmic axis, are not drawn
};

struct Axis {
  enum class Scale { kLinear, kLog2, kLog10 };
  std::string label;  // with the unit
  Scale scale = Scale::kLinear;
  std::optional<double> from;  // where it starts; else a little below the least value
  std::vector<double> ticks;   // values to label, as far as there is room; none: gnuplot chooses
};

struct Panel {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  bool new_row = false;  // starts a row of panels
};

struct Chart {
  std::string title, subtitle;
  std::vector<Panel> panels;
  std::vector<std::string> notes;  // sentences to stand below it
};

}  // namespace capsweep::figures
