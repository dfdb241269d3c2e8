#include "common/sweep/parse.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/file.h"
#include "common/status.h"
#include "common/sweep/axis.h"
#include "common/sweep/errors.h"
#include "common/sweep/fields.h"
#include "common/sweep/formulas.h"
#include "common/sweep/scalars.h"
#include "common/sweep/search.h"
#include "common/sweep/yaml_tree.h"
#include "common/text.h"

namespace capsweep {
namespace {

using sweep::Errors;
using sweep::YamlNode;

constexpr std::array<std::string_view, 4> kSections = {"task", "model", "data", "train"};
constexpr int64_t kMaxSeeds = 1'000'000;
constexpr int64_t kMaxPoints = 10'000'000;

std::vector<std::string_view> TopLevelNames() {
  return {"sweep", "task",    "model",  "data",  "train",   "repeats",
          "seeds", "measure", "search", "where", "studies", "limits"};
}

std::vector<std::string_view> NamesOfSection(std::string_view section) {
  std::vector<std::string_view> names;
  for (const sweep::Field& field : sweep::Fields()) {
    if (field.section == section) names.push_back(field.name);
  }
  return names;
}

std::vector<std::string_view> AllFieldNames() {
  std::vector<std::string_view> names;
  for (const sweep::Field& field : sweep::Fields()) names.push_back(field.name);
  return names;
}

std::string List(const std::vector<std::string_view>& names) {
  std::string list;
  for (const std::string_view name : names) StrAppend(&list, list.empty() ? "" : ", ", name);
  return list;
}

// A field name for the front of a message; hostile ones are quoted and cut.
std::string FieldForMessage(std::string_view name) {
  const bool plain = !name.empty() && name.size() <= 40 &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  return plain ? std::string(name) : sweep::Show(name);
}

class Reader {
 public:
  Reader(SweepSpec& spec, Errors& errors) : spec_(spec), errors_(errors) {}

  void Read(const YamlNode& root) {
    if (root.kind != YamlNode::Kind::kMap) {
      errors_.Add(root.line, "",
                  StrCat("a sweep file is a mapping of fields, this one holds ", sweep::Describe(root),
                         "; start with \"sweep: NAME\""));
      return;
    }
    for (const auto& [name, node] : root.fields) ReadTopLevel(name, node);
    CheckWhole(root);
    if (studies_ != nullptr) ReadStudies(*studies_);
  }

  // One of `studies`: the spec holds the base by now.
  void ReadStudy(const YamlNode& node) {
    SweepSpec own;  // what the study itself gives
    std::swap(own, spec_);
    for (const auto& [name, value] : node.fields) {
      if (name == "name") {
        ReadName("name", value);
      } else if (std::find(kSections.begin(), kSections.end(), name) != kSections.end()) {
        ReadSection(name, value);
      } else if (name == "repeats") {
        ReadRepeats(value);
      } else if (name == "seeds") {
        has_seeds_ = true;
        if (auto seeds = sweep::ReadSeeds(value, errors_)) spec_.seeds = std::move(*seeds);
      } else if (name == "where") {
        ReadWhere(value);
      } else {
        Unknown(name, value, "studies", {"name", "task", "model", "data", "train", "repeats", "seeds", "where"});
      }
    }
    std::swap(own, spec_);
    if (!has_name_) errors_.Add(node.line, "studies", "a study has no name; give it one with \"name: NAME\"");
    Replace(own);
    CheckBudgetAndSeeds();
  }

 private:
  void ReadStudies(const YamlNode& node) {
    if (MeasureSearches(spec_.measure)) {
      errors_.Add(node.line, "studies",
                  StrCat("measure: ", spec_.measure, " searches and has no grid to add to; use a file of its own"));
      return;
    }
    if (node.kind != YamlNode::Kind::kList || node.items.empty()) {
      errors_.Add(
          node.line, "studies",
          StrCat("holds ", sweep::Describe(node), "; give a list such as [{name: long, train: {steps: 9000}}]"));
      return;
    }
    const SweepSpec base = spec_;
    for (const YamlNode& item : node.items) {
      if (item.kind != YamlNode::Kind::kMap) {
        errors_.Add(item.line, "studies",
                    StrCat("holds ", sweep::Describe(item), "; a study is a mapping with a name and what it replaces"));
        continue;
      }
      const size_t before = errors_.size();
      SweepSpec study = base;
      study.text.clear();
      Reader(study, errors_).ReadStudy(item);
      for (const SweepSpec& other : spec_.studies) {
        if (other.name == study.name) {
          errors_.Add(item.line, "studies", StrCat("two studies have the name ", study.name, "; rename one"));
        }
      }
      if (errors_.size() == before) sweep::CompileFormulas(study, errors_);
      spec_.studies.push_back(std::move(study));
    }
  }

  // Puts what a study gives in the place of what the base has; one budget drives out the other.
  void Replace(SweepSpec& own) {
    const auto drop = [this](std::string_view field) {
      std::erase_if(spec_.axes, [field](const Axis& axis) { return axis.field == field; });
    };
    for (Axis& axis : own.axes) {
      drop(axis.field);
      if (axis.field == "steps") drop("epochs");
      if (axis.field == "epochs") drop("steps");
    }
    for (Axis& axis : own.axes) spec_.axes.push_back(std::move(axis));
    SortAxes();
    spec_.name = own.name;
    if (!own.seeds.empty()) spec_.seeds = std::move(own.seeds);
    if (!own.where.empty()) {
      spec_.where = std::move(own.where);
      spec_.where_line = own.where_line;
    }
  }

  void ReadTopLevel(std::string_view name, const YamlNode& node) {
    if (name == "sweep") {
      ReadName("sweep", node);
    } else if (std::find(kSections.begin(), kSections.end(), name) != kSections.end()) {
      ReadSection(name, node);
    } else if (name == "repeats") {
      ReadRepeats(node);
    } else if (name == "seeds") {
      has_seeds_ = true;
      if (auto seeds = sweep::ReadSeeds(node, errors_)) spec_.seeds = std::move(*seeds);
    } else if (name == "measure") {
      sweep::ReadMeasure(node, spec_, errors_);
    } else if (name == "search") {
      search_ = &node;  // read when the measure is known
    } else if (name == "where") {
      ReadWhere(node);
    } else if (name == "studies") {
      studies_ = &node;  // read when the base is known
    } else if (name == "limits") {
      ReadLimits(node);
    } else {
      Unknown(name, node, "", TopLevelNames());
    }
  }

  // `section` is "" at the top level.
  void Unknown(std::string_view name, const YamlNode& node, std::string_view section,
               const std::vector<std::string_view>& known) {
    const std::string shown = StrCat(section, section.empty() ? "" : ".", FieldForMessage(name));
    if (const int id = sweep::FieldId(name); id >= 0) {
      errors_.Add(node.line, shown,
                  StrCat("unknown field here; ", name, " belongs under ", sweep::Fields()[id].section));
      return;
    }
    if (const auto top = TopLevelNames(); !section.empty() && std::find(top.begin(), top.end(), name) != top.end()) {
      errors_.Add(node.line, shown, StrCat("unknown field here; ", name, " belongs to the top level of the file"));
      return;
    }
    if (const std::string_view near = sweep::Nearest(name, known); !near.empty()) {
      errors_.Add(node.line, shown, StrCat("unknown field; did you mean ", near, "?"));
    } else if (const int id = sweep::FieldId(sweep::Nearest(name, AllFieldNames())); id >= 0) {
      const sweep::Field& field = sweep::Fields()[id];
      errors_.Add(node.line, shown, StrCat("unknown field; did you mean ", field.section, ".", field.name, "?"));
    } else {
      errors_.Add(node.line, shown, StrCat("unknown field; the fields here are ", List(known)));
    }
  }

  void ReadName(std::string_view field, const YamlNode& node) {
    has_name_ = true;
    const bool good = node.kind == YamlNode::Kind::kScalar && !node.text.empty() && node.text.size() <= 64 &&
                      std::all_of(node.text.begin(), node.text.end(), [](unsigned char c) {
                        return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
                      });
    if (!good) {
      errors_.Add(node.line, field,
                  StrCat(sweep::Describe(node), " is not a name; use 1 to 64 letters, digits, \".\", \"_\" and \"-\""));
      return;
    }
    spec_.name = node.text;
  }

  void ReadSection(std::string_view section, const YamlNode& node) {
    const std::vector<std::string_view> known = NamesOfSection(section);
    if (node.kind != YamlNode::Kind::kMap) {
      errors_.Add(node.line, section, StrCat("holds ", sweep::Describe(node), "; give a mapping of ", List(known)));
      return;
    }
    for (const auto& [name, value] : node.fields) {
      const int id = sweep::FieldId(name);
      if (id < 0 || sweep::Fields()[id].section != section) {
        Unknown(name, value, section, known);
        continue;
      }
      given_.push_back({id, value.line});
      // A field with a bad value still counts as given, so that no error follows from its absence.
      spec_.axes.push_back(sweep::ReadAxis(id, value, errors_).value_or(Axis{std::string(name), value.line, {}, ""}));
    }
  }

  void ReadRepeats(const YamlNode& node) {
    has_repeats_ = true;
    repeats_line_ = node.line;
    if (node.kind == YamlNode::Kind::kList || node.kind == YamlNode::Kind::kMap) {
      errors_.Add(node.line, "repeats", "must be one whole number; to choose seeds write seeds: [7, 11] in its place");
      return;
    }
    if (const auto repeats = sweep::ReadWhole("repeats", node, 1, kMaxSeeds, errors_)) {
      spec_.seeds.resize(static_cast<size_t>(*repeats));
      std::iota(spec_.seeds.begin(), spec_.seeds.end(), uint64_t{1});
    }
  }

  void ReadWhere(const YamlNode& node) {
    std::string text(absl::StripAsciiWhitespace(node.text));
    if (text.starts_with('=')) text = std::string(absl::StripAsciiWhitespace(text.substr(1)));
    if (node.kind != YamlNode::Kind::kScalar || text.empty()) {
      errors_.Add(node.line, "where",
                  StrCat("holds ", sweep::Describe(node), "; write a condition such as \"width <= 32\""));
      return;
    }
    spec_.where = std::move(text);
    spec_.where_line = node.line;
  }

  void ReadLimits(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kMap) {
      errors_.Add(node.line, "limits",
                  StrCat("holds ", sweep::Describe(node), "; give a mapping of max_failures, attempts, max_points"));
      return;
    }
    for (const auto& [name, value] : node.fields) {
      if (name == "max_failures") {
        ReadLimit("limits.max_failures", value, 1'000'000'000, spec_.limits.max_failures);
      } else if (name == "attempts") {
        ReadLimit("limits.attempts", value, 1'000, spec_.limits.attempts);
      } else if (name == "max_points") {
        ReadLimit("limits.max_points", value, kMaxPoints, spec_.limits.max_points);
      } else {
        Unknown(name, value, "limits", {"max_failures", "attempts", "max_points"});
      }
    }
  }

  void ReadLimit(std::string_view name, const YamlNode& node, int64_t high, int64_t& out) {
    if (const auto value = sweep::ReadWhole(name, node, 1, high, errors_)) out = *value;
  }

  int LineOf(std::string_view field) const {
    for (const auto& [id, line] : given_) {
      if (id == sweep::FieldId(field)) return line;
    }
    return 0;
  }

  void CheckBudgetAndSeeds() {
    const int epochs = LineOf("epochs"), steps = LineOf("steps");
    if (epochs != 0 && steps != 0) {
      errors_.Add(std::max(epochs, steps), epochs > steps ? "epochs" : "steps",
                  StrCat("train.epochs (line ", epochs, ") and train.steps (line ", steps,
                         ") are both given; keep one of the two"));
    }
    if (has_repeats_ && has_seeds_) {
      errors_.Add(repeats_line_, "repeats", "repeats and seeds are both given; keep one of the two");
    }
  }

  void SortAxes() {
    std::sort(spec_.axes.begin(), spec_.axes.end(),
              [](const Axis& a, const Axis& b) { return sweep::FieldId(a.field) < sweep::FieldId(b.field); });
  }

  // Rules that concern several fields of the file.
  void CheckWhole(const YamlNode& root) {
    if (!has_name_) {
      errors_.Add(root.line, "sweep", "is missing; name the sweep with \"sweep: NAME\"");
    }
    const int epochs = LineOf("epochs"), steps = LineOf("steps");
    if (epochs == 0 && steps == 0) {
      errors_.Add(root.line, "train", "neither train.epochs nor train.steps is given; give one of the two");
    }
    CheckBudgetAndSeeds();
    if (spec_.seeds.empty()) spec_.seeds = {1};
    SortAxes();
    sweep::ReadSearch(search_, spec_, errors_);
    sweep::CheckSearchedFields(spec_, errors_);
    sweep::CompileFormulas(spec_, errors_);
  }

  struct Given {
    int id;
    int line;
  };

  SweepSpec& spec_;
  Errors& errors_;
  std::vector<Given> given_;  // fields of the sections, also those with bad values
  bool has_name_ = false;
  bool has_seeds_ = false;
  bool has_repeats_ = false;
  int repeats_line_ = 0;
  const YamlNode* search_ = nullptr;
  const YamlNode* studies_ = nullptr;
};

}  // namespace

absl::StatusOr<SweepSpec> ParseSweep(std::string_view text, const std::string& file_name) {
  Errors errors(file_name);
  SweepSpec spec;
  spec.text = std::string(text);
  spec.file_name = file_name;
  const YamlNode root = sweep::ReadYaml(text, errors);
  if (!errors.empty() && root.kind != YamlNode::Kind::kMap) {
    return errors.ToStatus();
  }
  Reader(spec, errors).Read(root);
  RETURN_IF_ERROR(errors.ToStatus());
  return spec;
}

absl::StatusOr<SweepSpec> LoadSweep(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, int64_t{16} << 20));
  ASSIGN_OR_RETURN(SweepSpec spec, ParseSweep(text, path));
  std::error_code error;
  spec.folder = std::filesystem::absolute(path, error).parent_path().string();
  return spec;
}

}  // namespace capsweep
