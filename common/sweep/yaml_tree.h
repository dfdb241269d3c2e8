// The part of YAML a sweep file may use, as a plain tree with line numbers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/sweep/errors.h"

namespace capsweep::sweep {

struct YamlField;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 1;                   // where the node starts, from 1
  std::string text;               // of a scalar
  bool quoted = false;            // scalar written in quotes or as a block: text, never a number
  std::vector<YamlNode> items;    // of a list
  std::vector<YamlField> fields;  // of a map, in file order, keys unique
};

struct YamlField {
  std::string key;
  YamlNode node;
};

// Reads the one document of `text`. Refuses, with a line in `errors`: text over 1 MiB, anything that is not UTF-8 text,
// syntax errors, an empty file, several documents, anchors, aliases, tags, keys that repeat or are not plain words, and
// nesting deeper than 8. Time and memory are linear in the text. The tree is usable only if no error was added.
YamlNode ReadYaml(std::string_view text, Errors& errors);

}  // namespace capsweep::sweep
