#include "common/sweep/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <sstream>

#include "absl/container/flat_hash_map.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kMaxDepth = 8;  // the format needs four

// Ends the reading of a file that will not become readable further on.
struct StopReading : std::exception {};

// Line of the first byte that cannot stand in a text file (not UTF-8, or a control character), or 0.
int FirstBadLine(std::string_view text) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = text[i];
    if (c == '\n') {
      ++line;
    }
    if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
      return line;
    }
    const size_t follow = c < 0x80                  ? 0
                          : (c >= 0xc2 && c < 0xe0) ? 1
                          : (c >= 0xe0 && c < 0xf0) ? 2
                          : (c >= 0xf0 && c < 0xf5) ? 3
                                                    : SIZE_MAX;
    if (follow == SIZE_MAX || follow >= text.size() - i) {
      return line;
    }
    for (size_t k = 1; k <= follow; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) {
        return line;
      }
    }
    i += follow + 1;
  }
  return 0;
}

// Builds the tree from yaml-cpp's events; its own node type would expand aliases and forget duplicate keys.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Errors& errors) : errors_(errors) {}

  YamlNode TakeRoot() { return std::move(root_); }
  bool has_document() const { return documents_ > 0; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      Stop(mark, "a second YAML document starts here; keep one sweep per file (remove the \"---\")");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Put(MakeNode(YamlNode::Kind::kNull, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Stop(mark, "YAML aliases (*name) are not supported; write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (!open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key) {
      StartField(mark, value);
      return;
    }
    YamlNode node = MakeNode(YamlNode::Kind::kScalar, mark);
    node.text = value;
    node.quoted = tag == "!";
    Put(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct OpenNode {
    YamlNode node;
    bool has_key = false;  // of a map: the next node is the value of `key`
    std::string key;
    int key_line = 0;
    bool repeated = false;                        // the value belongs to a key seen before and is dropped
    absl::flat_hash_map<std::string, int> lines;  // of the keys seen
  };

  static YamlNode MakeNode(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }

  [[noreturn]] void Stop(const YAML::Mark& mark, std::string_view what) {
    errors_.Add(mark.line + 1, "", what);
    throw StopReading();
  }

  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) {
      Stop(mark, "YAML anchors (&name) are not supported; write the value out where it is needed");
    }
  }

  void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    // yaml-cpp: "?" for plain, "!" for quoted nodes, "" for collections.
    if (!tag.empty() && tag != "?" && tag != "!") {
      Stop(mark, StrCat("YAML tags (", Show(tag), ") are not supported; remove the tag"));
    }
  }

  void StartField(const YAML::Mark& mark, const std::string& key) {
    OpenNode& map = open_.back();
    const auto [entry, is_new] = map.lines.try_emplace(key, mark.line + 1);
    map.repeated = !is_new;
    if (!is_new) {
      errors_.Add(mark.line + 1, key.size() <= 40 ? key : "",
                  StrCat("given twice, first in line ", entry->second, "; keep one"));
    }
    map.key = key;
    map.key_line = mark.line + 1;
    map.has_key = true;
  }

  void Open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (open_.size() >= kMaxDepth) {
      Stop(mark, StrCat("nested deeper than ", kMaxDepth, " levels; a sweep file needs four at most"));
    }
    if (!open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key) {
      Stop(mark, "a list or mapping is used as a field name; write \"name: value\"");
    }
    open_.push_back(OpenNode{MakeNode(kind, mark), {}});
  }

  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Put(std::move(node));
  }

  void Put(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    OpenNode& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kList) {
      parent.node.items.push_back(std::move(node));
      return;
    }
    if (!parent.has_key) {  // only a null gets here: "? " without a key
      errors_.Add(node.line, "", "a field without a name; write \"name: value\"");
      throw StopReading();
    }
    parent.has_key = false;
    if (node.kind == YamlNode::Kind::kNull) node.line = parent.key_line;  // yaml-cpp gives the line after it
    if (!parent.repeated) {
      parent.node.fields.push_back({std::move(parent.key), std::move(node)});
    }
  }

  Errors& errors_;
  std::vector<OpenNode> open_;
  YamlNode root_;
  int documents_ = 0;
};

}  // namespace

YamlNode ReadYaml(std::string_view text, Errors& errors) {
  if (text.size() > kMaxBytes) {
    errors.Add(1, "",
               StrCat("the file has ", text.size(), " bytes; a sweep file has at most ", kMaxBytes,
                      " (use {from, to, step} in place of long lists)"));
    return {};
  }
  if (const int line = FirstBadLine(text); line != 0) {
    errors.Add(line, "", "not a text file (a byte that is not UTF-8 text); give a sweep file in YAML");
    return {};
  }
  TreeBuilder builder(errors);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const StopReading&) {
    return {};
  } catch (const YAML::Exception& e) {
    errors.Add(std::max(e.mark.line, 0) + 1, "",
               StrCat("not valid YAML: ", e.msg, "; check the indentation, colons, quotes and brackets up to here"));
    return {};
  } catch (const std::exception& e) {  // yaml-cpp lets errors of the standard library through
    errors.Add(1, "", StrCat("not valid YAML: ", e.what()));
    return {};
  }
  if (!builder.has_document()) {
    errors.Add(1, "", "the file is empty; docs/sweep-file.md shows what a sweep file holds");
    return {};
  }
  return builder.TakeRoot();
}

}  // namespace capsweep::sweep
