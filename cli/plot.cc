#include "cli/plot.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>

#include "cli/app.h"
#include "cli/fit_options.h"
#include "cli/source.h"
#include "cli/summary.h"
#include "common/file.h"
#include "common/status.h"
#include "common/subprocess.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr int kPanelWidth = 420, kPanelHeight = 340, kHeaderHeight = 60, kLeastWidth = 640;
constexpr int kCurveSamples = 60;
constexpr Duration kDrawingLimit = std::chrono::seconds(60);

// Colours that people with colour-blindness can tell apart (Okabe and Ito), the yellow left out as too faint.
constexpr std::array<const char*, 7> kColors = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                "#56B4E9", "#E69F00", "#000000"};

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      continue;
    }
    quoted += c;
    if (c == '\'') {
      quoted += c;
    }
  }
  return quoted + "'";
}

struct Panel {
  std::string title;
  double seq_len = 0;
  std::vector<ecm::Row> rows;
  const ecm::GroupFit* fit = nullptr;  // nullptr: nothing was fitted
};

std::vector<Panel> MakePanels(const std::vector<ecm::Group>& groups, const ecm::FitReport& report) {
  std::vector<Panel> panels;
  for (const ecm::Group& group : groups) {
    const ecm::GroupFit* fit = nullptr;
    for (const ecm::GroupFit& candidate : report.groups) {
      if (candidate.group == group.key && candidate.error.empty() && candidate.forms.contains(candidate.best) &&
          candidate.forms.at(candidate.best).skipped.empty()) {
        fit = &candidate;
      }
    }
    std::map<double, std::vector<ecm::Row>> by_length;
    for (const ecm::Row& row : group.rows) {
      by_length[row.seq_len].push_back(row);
    }
    const std::string name = ShortGroupTitle(group.key, groups);
    for (auto& [seq_len, rows] : by_length) {
      panels.push_back(
          {StrCat("sequence length ", seq_len, name.empty() ? "" : "\n", name), seq_len, std::move(rows), fit});
    }
  }
  return panels;
}

std::vector<double> HeadsOf(const std::vector<ecm::Group>& groups) {
  std::set<double> heads;
  for (const ecm::Group& group : groups) {
    for (const ecm::Row& row : group.rows) {
      heads.insert(row.heads);
    }
  }
  return {heads.begin(), heads.end()};
}

// The data blocks of one (panel, heads): points `$p…` and curve `$c…`. False if the panel has no such rows.
bool AppendData(std::string& script, const Panel& panel, double heads, const std::string& name) {
  std::string points;
  double least = INFINITY, most = -INFINITY;
  for (const ecm::Row& row : panel.rows) {
    if (row.heads == heads) {
      StrAppend(&points, row.width, " ", row.capacity, " ", std::max(0.0, row.sd), "\n");
      least = std::min(least, row.width);
      most = std::max(most, row.width);
    }
  }
  if (points.empty()) {
    return false;
  }
  StrAppend(&script, "$p", name, " << EOD\n", points, "EOD\n");
  if (panel.fit != nullptr && most > least) {
    StrAppend(&script, "$c", name, " << EOD\n");
    for (int i = 0; i <= kCurveSamples; ++i) {
      const double width = least + (most - least) * i / kCurveSamples;
      const double capacity =
          ecm::Predict(panel.fit->best, panel.fit->forms.at(panel.fit->best).parameters, heads, width, panel.seq_len);
      StrAppend(&script, width, " ", capacity, "\n");
    }
    StrAppend(&script, "EOD\n");
  }
  return true;
}

std::string PanelCommands(const Panel& panel, const std::vector<double>& heads, size_t index, bool first_column,
                          bool last_row) {
  std::string data, plots;
  for (size_t h = 0; h < heads.size(); ++h) {
    const std::string name = StrCat(index, "_", h);
    const std::string style = StrCat("lc rgb '", kColors[h % kColors.size()], "'");
    if (!AppendData(data, panel, heads[h], name)) {
      continue;
    }
    if (data.find(StrCat("$c", name, " ")) != std::string::npos) {
      StrAppend(&plots, plots.empty() ? "plot " : ", \\\n  ", "$c", name, " using 1:2 with lines lw 2 ", style,
                " notitle");
    }
    StrAppend(&plots, plots.empty() ? "plot " : ", \\\n  ", "$p", name,
              " using 1:2:3 with yerrorbars pt 7 ps 0.7 lw 1.4 ", style, " title '", heads[h],
              heads[h] == 1 ? " head" : " heads", "'");
  }
  std::string commands = data;
  std::string title = panel.title;
  const size_t line_break = title.find('\n');
  if (line_break != std::string::npos) {
    title.replace(line_break, 1, ", ");
  }
  StrAppend(&commands, "set title ", Quoted(title), " noenhanced\n");
  StrAppend(&commands, last_row ? "set xlabel 'width B'\n" : "unset xlabel\n");
  StrAppend(&commands, first_column ? "set ylabel 'capacity C (items)'\n" : "unset ylabel\n");
  StrAppend(&commands, plots, "\n");
  return commands;
}

std::string FindGnuplot() {
  const char* path = std::getenv("PATH");
  std::string folders = path == nullptr ? "/usr/bin:/bin" : path;
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string candidate = StrCat(folders.substr(begin, end - begin), "/gnuplot");
    if (end > begin && access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return "";
}

// Runs gnuplot on a script; what it says on standard error becomes the message.
absl::Status RunGnuplot(const std::string& script, const std::string& scratch) {
  const std::string gnuplot = FindGnuplot();
  if (gnuplot.empty()) {
    return absl::FailedPreconditionError("gnuplot is not installed; install it with `apt-get install gnuplot-nox`");
  }
  const std::string script_path = StrCat(scratch, ".gp"), messages = StrCat(scratch, ".log");
  RETURN_IF_ERROR(WriteFileAtomic(script_path, script));
  SubprocessOptions options;
  options.argv = {gnuplot, "-d", script_path};  // -d: the user's .gnuplot changes nothing
  options.stderr_path = messages;
  absl::Status status;
  if (auto child = Subprocess::Start(options); !child.ok()) {
    status = child.status();
  } else if (const std::optional<int> code = child->Wait(kDrawingLimit); !code.has_value() || *code != 0) {
    const auto said = ReadFile(messages);
    status = absl::InternalError(StrCat("gnuplot ", code.has_value() ? StrCat("ended with ", *code) : "took too long",
                                        said.ok() && !said->empty() ? StrCat(": ", *said) : ""));
  }
  std::error_code ignored;
  std::filesystem::remove(script_path, ignored);
  std::filesystem::remove(messages, ignored);
  return status;
}

}  // namespace

absl::StatusOr<PlotFormat> PlotFormatFor(const std::string& path) {
  if (path.ends_with(".svg")) return PlotFormat::kSvg;
  if (path.ends_with(".png")) return PlotFormat::kPng;
  return absl::InvalidArgumentError(StrCat("plot file '", path, "': the name must end in .svg or .png"));
}

std::string CapacityPlotScript(const std::string& title, const std::vector<ecm::Group>& groups,
                               const ecm::FitReport& report, PlotFormat format, const std::string& out) {
  const std::vector<Panel> panels = MakePanels(groups, report);
  const std::vector<double> heads = HeadsOf(groups);
  const size_t columns = std::min<size_t>(panels.size(), panels.size() <= 4 && panels.size() != 3 ? 2 : 3);
  const size_t rows = columns == 0 ? 1 : (panels.size() + columns - 1) / columns;
  const int width = std::max(kLeastWidth, static_cast<int>(columns) * kPanelWidth);
  const int height = static_cast<int>(rows) * kPanelHeight + kHeaderHeight;
  const bool fitted =
      std::any_of(panels.begin(), panels.end(), [](const Panel& panel) { return panel.fit != nullptr; });
  std::string script;
  if (format == PlotFormat::kSvg) {
    StrAppend(&script, "set terminal svg size ", width, ",", height, " font 'sans-serif,13' background rgb 'white'\n");
  } else {
    StrAppend(&script, "set terminal pngcairo size ", 2 * width, ",", 2 * height,
              " font 'sans-serif,13' fontscale 2 linewidth 2 pointscale 2 background rgb 'white'\n");
  }
  StrAppend(
      &script, "set output ", Quoted(out), "\n",
      "set border 3 lc rgb '#606060'\nset tics nomirror out\nset grid lc rgb '#E0E0E0' lt 1 lw 0.6\n"
      "set key left top reverse Left samplen 1.5 spacing 1.05\nset offsets graph 0.05, graph 0.05, graph 0.08, 0\n"
      "set yrange [0:*]\nset decimalsign '.'\n",
      "set multiplot layout ", rows, ",", std::max<size_t>(1, columns), " title ",
      Quoted(StrCat(title, fitted ? " (mean ± SD over seeds; lines: best fit)" : " (mean ± SD over seeds)")),
      " noenhanced font ',16'\n");
  for (size_t i = 0; i < panels.size(); ++i) {
    script += PanelCommands(panels[i], heads, i, i % columns == 0, i + columns >= panels.size());
  }
  script += "unset multiplot\nunset output\n";
  return script;
}

absl::Status DrawCapacityPlot(const std::string& title, const std::vector<ecm::Group>& groups,
                              const ecm::FitReport& report, const std::string& path) {
  ASSIGN_OR_RETURN(const PlotFormat format, PlotFormatFor(path));
  if (std::all_of(groups.begin(), groups.end(), [](const ecm::Group& group) { return group.rows.empty(); })) {
    return absl::FailedPreconditionError("there is no capacity to plot yet");
  }
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(path, error).string();
  if (error) {
    return FromErrno(error.value(), StrCat("find the folder of ", path));
  }
  const std::string part = StrCat(absolute, ".", getpid(), ".part");
  absl::Status status = RunGnuplot(CapacityPlotScript(title, groups, report, format, part), part);
  if (status.ok() && std::rename(part.c_str(), absolute.c_str()) != 0) {
    status = FromErrno(errno, StrCat("rename ", part, " to ", absolute));
  }
  std::filesystem::remove(part, error);
  return status;
}

void AddPlotVerb(Verbs& verbs) {
  struct Options {
    SourceOptions source;
    FitOptions fit;
    std::string sweep, kind = "capacity", out;
  };
  auto options = std::make_shared<Options>();
  options->fit.bootstrap = 0;  // the curve alone needs no intervals
  CLI::App* verb =
      verbs.Add("plot", "Draw a sweep (needs gnuplot)", "capsweep plot quickstart --kind capacity --out capacity.svg");
  verb->add_option("sweep", options->sweep, "The sweep's name")->required()->type_name("SWEEP");
  verb->add_option("--kind", options->kind, "capacity: capacity over width with the fitted curves")
      ->check(CLI::IsMember({"capacity"}))
      ->capture_default_str()
      ->type_name("KIND");
  verb->add_option("--out", options->out, "Picture to write; ends in .svg or .png")->required()->type_name("FILE");
  AddFitOptions(*verb, options->fit);
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) -> absl::StatusOr<int> {
    RETURN_IF_ERROR(PlotFormatFor(options->out).status());
    ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(options->fit));
    ASSIGN_OR_RETURN(const auto source, OpenSource(options->source));
    ASSIGN_OR_RETURN(const auto groups, ReadGroups(*source, options->sweep, options->fit.capacity));
    const ecm::FitReport report = ecm::FitGroups(groups, settings);
    RETURN_IF_ERROR(DrawCapacityPlot(StrCat("Capacity of sweep ", options->sweep), groups, report, options->out));
    console.out << "wrote " << options->out << "\n";
    return kExitOk;
  });
}

}  // namespace capsweep::cli
