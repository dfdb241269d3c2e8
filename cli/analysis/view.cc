// Analyses as text, and which of them a sweep supports.
#include <algorithm>
#include <cmath>
#include <set>

#include "cli/analysis/analysis.h"
#include "cli/table.h"
#include "common/text.h"
#include "ecm/text_table.h"

namespace capsweep::cli {
namespace {

constexpr size_t kLibrariesForBits = 3;  // of one architecture
constexpr size_t kPairsForCapacity = 3;  // of heads and width, in one recipe

bool HasManyLibraries(const std::vector<ResultRow>& rows) {
  std::map<std::string, std::set<int64_t>> sizes;
  for (const ResultRow& row : rows) sizes[row.architecture].insert(row.dataset_size);
  return std::any_of(sizes.begin(), sizes.end(),
                     [](const auto& entry) { return entry.second.size() >= kLibrariesForBits; });
}

}  // namespace

std::string ViewText(const AnalysisView& view) {
  TextTable table(view.header);
  for (const auto& row : view.rows) table.Add(row);
  std::string text = StrCat(table.ToString(), "\n");
  for (const auto& sentences : {view.findings, view.notes}) {
    for (const std::string& sentence : sentences) text += ecm::WrapText(sentence);
  }
  return text;
}

std::vector<Topic> TopicsOf(const std::string& measure, const std::vector<ResultRow>& rows, size_t largest_recipe) {
  if (measure == "minnet") return {Topic::kMinnet};
  if (measure == "adaptive") return {Topic::kAdaptive, Topic::kCapacity};
  std::vector<Topic> topics;
  const bool heldout = std::any_of(rows.begin(), rows.end(), [](const ResultRow& row) {
    return row.mode == "lm" && std::isfinite(row.heldout_loss);
  });
  const bool families =
      std::any_of(rows.begin(), rows.end(), [&](const ResultRow& row) { return row.family != rows[0].family; });
  if (families) topics.push_back(Topic::kFamilies);
  if (measure == "assoc" || heldout) topics.push_back(Topic::kAssoc);
  if (HasManyLibraries(rows)) topics.push_back(Topic::kBits);
  const bool searched = measure == "mac" || measure == "mls";
  if (topics.empty() || searched || (measure != "assoc" && largest_recipe >= kPairsForCapacity)) {
    topics.insert(topics.begin(), Topic::kCapacity);
  }
  return topics;
}

const char* TopicWord(Topic topic) {
  switch (topic) {
    case Topic::kCapacity:
      return "";
    case Topic::kAdaptive:
      return "adaptive";
    case Topic::kBits:
      return "bits";
    case Topic::kAssoc:
      return "assoc";
    case Topic::kMinnet:
      return "minnet";
    case Topic::kFamilies:
      return "families";
  }
  return "";
}

const char* TopicTitle(Topic topic) {
  switch (topic) {
    case Topic::kCapacity:
      return "Capacity";
    case Topic::kAdaptive:
      return "Prediction by rounds";
    case Topic::kBits:
      return "Bits per parameter";
    case Topic::kAssoc:
      return "Associative memory";
    case Topic::kMinnet:
      return "Least networks";
    case Topic::kFamilies:
      return "Families";
  }
  return "";
}

}  // namespace capsweep::cli
