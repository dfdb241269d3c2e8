#include "common/sweep/search.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/sweep/axis.h"
#include "common/sweep/scalars.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr int64_t kMostItems = 100'000'000;
constexpr std::array<std::string_view, 6> kMeasures = {"grid", "mac", "mls", "minnet", "adaptive", "assoc"};
constexpr int64_t kMostBudgetPoints = 10'000'000;
constexpr double kMostBudgetSeconds = 1e9;
constexpr std::array<std::string_view, 2> kPredictors = {"log_quadratic", "softmin"};
constexpr std::array<std::string_view, 3> kKnobs = {"layers", "width", "mlp_width"};

std::vector<std::string_view> NamesOf(std::string_view measure) {
  if (measure == "mac") return {"start", "max_doublings"};
  if (measure == "mls") return {"start", "max_doublings", "restarts", "tolerance", "largest"};
  if (measure == "minnet") return {"knob", "from", "to", "step", "trials", "lr", "warmup"};
  if (measure == "adaptive") {
    return {"target", "design", "budget_points", "budget_seconds", "start", "round", "stop_at", "form"};
  }
  return {};
}

template <class Names>
std::string List(const Names& names) {
  std::string list;
  for (const std::string_view name : names) StrAppend(&list, list.empty() ? "" : ", ", name);
  return list;
}

// The measure that a setting belongs to, "" if to none.
std::string_view OwnerOf(std::string_view setting) {
  for (const std::string_view measure : kMeasures) {
    const auto names = NamesOf(measure);
    if (std::find(names.begin(), names.end(), setting) != names.end()) return measure;
  }
  return "";
}

class SearchReader {
 public:
  SearchReader(SearchSpec& search, Errors& errors) : search_(search), errors_(errors) {}

  void Read(std::string_view name, const YamlNode& node) {
    const std::string field = StrCat("search.", name);
    if (name == "start") {
      ReadCount(field, node, kMostItems, search_.start);
    } else if (name == "max_doublings") {
      ReadCount(field, node, 40, search_.max_doublings);
    } else if (name == "restarts") {
      ReadCount(field, node, 1000, search_.restarts);
    } else if (name == "tolerance") {
      if (const auto value = ReadNumber(field, node, 0, 1)) search_.tolerance = *value;
    } else if (name == "largest") {
      ReadCount(field, node, kMostItems, search_.largest);
    } else if (name == "knob") {
      ReadWord(field, node, kKnobs, "no size to search", search_.knob);
    } else if (name == "form") {
      ReadWord(field, node, kPredictors, "no form to choose cells by", search_.form);
    } else if (name == "from" || name == "to" || name == "step") {
      ReadCount(field, node, 65'536, name == "from" ? search_.from : name == "to" ? search_.to : search_.step);
    } else if (name == "trials") {
      ReadCount(field, node, 1000, search_.trials);
    } else if (name == "lr") {
      ReadRange(field, node, 1e-12, 100, search_.lr_low, search_.lr_high);
    } else if (name == "warmup") {
      ReadRange(field, node, 0, 1, search_.warmup_low, search_.warmup_high);
    } else if (name == "target") {
      ReadPlace(
          field, node,
          {{"heads", &search_.target_heads}, {"width", &search_.target_width}, {"seq_len", &search_.target_seq_len}});
    } else if (name == "design") {
      ReadPlace(field, node, {{"items", &search_.design_items}, {"seq_len", &search_.target_seq_len}});
    } else if (name == "budget_points") {
      ReadCount(field, node, kMostBudgetPoints, search_.budget_points);
    } else if (name == "budget_seconds") {
      if (const auto value = ReadNumber(field, node, 1e-3, kMostBudgetSeconds)) search_.budget_seconds = *value;
    } else if (name == "round") {
      ReadCount(field, node, 1000, search_.round);
    } else if (name == "stop_at") {
      if (const auto value = ReadNumber(field, node, 1e-3, 10)) search_.stop_at = *value;
    }
  }

 private:
  void ReadCount(std::string_view field, const YamlNode& node, int64_t high, int64_t& out) {
    if (const auto value = ReadWhole(field, node, 1, high, errors_)) out = *value;
  }

  std::optional<double> ReadNumber(std::string_view field, const YamlNode& node, double low, double high) {
    const absl::StatusOr<double> value = ReadReal(node);
    if (!value.ok()) {
      errors_.Add(node.line, field, value.status());
      return std::nullopt;
    }
    if (!(*value >= low && *value <= high)) {
      errors_.Add(node.line, field, StrCat(*value, " is out of range; use a number from ", low, " to ", high));
      return std::nullopt;
    }
    return *value;
  }

  void ReadRange(std::string_view field, const YamlNode& node, double low, double high, double& from, double& to) {
    if (node.kind != YamlNode::Kind::kList || node.items.size() != 2) {
      errors_.Add(node.line, field, StrCat("holds ", Describe(node), "; give the two ends of a range: [low, high]"));
      return;
    }
    const auto first = ReadNumber(field, node.items[0], low, high);
    const auto second = ReadNumber(field, node.items[1], low, high);
    if (!first.has_value() || !second.has_value()) return;
    if (*first > *second) {
      errors_.Add(node.line, field, StrCat("[", *first, ", ", *second, "] is empty; swap the two"));
      return;
    }
    from = *first;
    to = *second;
  }

  template <class Words>
  void ReadWord(std::string_view field, const YamlNode& node, const Words& words, std::string_view is_not,
                std::string& out) {
    if (node.kind != YamlNode::Kind::kScalar || std::find(words.begin(), words.end(), node.text) == words.end()) {
      errors_.Add(node.line, field, StrCat(Describe(node), " is ", is_not, "; use one of ", List(words)));
      return;
    }
    out = node.text;
  }

  // A mapping of whole numbers, all of which must be there.
  void ReadPlace(std::string_view field, const YamlNode& node,
                 const std::vector<std::pair<std::string_view, int64_t*>>& parts) {
    search_.target_line = node.line;
    std::string form;
    for (const auto& [name, out] : parts) StrAppend(&form, form.empty() ? "{" : ", ", name, ": ", ExampleOf(name));
    form += '}';
    if (node.kind != YamlNode::Kind::kMap) {
      errors_.Add(node.line, field, StrCat("holds ", Describe(node), "; give it as ", form));
      return;
    }
    for (const auto& [name, value] : node.fields) {
      const auto part = std::find_if(parts.begin(), parts.end(),
                                     [key = std::string_view(name)](const auto& p) { return p.first == key; });
      if (part == parts.end()) {
        errors_.Add(value.line, StrCat(field, ".", name.size() <= 40 ? name : name.substr(0, 40)),
                    StrCat("unknown setting; give ", field, " as ", form));
      } else {
        const int64_t most = name == "items" ? kMostItems : name == "heads" ? 1024 : 65'536;
        *part->second = 1;  // given, whatever it holds: no error may follow from its absence
        ReadCount(StrCat(field, ".", name), value, most, *part->second);
      }
    }
    for (const auto& [name, out] : parts) {
      if (*out == 0) errors_.Add(node.line, StrCat(field, ".", name), StrCat("is missing; give ", field, " as ", form));
    }
  }

  static int64_t ExampleOf(std::string_view name) {
    return name == "heads" ? 5 : name == "width" ? 64 : name == "items" ? 1000 : 32;
  }

  SearchSpec& search_;
  Errors& errors_;
};

void Unknown(std::string_view name, const YamlNode& node, std::string_view measure, Errors& errors) {
  const auto known = NamesOf(measure);
  const std::string field = StrCat("search.", name.size() <= 40 ? name : name.substr(0, 40));
  if (const std::string_view owner = OwnerOf(name); !owner.empty()) {
    errors.Add(node.line, field,
               StrCat("is a setting of measure: ", owner, ", not of ", measure, "; the settings of ", measure, " are ",
                      List(known)));
  } else if (const std::string_view near = Nearest(name, known); !near.empty()) {
    errors.Add(node.line, field, StrCat("unknown setting; did you mean ", near, "?"));
  } else {
    errors.Add(node.line, field, StrCat("unknown setting; the settings of ", measure, " are ", List(known)));
  }
}

void CheckAdaptive(const std::function<bool(std::string_view)>& given, int line, Errors& errors) {
  if (given("target") == given("design")) {
    errors.Add(line, "search.target",
               given("target") ? "search.target and search.design are both given; keep one of the two"
                               : "is missing; say which prediction is to become surer, as in search: {target: {heads: "
                                 "5, width: 64, seq_len: 32}, budget_points: 60}, or give search.design");
  }
  if (given("budget_points") == given("budget_seconds")) {
    errors.Add(line, "search.budget_points",
               given("budget_points")
                   ? "search.budget_points and search.budget_seconds are both given; keep one of the two"
                   : "is missing; say how much may be spent, with budget_points: N or budget_seconds: S");
  }
}

// What minnet cannot do without, and what must hold between settings.
void CheckWhole(const YamlNode* node, const SweepSpec& spec, Errors& errors) {
  const SearchSpec& s = spec.search;
  const auto given = [node](std::string_view name) {
    return node != nullptr && std::any_of(node->fields.begin(), node->fields.end(),
                                          [name](const YamlField& field) { return field.key == name; });
  };
  const int line = node != nullptr ? node->line : spec.measure_line;
  if (spec.measure == "minnet") {
    for (const std::string_view name : {"knob", "from", "to"}) {
      if (!given(name)) {
        errors.Add(line, StrCat("search.", name),
                   "is missing; minnet needs the size to search and its range, as in search: {knob: width, from: 4, "
                   "to: 64}");
      }
    }
    if (s.from > 0 && s.to > 0 && s.from > s.to) {
      errors.Add(line, "search.to", StrCat(s.to, " is below search.from, ", s.from, "; swap the two"));
    }
  }
  if (spec.measure == "adaptive") CheckAdaptive(given, line, errors);
  if (spec.measure == "mls" && s.start > s.largest) {
    errors.Add(line, "search.start", StrCat(s.start, " is above search.largest, ", s.largest, "; use a smaller one"));
  }
}

}  // namespace

void ReadMeasure(const YamlNode& node, SweepSpec& spec, Errors& errors) {
  spec.measure_line = node.line;
  const bool scalar = node.kind == YamlNode::Kind::kScalar;
  if (scalar && std::find(kMeasures.begin(), kMeasures.end(), node.text) != kMeasures.end()) {
    spec.measure = node.text;
  } else {
    errors.Add(node.line, "measure", StrCat(Describe(node), " is unknown; use one of ", List(kMeasures)));
  }
}

void ReadSearch(const YamlNode* node, SweepSpec& spec, Errors& errors) {
  if (node == nullptr) {
    CheckWhole(node, spec, errors);
    return;
  }
  spec.search.line = node->line;
  if (!MeasureSearches(spec.measure)) {
    errors.Add(node->line, "search",
               StrCat("measure: ", spec.measure,
                      " does not search; leave it out or use measure: mac, mls, minnet or adaptive"));
    return;
  }
  const auto known = NamesOf(spec.measure);
  if (node->kind != YamlNode::Kind::kMap) {
    errors.Add(node->line, "search", StrCat("holds ", Describe(*node), "; give a mapping of ", List(known)));
    return;
  }
  SearchReader reader(spec.search, errors);
  for (const auto& [name, value] : node->fields) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      Unknown(name, value, spec.measure, errors);
    } else {
      reader.Read(name, value);
    }
  }
  CheckWhole(node, spec, errors);
}

namespace {

// One fit holds one recipe; and it counts items over heads.
void CheckOneFit(const SweepSpec& spec, Errors& errors) {
  for (const Axis& axis : spec.axes) {
    if (axis.values.size() > 1 && axis.field != "heads" && axis.field != "width" && axis.field != "seq_len") {
      errors.Add(axis.line, axis.field,
                 StrCat("has ", axis.values.size(),
                        " values, but the model that measure: adaptive fits is one over heads, width and seq_len; "
                        "keep one value, or an expression"));
    }
    const auto is = [&axis](std::string_view word) { return axis.values == std::vector<Scalar>{std::string(word)}; };
    if (axis.field == "family" && (is("mlp") || is("ks"))) {
      errors.Add(axis.line, axis.field,
                 StrCat(std::get<std::string>(axis.values[0]),
                        " has no heads, so there is no capacity model of it to fit; use xt or gpt2, or measure: grid"));
    }
    if (axis.field == "mode" && is("lm")) {
      errors.Add(axis.line, axis.field,
                 "lm hardly memorizes whole items of a library larger than the model, so their count has no fit; use "
                 "label or seq, or measure: grid with `capsweep analyze --of bits`");
    }
  }
}

}  // namespace

void CheckSearchedFields(const SweepSpec& spec, Errors& errors) {
  if (spec.measure == "adaptive") CheckOneFit(spec, errors);
  for (const Axis& axis : spec.axes) {
    if ((spec.measure == "mac" || spec.measure == "mls") && axis.field == "dataset_size") {
      errors.Add(axis.line, "dataset_size",
                 StrCat("measure: ", spec.measure,
                        " searches the library size itself; leave data.dataset_size out "
                        "(search.start sets where it begins)"));
    }
    if (spec.measure != "minnet") continue;
    if (axis.field == spec.search.knob) {
      errors.Add(axis.line, axis.field,
                 StrCat("minnet searches ", axis.field, " itself (search.knob); leave model.", axis.field, " out"));
    } else if (axis.field == "lr" || axis.field == "warmup") {
      errors.Add(axis.line, axis.field,
                 StrCat("minnet draws ", axis.field, " for every trial; leave train.", axis.field,
                        " out and give its range as search.", axis.field));
    }
  }
}

}  // namespace capsweep::sweep
