#include "cli/report_page.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "absl/strings/str_format.h"
#include "cli/console.h"
#include "cli/figures/group_title.h"
#include "cli/html.h"
#include "cli/report_fit.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr size_t kMostFindings = 12;       // of an analysis
constexpr double kMultiples = 20;          // a multiple of the smallest budget is told to a twentieth
constexpr size_t kMostCapacityRows = 400;  // of a group's table

bool HasTopic(const figures::FigureData& data, Topic topic) {
  return std::find(data.topics.begin(), data.topics.end(), topic) != data.topics.end();
}

// The analysis of a topic as a table and sentences; nothing where it was not read.
std::optional<AnalysisView> ViewOf(const figures::FigureData& data, Topic topic) {
  if (topic == Topic::kBits && data.bits) return BitsView(*data.bits);
  if (topic == Topic::kAssoc && data.assoc) return AssocView(*data.assoc);
  if (topic == Topic::kMinnet && data.minnet) return MinnetView(*data.minnet);
  if (topic == Topic::kFamilies && data.families) return FamiliesView(*data.families);
  if (topic == Topic::kAdaptive && data.adaptive) return AdaptiveView(*data.adaptive);
  return std::nullopt;
}

// A table and how to read it; what was found stands in the short section.
std::string AnalysisSection(const AnalysisView& view, Topic topic) {
  std::string out = HtmlHeading(2, TopicTitle(topic));
  out += HtmlTable(view.header, view.rows);
  for (const std::string& note : view.notes) out += HtmlParagraph(note);
  return out;
}

std::string ProgressWords(const ReportFacts& facts) {
  const store::SweepProgress& progress = facts.progress;
  std::string text =
      StrCat("This sweep is ", progress.state, progress.reason.empty() ? "" : StrCat(" (", progress.reason, ")"), ": ",
             FormatCount(progress.done), " of ", FormatCount(progress.points), " points are measured");
  if (progress.failed > 0) StrAppend(&text, ", ", FormatCount(progress.failed), " failed");
  return text + ".";
}

std::string FactsTable(const ReportFacts& facts, const figures::FigureData& data) {
  std::set<std::tuple<int64_t, int64_t, int64_t>> architectures;
  for (const ecm::Measurement& m : data.measurements) architectures.insert({m.heads, m.width, m.seq_len});
  std::vector<std::pair<std::string, std::string>> pairs = {
      {"points", StrCat(FormatCount(facts.progress.points), " asked for, ", FormatCount(facts.progress.done),
                        " measured, ", FormatCount(facts.progress.failed), " failed, ",
                        FormatCount(facts.progress.pending + facts.progress.running), " to come")},
      {"seeds", StrCat(facts.seeds)},
      {"measure", facts.measure},
      {"runs that ended with their budget", StrCat(FormatCount(facts.by_budget), " of ", FormatCount(facts.results))},
      {"time of training", FormatDuration(facts.training_seconds)},
      {"results", StrCat("from ", facts.first_result, " to ", facts.last_result)},
      {"read from", facts.source}};
  if (HasTopic(data, Topic::kCapacity)) {
    std::string text =
        StrCat(FormatCount(static_cast<int64_t>(architectures.size())), " of heads, width and sequence length, in ",
               data.groups.size(), data.groups.size() == 1 ? " recipe" : " recipes");
    if (data.repeated_recipes > 0) {
      StrAppend(&text, "; ", data.repeated_recipes, " more repeat some of them with another batch size");
    }
    pairs.insert(pairs.begin() + 1, {"architectures", text});
  }
  return HtmlPairs(pairs);
}

std::string DevicesTable(const ReportFacts& facts) {
  std::vector<std::vector<std::string>> rows;
  for (const ReportFacts::Device& device : facts.devices) {
    rows.push_back({device.name, device.kind, device.host, device.backend, device.version, FormatCount(device.points),
                    FormatDuration(device.seconds)});
  }
  return HtmlTable({"device", "kind", "host", "back end", "version", "points", "time"}, rows);
}

std::string CapacityCell(const ecm::Row& row) {
  const int decimals = row.capacity < 100 ? 1 : 0;
  std::string text = absl::StrFormat("%s%.*f", row.censored ? "≥ " : row.at_chance ? "~ " : "", decimals, row.capacity);
  if (row.sd >= 0 && row.repeats > 1) StrAppend(&text, " ± ", absl::StrFormat("%.*f", row.sd < 10 ? 1 : 0, row.sd));
  return text;
}

// A row for each sequence length, number of heads and, where cells have several budgets, multiple of the smallest; a
// column for each width. Budgets follow the size of the model, so that their numbers would differ in every column.
std::string CapacityTable(const ecm::Group& group) {
  using Line = std::tuple<double, double, double>;                // seq_len, heads, multiple
  std::map<std::tuple<double, double, double>, double> smallest;  // budget of a cell
  for (const ecm::Row& row : group.rows) {
    const auto [at, is_new] = smallest.emplace(std::tuple(row.heads, row.width, row.seq_len), row.budget);
    if (!is_new) at->second = std::min(at->second, row.budget);
  }
  std::map<Line, std::map<double, const ecm::Row*>> lines;
  std::set<double> widths;
  for (const ecm::Row& row : group.rows) {
    const double least = smallest.at({row.heads, row.width, row.seq_len});
    const double multiple = least > 0 ? std::round(kMultiples * row.budget / least) / kMultiples : 1;
    widths.insert(row.width);
    lines[{row.seq_len, row.heads, multiple}][row.width] = &row;
  }
  const bool budgets = smallest.size() < group.rows.size();
  std::vector<std::string> header = {"seq_len", "heads"};
  if (budgets) header.emplace_back("budget");
  for (double width : widths) header.push_back(StrCat("width ", width));
  std::vector<std::vector<std::string>> table;
  for (const auto& [line, cells] : lines) {
    if (table.size() == kMostCapacityRows) break;
    const auto& [seq_len, heads, budget] = line;
    std::vector<std::string>& row = table.emplace_back();
    row = {StrCat(seq_len), StrCat(heads)};
    if (budgets) row.push_back(StrCat(FormatNumber(budget, 4), "×"));
    for (double width : widths) row.push_back(cells.contains(width) ? CapacityCell(*cells.at(width)) : "");
  }
  std::string out = HtmlTable(header, table);
  if (lines.size() > table.size()) {
    out += HtmlParagraph(StrCat("The first ", table.size(), " of ", lines.size(),
                                " lines; `capsweep results SWEEP --cells` shows all."));
  }
  return out;
}

// "seeds 3; library 284 to 7,296 items; …": what differs within a table without having a column.
std::string RangesSentence(const ecm::Group& group) {
  const auto range = [&](double ecm::Row::*field) {
    double least = INFINITY, most = -INFINITY;
    for (const ecm::Row& row : group.rows) {
      least = std::min(least, row.*field);
      most = std::max(most, row.*field);
    }
    const std::string low = FormatCount(static_cast<int64_t>(least)), high = FormatCount(static_cast<int64_t>(most));
    return low == high ? low : StrCat(low, " to ", high);
  };
  int fewest = INT_MAX, most = 0;
  for (const ecm::Row& row : group.rows) {
    fewest = std::min(fewest, row.repeats);
    most = std::max(most, row.repeats);
  }
  if (group.rows.empty()) return "";
  return StrCat("Seeds: ", fewest == most ? StrCat(most) : StrCat(fewest, " to ", most),
                "; library: ", range(&ecm::Row::dataset_size), " items; training: ", range(&ecm::Row::budget_steps),
                " steps; parameters: ", range(&ecm::Row::params_total),
                ", of which trained: ", range(&ecm::Row::params_train), ".");
}

std::string CapacitySection(const figures::FigureData& data) {
  std::string out = HtmlParagraph(
      "Capacity is the number of items memorized beyond guessing, mean ± standard deviation over seeds. “≥”: the "
      "whole library was memorized, the model could hold more. “~”: not distinguishable from guessing.");
  for (const ecm::Group& group : data.groups) {
    const std::string title = GroupTitle(group.key);
    out += HtmlHeading(3, title.empty() ? "all rows" : title);
    out += HtmlParagraph(RangesSentence(group));
    out += CapacityTable(group);
  }
  return out;
}

std::string ShortSection(const ReportFacts& facts, const figures::FigureData& data) {
  std::string out;
  for (const ecm::GroupFit& group : data.fit.groups) {
    const std::string name = ShortGroupTitle(group.group, data.groups);
    if (!name.empty()) out += HtmlHeading(3, name);
    out += HtmlList(FitSentences(group));
  }
  for (const Topic topic : data.topics) {
    const std::optional<AnalysisView> view = ViewOf(data, topic);
    if (!view) continue;
    out += HtmlHeading(3, TopicTitle(topic));
    std::vector<std::string> shown = view->findings;
    if (shown.size() > kMostFindings) {
      shown.resize(kMostFindings);
      shown.push_back(StrCat("The first ", kMostFindings, " of ", view->findings.size(),
                             " sentences; `capsweep analyze` has all."));
    }
    out += HtmlList(shown);
  }
  if (const auto missing = MissingSentences(facts, data); !missing.empty()) {
    out += HtmlHeading(3, "What is missing");
    out += HtmlList(missing);
  }
  return out;
}

std::string FigureSection(const std::vector<ReportFigure>& drawn) {
  std::string out;
  int number = 0;
  for (const ReportFigure& figure : drawn) {
    out += HtmlHeading(3, figure.kind->title);
    if (figure.svg.empty()) {
      StrAppend(&out, "<p class=\"none\">", EscapeHtml(StrCat("Not drawn: ", figure.why_not, ".")), "</p>\n");
      continue;
    }
    ++number;
    StrAppend(&out, "<figure>", EmbedSvg(figure.svg, StrCat("f", number, "_"), figure.kind->title), "<figcaption>\n",
              HtmlParagraph(StrCat("Figure ", number, ": ", figure.kind->shows, ".")));
    for (const std::string& note : figure.notes) out += HtmlParagraph(note);
    out += "</figcaption></figure>\n";
  }
  return out;
}

}  // namespace

std::vector<std::string> MissingSentences(const ReportFacts& facts, const figures::FigureData& data) {
  std::vector<std::string> sentences;
  const int64_t open = facts.progress.pending + facts.progress.running;
  if (open > 0) sentences.push_back(StrCat(FormatCount(open), " points are not measured yet."));
  for (const ReportFacts::Failure& failure : facts.failures) {
    sentences.push_back(
        StrCat(FormatCount(failure.points), failure.points == 1 ? " point" : " points", " failed: ", failure.reason));
  }
  if (!HasTopic(data, Topic::kCapacity)) return sentences;
  size_t rows = 0, censored = 0, at_chance = 0, single = 0;
  bool budgets = false;  // several in one cell
  for (const ecm::Group& group : data.groups) {
    std::set<std::tuple<double, double, double>> cells;
    for (const ecm::Row& row : group.rows) {
      budgets = !cells.insert({row.heads, row.width, row.seq_len}).second || budgets;
      ++rows;
      censored += row.censored ? 1 : 0;
      at_chance += row.at_chance ? 1 : 0;
      single += row.repeats < 2 ? 1 : 0;
    }
  }
  if (single == rows) {
    sentences.emplace_back("Every cell was measured with one seed, so no spread is known.");
  } else if (single > 0) {
    sentences.push_back(StrCat(single, " of ", rows, " cells were measured with one seed."));
  }
  if (censored > 0) {
    sentences.push_back(StrCat(censored, " of ", rows,
                               " cells memorized their whole library: their capacity is a lower bound; use a larger "
                               "dataset_size."));
  }
  if (at_chance > 0) {
    sentences.push_back(StrCat(at_chance, " of ", rows, " cells cannot be told from guessing."));
  }
  if (facts.by_budget > 0 && !budgets) {
    sentences.push_back(StrCat(
        FormatCount(facts.by_budget), " of ", FormatCount(facts.results),
        " runs ended with their budget, and no architecture was trained with a second one: how much more they would "
        "memorize is not known."));
  }
  if (data.libraries.empty() && !data.adaptive) {
    sentences.emplace_back(
        "This sweep measured no MLS, the largest library that is memorized whole: a sweep with `measure: mls` in the "
        "same "
        "database does (sweeps/mls.yaml), and `capsweep report … --mls-from SWEEP` draws it here.");
  }
  return sentences;
}

std::string ReportHtml(const ReportFacts& facts, const figures::FigureData& data,
                       const std::vector<ReportFigure>& drawn) {
  std::string body = HtmlHeading(1, StrCat("Sweep ", data.sweep));
  StrAppend(&body, "<p class=\"lead\">", EscapeHtml(ProgressWords(facts)), "</p>\n");
  body += HtmlHeading(2, "In short");
  body += ShortSection(facts, data);
  body += HtmlHeading(2, "What was swept");
  body += FactsTable(facts, data);
  body += DevicesTable(facts);
  body += HtmlHeading(3, StrCat("The sweep file, ", facts.file_name));
  StrAppend(&body, "<pre>", EscapeHtml(facts.text), "</pre>\n");
  if (HasTopic(data, Topic::kCapacity)) {
    body += HtmlHeading(2, "Capacities");
    body += CapacitySection(data);
    body += HtmlHeading(2, "Fits");
    body += FitSection(data);
  }
  for (const Topic topic : data.topics) {
    if (const auto view = ViewOf(data, topic)) body += AnalysisSection(*view, topic);
  }
  body += HtmlHeading(2, "Figures");
  body += FigureSection(drawn);
  StrAppend(&body, "<footer>", EscapeHtml(StrCat("Made at ", facts.made_at, " by ", facts.made_by, ".")),
            "</footer>\n");
  return HtmlPage(StrCat("Sweep ", data.sweep), body);
}

}  // namespace capsweep::cli
