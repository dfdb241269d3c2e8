#include "cli/figures/script.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <set>
#include <string_view>

#include "absl/strings/str_format.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr int kPanelWidth = 420, kPanelHeight = 340, kLeastWidth = 660;
constexpr int kTitleHeight = 34, kSubtitleHeight = 22, kLegendRow = 22, kBottom = 8;
constexpr double kSample = 30, kSampleGap = 8, kEntryGap = 24;  // pixels of a legend's line, behind it, behind the text
constexpr double kLetter = 9.2;                                 // pixels of a letter of the legend
constexpr double kLetterShare = 0.72, kSmallestFont = 7;        // a letter's width in sizes of its font
constexpr double kTitleFont = 16, kSubtitleFont = 12, kPanelFont = 13;
constexpr int kMostTicks = 6;
constexpr double kTickRoom = 0.075;  // of the axis, between two labels
constexpr double kTickLetter = 0.027,
                 kTickGap = 0.02;  // of a horizontal axis: a letter of a label, between two of them
constexpr double kMargin = 0.05;   // of the axis, around the data

// Colours that people with colour-blindness can tell apart (Okabe and Ito), the yellow left out as too faint, and with
// each a shape: gnuplot's numbers of the filled and of the hollow one.
struct Look {
  const char* color;
  int filled, hollow;
};
constexpr std::array<Look, 7> kLooks = {Look{"#0072B2", 7, 6},   Look{"#D55E00", 5, 4}, Look{"#009E73", 9, 8},
                                        Look{"#CC79A7", 13, 12}, Look{"#000000", 2, 1}, Look{"#E69F00", 11, 10},
                                        Look{"#56B4E9", 15, 14}};
constexpr char kGrey[] = "#808080";

// gnuplot's double-quoted text with every character that could mean something in a script as an octal escape. Single
// quotes would not do: gnuplot ends them at the first quote of a text that begins with one, doubled or not. Control
// characters are dropped.
std::string QuotedText(const std::string& text) {
  constexpr std::string_view kPlain = " _.,:;+=()/-";
  std::string quoted = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) continue;
    if (byte >= 0x80 || std::isalnum(byte) != 0 || kPlain.find(c) != std::string_view::npos) {
      quoted += c;
    } else {
      quoted += '\\';
      for (const int shift : {6, 3, 0}) quoted += static_cast<char>('0' + (byte >> shift & 7));
    }
  }
  return quoted + "\"";
}

size_t Letters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// " font ',N'": the wanted size, or a smaller one with which the text fits into a width in pixels.
std::string FontFor(const std::string& text, double wanted, double width) {
  const double needed = kLetterShare * wanted * static_cast<double>(Letters(text));
  const double size = needed <= width ? wanted : std::max(kSmallestFont, std::floor(wanted * width / needed));
  return StrCat(" font ',", size, "'");
}

// ---- layout

struct Place {
  int row = 0, column = 0;
};
struct Layout {
  int columns = 1, rows = 1;
  std::vector<Place> places;          // of the panels
  std::vector<const Series*> legend;  // every title once
  int legend_columns = 1, legend_rows = 0;
  double entry = 0;  // width of one, in pixels
  Size size;
  int header = 0;  // height above the panels
};

int ColumnsFor(size_t panels) {
  if (panels <= 1) return 1;
  return panels == 2 || panels == 4 ? 2 : 3;
}

void PlacePanels(const Chart& chart, Layout& layout) {
  size_t block = 0, largest = 0;
  for (const Panel& panel : chart.panels) {
    block = panel.new_row ? 1 : block + 1;
    largest = std::max(largest, block);
  }
  layout.columns = ColumnsFor(largest);
  Place next;
  for (const Panel& panel : chart.panels) {
    if (next.column == layout.columns || (panel.new_row && next.column > 0)) next = {next.row + 1, 0};
    layout.places.push_back(next);
    ++next.column;
  }
  layout.rows = next.row + 1;
}

void PlaceLegend(const Chart& chart, Layout& layout) {
  std::set<std::string> known;
  size_t longest = 0;
  for (const Panel& panel : chart.panels) {
    for (const Series& series : panel.series) {
      if (series.title.empty() || !known.insert(series.title).second) continue;
      layout.legend.push_back(&series);
      longest = std::max(longest, Letters(series.title));
    }
  }
  layout.entry = kSample + kSampleGap + kEntryGap + kLetter * static_cast<double>(longest);
  const int entries = static_cast<int>(layout.legend.size());
  layout.legend_columns = std::clamp(static_cast<int>(layout.size.width / layout.entry), 1, std::max(1, entries));
  layout.legend_rows = (entries + layout.legend_columns - 1) / layout.legend_columns;
}

Layout MakeLayout(const Chart& chart) {
  Layout layout;
  PlacePanels(chart, layout);
  layout.size.width = std::max(kLeastWidth, layout.columns * kPanelWidth);
  PlaceLegend(chart, layout);
  layout.header = kTitleHeight + (chart.subtitle.empty() ? 0 : kSubtitleHeight) + layout.legend_rows * kLegendRow;
  layout.size.height = layout.header + layout.rows * kPanelHeight + kBottom;
  return layout;
}

// ---- axes

bool Logarithmic(const Axis& axis) {
  return axis.scale != Axis::Scale::kLinear;
}

struct Range {
  double from = 0, to = 1;
  double Share(double value, bool logarithmic) const {
    return logarithmic ? std::log(value / from) / std::log(to / from) : (value - from) / (to - from);
  }
};

// Around the values, with a margin.
Range RangeOf(const Axis& axis, const std::vector<double>& values) {
  const bool logarithmic = Logarithmic(axis);
  double least = INFINITY, most = -INFINITY;
  for (double value : values) {
    if (!std::isfinite(value) || (logarithmic && value <= 0)) continue;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  if (least > most) return logarithmic ? Range{1, 10} : Range{0, 1};
  if (logarithmic) {
    const double ratio = most > least ? std::pow(most / least, kMargin) : 1.5;
    return {least / ratio, most * ratio};
  }
  const double from = axis.from.value_or(least);
  const double room = std::max(most - from, 0.0) * kMargin;
  const double gap = room > 0 ? room : std::max(1e-9, std::abs(most) * kMargin);
  return {axis.from ? std::min(from, least) : least - gap, most + gap};
}

// Decimals of a tick below 1 until its first digit that is not 0.
size_t DecimalsOf(double value) {
  return static_cast<size_t>(std::ceil(-std::log10(value) - 1e-9));
}

// 100 in place of the shorter 1e+02, 0.0001 in place of 1e-04.
std::string TickText(double value) {
  const auto whole = static_cast<int64_t>(value);
  if (std::abs(value) < 1e7 && static_cast<double>(whole) == value) return StrCat(whole);
  return value >= 1e-6 && value < 1e-3 ? absl::StrFormat("%.6f", value).substr(0, 2 + DecimalsOf(value))
                                       : StrCat(value);
}

// Multiples of 1, 2 or 5 times a power of ten, as many as have room side by side.
std::vector<double> EvenTicks(const Range& range) {
  const double least = (range.to - range.from) / kMostTicks, decade = std::pow(10, std::floor(std::log10(least)));
  double step = 10 * decade;
  for (double factor : {5.0, 2.0, 1.0}) {
    if (factor * decade >= least) step = factor * decade;
  }
  std::vector<double> values;
  for (double at = std::ceil(range.from / step); at * step <= range.to; ++at) {
    values.push_back(step < 1 ? std::round(at) / std::round(1 / step) : at * step);  // no 0.30000000000000004
  }
  return values;
}

// Even ones in a narrow range; 1, 1.5, 2, 3, … inside a decade, 1, 2, 5, 10, 20, … inside three; powers of ten in a
// wider range.
std::vector<double> DecadeTicks(const Range& range) {
  if (range.to / range.from < 3) return EvenTicks(range);
  std::vector<double> steps = {1};
  if (range.to / range.from < 10) {
    steps = {1, 1.5, 2, 3, 4, 5, 6, 8};
  } else if (range.to / range.from < 1000) {
    steps = {1, 2, 5};
  }
  std::vector<double> values;
  for (double decade = std::pow(10, std::floor(std::log10(range.from))); decade <= range.to; decade *= 10) {
    for (double step : steps) values.push_back(step * decade);
  }
  return values;
}

void AppendTicks(std::string& script, char name, const Axis& axis, const Range& range) {
  StrAppend(&script, "set ", name, "tics nomirror out ");
  std::vector<double> values = axis.ticks;
  if (values.empty() && axis.scale == Axis::Scale::kLog10) values = DecadeTicks(range);
  if (values.empty() && axis.scale == Axis::Scale::kLinear && name == 'x') values = EvenTicks(range);
  if (values.empty()) {
    script += "autofreq\n";
    return;
  }
  std::sort(values.begin(), values.end());
  std::string list;
  double last = -INFINITY, last_half = 0;
  for (double value : values) {
    if (Logarithmic(axis) && value <= 0) continue;
    const double share = range.Share(value, Logarithmic(axis));
    const std::string text = TickText(value);
    const double half = name == 'x' ? kTickLetter * static_cast<double>(Letters(text)) / 2 : 0;
    const double room = std::max(kTickRoom, last_half + half + kTickGap);
    if (!std::isfinite(share) || share < 0 || share > 1 || share - last < room) continue;
    last = share;
    last_half = half;
    StrAppend(&list, list.empty() ? "" : ", ", "'", text, "' ", value);
  }
  StrAppend(&script, "(", list, ")\n");
}

void AppendAxis(std::string& script, char name, const Axis& axis, const Range& range) {
  StrAppend(&script, "set ", name, "label ", QuotedText(axis.label), " noenhanced\n");
  if (Logarithmic(axis)) {
    StrAppend(&script, "set logscale ", name, axis.scale == Axis::Scale::kLog2 ? " 2" : " 10", "\n");
  } else {
    StrAppend(&script, "unset logscale ", name, "\n");
  }
  StrAppend(&script, "set ", name, "range [", range.from, ":", range.to, "]\n");
  AppendTicks(script, name, axis, range);
}

// ---- series

struct Paint {
  std::string color;
  int shape = 7, dash = 1;
  double width = 2;
};

Paint PaintOf(const Series& series) {
  if (series.style < 0) return {kGrey, 0, 1 - series.style, 1.2};  // gnuplot's dash types 2 to 5
  const size_t looks = kLooks.size(), style = static_cast<size_t>(series.style);
  const Look& look = kLooks[style % looks];
  const bool hollow = series.open != (style / looks % 2 == 1);  // the second round of colours has hollow shapes
  return {look.color, hollow ? look.hollow : look.filled, series.open || style >= looks ? 2 : 1, 2};
}

std::string LineStyle(const Paint& paint) {
  return StrCat("lw ", paint.width, " dt ", paint.dash, " lc rgb '", paint.color, "'");
}
std::string PointStyle(const Paint& paint) {
  return StrCat("pt ", paint.shape, " ps 0.75 lw 1.4 lc rgb '", paint.color, "'");
}

bool Drawn(const ChartPoint& point, const Panel& panel) {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!Logarithmic(panel.x) || point.x > 0) &&
         (!Logarithmic(panel.y) || point.y > 0);
}

bool HasBar(const ChartPoint& point) {
  return std::isfinite(point.low) && std::isfinite(point.high);
}

// `x y low high`, one line per point, in the block `$name`; false if there is none to draw.
bool AppendPoints(std::string& script, const Panel& panel, const Series& series, const Range& y,
                  const std::string& name) {
  std::string lines;
  for (const ChartPoint& point : series.points) {
    if (!Drawn(point, panel)) continue;
    const double low = HasBar(point) ? point.low : point.y, high = HasBar(point) ? point.high : point.y;
    // A bar that reaches 0 or less ends at the edge of a logarithmic axis.
    StrAppend(&lines, point.x, " ", point.y, " ", Logarithmic(panel.y) ? std::max(low, y.from) : low, " ", high, "\n");
  }
  if (lines.empty()) return false;
  StrAppend(&script, "$", name, " << EOD\n", lines, "EOD\n");
  return true;
}

std::vector<std::string> PlotsOf(const Series& series, const std::string& name) {
  const Paint paint = PaintOf(series);
  const bool bars = std::any_of(series.points.begin(), series.points.end(), HasBar);
  std::vector<std::string> plots;
  switch (series.mark) {
    case Mark::kBand:
      plots.push_back(StrCat("$", name, " using 1:3:4 with filledcurves fs transparent solid 0.2 noborder lc rgb '",
                             paint.color, "'"));
      break;
    case Mark::kLine:
      plots.push_back(StrCat("$", name, " using 1:2 with lines ", LineStyle(paint)));
      break;
    case Mark::kLinePoints:
      plots.push_back(StrCat("$", name, " using 1:2 with lines ", LineStyle(paint)));
      [[fallthrough]];
    case Mark::kPoints:
      plots.push_back(
          StrCat("$", name, bars ? " using 1:2:3:4 with yerrorbars " : " using 1:2 with points ", PointStyle(paint)));
      break;
  }
  return plots;
}

std::string PanelScript(const Panel& panel, size_t index) {
  std::vector<double> xs, ys;
  for (const Series& series : panel.series) {
    for (const ChartPoint& point : series.points) {
      if (!Drawn(point, panel)) continue;
      xs.push_back(point.x);
      ys.push_back(point.y);
      if (HasBar(point)) ys.insert(ys.end(), {std::max(point.low, panel.y.from.value_or(point.low)), point.high});
    }
  }
  const Range x = RangeOf(panel.x, xs), y = RangeOf(panel.y, ys);
  std::string script, data;
  std::vector<std::string> plots;
  for (size_t s = 0; s < panel.series.size(); ++s) {
    const std::string name = StrCat("p", index, "_", s);
    if (!AppendPoints(data, panel, panel.series[s], y, name)) continue;
    for (std::string& plot : PlotsOf(panel.series[s], name)) plots.push_back(StrCat(plot, " notitle"));
  }
  StrAppend(&script, data, "set title ", QuotedText(panel.title), " noenhanced",
            FontFor(panel.title, kPanelFont, kPanelWidth - 70), "\n");
  AppendAxis(script, 'x', panel.x, x);
  AppendAxis(script, 'y', panel.y, y);
  StrAppend(&script, "plot ", plots.empty() ? "NaN notitle" : StrJoin(plots, ", \\\n  "), "\n");
  return script;
}

// What shows a series in the legend, drawn like the series itself.
std::string SampleOf(const Series& series, const std::string& name) {
  const Paint paint = PaintOf(series);
  const std::string line = StrCat("$", name, " using 1:2 with lines ", LineStyle(paint), " notitle");
  const std::string point = StrCat("$", name, " using 3:2 every ::0::0 with points ", PointStyle(paint), " notitle");
  switch (series.mark) {
    case Mark::kBand:
      return StrCat("$", name, " using 1:4:5 with filledcurves fs transparent solid 0.2 noborder lc rgb '", paint.color,
                    "' notitle");
    case Mark::kLine:
      return line;
    case Mark::kPoints:
      return point;
    case Mark::kLinePoints:
      return StrCat(line, ", \\\n  ", point);
  }
  return "";
}

// A plot of its own above the panels, in pixels: samples as data, titles as labels.
std::string LegendScript(const Chart& chart, const Layout& layout) {
  const double height = layout.size.height, width = layout.size.width;
  const int legend = std::max(4, layout.legend_rows * kLegendRow);
  const auto at = [&](double pixels) { return 1 - pixels / height; };
  std::string labels = StrCat("set label 1 ", QuotedText(chart.title), " at screen 0.5, ", at(0.55 * kTitleHeight),
                              " center noenhanced", FontFor(chart.title, kTitleFont, width - 20), "\n");
  if (!chart.subtitle.empty()) {
    StrAppend(&labels, "set label 2 ", QuotedText(chart.subtitle), " at screen 0.5, ",
              at(kTitleHeight + 0.35 * kSubtitleHeight), " center noenhanced",
              FontFor(chart.subtitle, kSubtitleFont, width - 20), " tc rgb '#404040'\n");
  }
  std::string data;
  std::vector<std::string> plots;
  const double left = (width - layout.legend_columns * layout.entry + kEntryGap) / 2;
  for (size_t i = 0; i < layout.legend.size(); ++i) {
    const int column = static_cast<int>(i) % layout.legend_columns, row = static_cast<int>(i) / layout.legend_columns;
    const double x = left + column * layout.entry, y = legend - (row + 0.5) * kLegendRow;
    const std::string name = StrCat("legend", i), band = StrCat(" ", y - 5, " ", y + 5, "\n");
    StrAppend(&data, "$", name, " << EOD\n", x, " ", y, " ", x + kSample / 2, band, x + kSample, " ", y, " ",
              x + kSample / 2, band, "EOD\n");
    StrAppend(&labels, "set label ", i + 3, " ", QuotedText(layout.legend[i]->title), " at first ",
              x + kSample + kSampleGap, ", first ", y, " left noenhanced\n");
    plots.push_back(SampleOf(*layout.legend[i], name));
  }
  return StrCat(data, labels, "set origin 0, ", at(layout.header), "\nset size 1, ", legend / height,
                "\nset lmargin 0\nset rmargin 0\nset tmargin 0\nset bmargin 0\nunset border\nunset tics\nunset key\n",
                "plot [0:", width, "] [0:", legend, "] ", plots.empty() ? "NaN notitle" : StrJoin(plots, ", \\\n  "),
                "\n", "unset label\nunset lmargin\nunset rmargin\nunset tmargin\nunset bmargin\n",
                "set border 3 lc rgb '#606060'\nset grid lc rgb '#E0E0E0' lt 1 lw 0.6\n");
}

}  // namespace

Size ChartSize(const Chart& chart) {
  return MakeLayout(chart).size;
}

std::string GnuplotScript(const Chart& chart, Format format, const std::string& out) {
  const Layout layout = MakeLayout(chart);
  const Size size = layout.size;
  std::string script;
  if (format == Format::kSvg) {
    StrAppend(&script, "set terminal svg size ", size.width, ",", size.height,
              " font 'sans-serif,13' background rgb 'white'\n");
  } else {
    StrAppend(&script, "set terminal pngcairo size ", 2 * size.width, ",", 2 * size.height,
              " font 'sans-serif,13' fontscale 2 linewidth 2 pointscale 2 background rgb 'white'\n");
  }
  StrAppend(&script, "set encoding utf8\nset decimalsign '.'\nset errorbars small\nset output ", QuotedText(out),
            "\nset multiplot\n", LegendScript(chart, layout));
  const double height = size.height;
  for (size_t i = 0; i < chart.panels.size(); ++i) {
    const Place& place = layout.places[i];
    const double top = layout.header + place.row * kPanelHeight;
    StrAppend(&script, "set origin ", place.column / static_cast<double>(layout.columns), ", ",
              1 - (top + kPanelHeight) / height, "\nset size ", 1.0 / layout.columns, ", ", kPanelHeight / height, "\n",
              PanelScript(chart.panels[i], i));
  }
  script += "unset multiplot\nunset output\n";
  return script;
}

}  // namespace capsweep::figures
