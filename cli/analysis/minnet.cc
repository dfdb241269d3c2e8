// The least network that memorizes a library, among those a sweep tried.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "cli/analysis/analysis.h"
#include "cli/console.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSmallLoss = 0.01;  // the rule of Kajitsuka and Sato
constexpr double kAlike = 0.25;
constexpr size_t kFewestSizes = 3;  // with a network, for a slope

LeastNetwork LeastOf(const std::vector<const ResultRow*>& rows) {
  LeastNetwork least;
  least.family = rows[0]->family;
  least.seq_len = rows[0]->seq_len;
  least.dataset_size = rows[0]->dataset_size;
  least.trials = static_cast<int>(rows.size());
  for (const ResultRow* row : rows) {
    if (row->items_mem == row->dataset_size && (least.params == 0 || row->params_total < least.params)) {
      least.params = row->params_total;
      least.layers = row->layers;
      least.width = row->width;
      least.lr = row->lr;
      least.warmup = row->warmup;
    }
    if (row->train_loss < kSmallLoss && (least.params_by_loss == 0 || row->params_total < least.params_by_loss)) {
      least.params_by_loss = row->params_total;
    }
  }
  for (const ResultRow* row : rows) {
    if (least.params == 0 || row->params_total < least.params) {
      least.largest_failed = std::max(least.largest_failed, row->params_total);
    }
  }
  return least;
}

std::string CountText(int64_t value, const char* none) {
  return value > 0 ? FormatCount(value) : none;
}

std::string LawSentence(const MinnetAnalysis::Law& law) {
  if (!law.law.ok()) return StrCat(law.family, ": no slope: ", law.law.status().message(), ".");
  std::string text =
      StrCat(law.family, ": P_min ~ D^", FormatNumber(law.law->exponent, 3), " (95 % ", FormatNumber(law.law->low, 3),
             " to ", FormatNumber(law.law->high, 3), ", ", law.law->pairs, " pairs). ");
  std::vector<std::string> curves;
  for (const ecm::Overlay& overlay : law.overlays) {
    const double behind = overlay.aicc - law.overlays[0].aicc;
    curves.push_back(StrCat(FormatNumber(overlay.factor, 3), " ", overlay.name, " (",
                            std::isfinite(behind) ? FormatNumber(behind, 3) : "0", ")"));
  }
  if (std::isfinite(law.overlays[0].aicc)) {
    StrAppend(&text, "By AICc, difference to the best in brackets: ", StrJoin(curves, ", "), ".");
  } else {
    StrAppend(&text, "Too few pairs to order the curves of theory.");
  }
  return text;
}

std::string LengthSentence(const MinnetAnalysis::Length& length) {
  const LeastNetwork &least = length.least, &shortest = length.shortest;
  return StrCat(least.family, ", ", FormatCount(least.dataset_size), " items: at seq_len ", least.seq_len, " ",
                FormatCount(least.params), " parameters (", least.layers, " layers), at seq_len ", shortest.seq_len,
                " ", FormatCount(shortest.params), " (", shortest.layers, "): ", length.alike ? "alike" : "not alike",
                " (within one block or 25 %).");
}

// Of every family and library size with networks at several lengths.
std::vector<MinnetAnalysis::Length> CompareLengths(const std::vector<LeastNetwork>& networks) {
  std::map<std::pair<std::string, int64_t>, std::vector<const LeastNetwork*>> tasks;
  for (const LeastNetwork& n : networks) {
    if (n.params > 0) tasks[{n.family, n.dataset_size}].push_back(&n);  // ascending by seq_len
  }
  std::vector<MinnetAnalysis::Length> lengths;
  for (const auto& [task, members] : tasks) {
    if (members.size() < 2) continue;
    const LeastNetwork& shortest = *members[0];
    for (const LeastNetwork* n : members) {
      const bool blocks = n->width == shortest.width && std::abs(n->layers - shortest.layers) <= 1;
      const double ratio = static_cast<double>(n->params) / static_cast<double>(shortest.params);
      lengths.push_back({*n, shortest, blocks || std::abs(ratio - 1) <= kAlike});
    }
  }
  return lengths;
}

}  // namespace

MinnetAnalysis AnalyzeMinnet(const std::vector<ResultRow>& rows) {
  std::map<std::tuple<std::string, int64_t, int64_t>, std::vector<const ResultRow*>> tasks;
  for (const ResultRow& row : rows) tasks[{row.family, row.seq_len, row.dataset_size}].push_back(&row);
  MinnetAnalysis analysis;
  for (const auto& [task, members] : tasks) analysis.networks.push_back(LeastOf(members));
  std::vector<std::string> families;
  for (const LeastNetwork& network : analysis.networks) {
    if (families.empty() || families.back() != network.family) families.push_back(network.family);
  }
  for (const std::string& family : families) {
    std::vector<double> items, tokens, parameters;
    for (const LeastNetwork& network : analysis.networks) {
      if (network.family != family || network.params == 0 || network.dataset_size < 2) continue;
      items.push_back(static_cast<double>(network.dataset_size));
      tokens.push_back(static_cast<double>(network.seq_len));
      parameters.push_back(static_cast<double>(network.params));
    }
    MinnetAnalysis::Law law{family, absl::UnknownError(""), {}};
    const size_t sizes = std::set<double>(items.begin(), items.end()).size();
    law.law = sizes < kFewestSizes
                  ? absl::InvalidArgumentError(StrCat("three library sizes or more are needed, there are ", sizes))
                  : ecm::FitPowerLaw(items, parameters);
    if (law.law.ok()) law.overlays = ecm::FitOverlays(items, tokens, parameters);
    analysis.laws.push_back(std::move(law));
  }
  analysis.lengths = CompareLengths(analysis.networks);
  return analysis;
}

AnalysisView MinnetView(const MinnetAnalysis& analysis) {
  AnalysisView view{.header = {"family", "seq_len", "items", "least params", "layers", "width", "by loss < 0.01",
                               "largest that failed", "runs"}};
  for (const LeastNetwork& n : analysis.networks) {
    view.rows.push_back({n.family, StrCat(n.seq_len), FormatCount(n.dataset_size), CountText(n.params, "none"),
                         n.params > 0 ? StrCat(n.layers) : "", n.params > 0 ? StrCat(n.width) : "",
                         CountText(n.params_by_loss, "none"), CountText(n.largest_failed, "-"), StrCat(n.trials)});
  }
  for (const auto& law : analysis.laws) view.findings.push_back(LawSentence(law));
  for (const auto& length : analysis.lengths) {
    if (length.least.seq_len != length.shortest.seq_len) view.findings.push_back(LengthSentence(length));
  }
  view.notes.emplace_back(
      "least params: of the smallest network that memorized every item in some trial, among those tried.");
  view.notes.emplace_back(
      "Theory leaves the factor of these curves open: a larger network found by training contradicts none of them.");
  return view;
}

std::string MinnetText(const MinnetAnalysis& analysis) {
  return ViewText(MinnetView(analysis));
}

std::string MinnetJson(const MinnetAnalysis& analysis) {
  Json out = {{"networks", Json::array()}, {"laws", Json::array()}, {"lengths", Json::array()}};
  for (const LeastNetwork& n : analysis.networks) {
    out["networks"].push_back({{"family", n.family},
                               {"seq_len", n.seq_len},
                               {"dataset_size", n.dataset_size},
                               {"params", n.params > 0 ? Json(n.params) : Json(nullptr)},
                               {"params_by_loss", n.params_by_loss > 0 ? Json(n.params_by_loss) : Json(nullptr)},
                               {"largest_failed", n.largest_failed > 0 ? Json(n.largest_failed) : Json(nullptr)},
                               {"layers", n.layers},
                               {"width", n.width},
                               {"lr", n.lr},
                               {"warmup", n.warmup},
                               {"runs", n.trials}});
  }
  for (const auto& law : analysis.laws) {
    Json entry = {{"family", law.family}, {"exponent", nullptr}, {"overlays", Json::array()}};
    if (law.law.ok()) {
      entry["exponent"] = law.law->exponent;
      entry["exponent_interval"] = {law.law->low, law.law->high};
    }
    for (const ecm::Overlay& o : law.overlays) {
      entry["overlays"].push_back({{"curve", o.name}, {"factor", o.factor}, {"aicc", o.aicc}});
    }
    out["laws"].push_back(std::move(entry));
  }
  for (const auto& length : analysis.lengths) {
    out["lengths"].push_back({{"family", length.least.family},
                              {"dataset_size", length.least.dataset_size},
                              {"seq_len", length.least.seq_len},
                              {"params", length.least.params},
                              {"shortest_seq_len", length.shortest.seq_len},
                              {"shortest_params", length.shortest.params},
                              {"alike", length.alike}});
  }
  return out.dump(2);
}

}  // namespace capsweep::cli
