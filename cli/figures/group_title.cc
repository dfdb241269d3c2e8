#include "cli/figures/group_title.h"

#include <algorithm>

#include "common/text.h"

namespace capsweep::cli {
namespace {

using Key = std::map<std::string, std::string>;

std::string Describe(const std::string& field, const std::string& value) {
  if (field == "freeze_mlp") return value == "true" ? "frozen MLP" : "trained MLP";
  if (field == "family" || field == "mode" || field == "optimizer" || field == "schedule" || field == "backend") {
    return value;
  }
  if (field == "batch_size") return StrCat("batch ", value);
  return StrCat(field, " ", value);
}

std::string Join(const Key& key, const std::vector<std::string>& fields) {
  std::string text;
  for (const std::string& field : fields) {
    if (const auto found = key.find(field); found != key.end() && !found->second.empty()) {
      StrAppend(&text, text.empty() ? "" : ", ", Describe(field, found->second));
    }
  }
  return text;
}

}  // namespace

std::string GroupTitle(const Key& group) {
  return Join(group, {"family", "mode", "lm_targets", "vocab", "layers", "head_dim", "freeze_mlp", "optimizer", "lr",
                      "schedule", "lr_final", "batch_size", "backend"});
}

std::string ShortGroupTitle(const Key& group, const std::vector<ecm::Group>& all) {
  std::vector<std::string> differing;
  for (const auto& entry : group) {
    const std::string& field = entry.first;
    const std::string& value = entry.second;
    const bool differs = std::any_of(all.begin(), all.end(), [&](const ecm::Group& other) {
      const auto found = other.key.find(field);
      return found == other.key.end() || found->second != value;
    });
    if (differs) {
      differing.push_back(field);
    }
  }
  return Join(group, differing);
}

}  // namespace capsweep::cli
