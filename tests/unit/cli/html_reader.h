// A strict reader of the HTML that capsweep writes: every element closed in its order, every attribute quoted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/text.h"

namespace capsweep {

// "" if the page is well formed, else the first thing wrong with it.
inline std::string HtmlProblem(std::string_view page) {
  constexpr std::string_view kDoctype = "<!DOCTYPE html>";
  if (!page.starts_with(kDoctype)) return "no doctype";
  std::vector<std::string> open;
  size_t at = kDoctype.size();
  while (at < page.size()) {
    if (page[at] == '>') return StrCat("a bare > at ", at, " in ", open.empty() ? "nothing" : open.back());
    if (page[at] == '&') {
      const size_t end = page.find(';', at);
      const std::string_view name = page.substr(at + 1, end == std::string_view::npos ? 8 : end - at - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot" && name != "#39" && name != "#160") {
        return StrCat("an unknown entity &", name);
      }
    }
    if (page[at] != '<') {
      ++at;
      continue;
    }
    size_t end = at + 1;  // of the tag, quotes skipped
    for (char quote = 0; end < page.size() && (quote != 0 || page[end] != '>'); ++end) {
      if (quote == 0 && (page[end] == '"' || page[end] == '\'')) {
        quote = page[end];
      } else if (page[end] == quote) {
        quote = 0;
      } else if (page[end] == '<') {
        return StrCat("a < inside a tag at ", end);
      }
    }
    if (end >= page.size()) return "a tag that does not end";
    const std::string_view tag = page.substr(at + 1, end - at - 1);
    at = end + 1;
    const bool closing = tag.starts_with("/");
    const std::string name(tag.substr(closing ? 1 : 0, tag.find_first_of(" \n\t/", 1) - (closing ? 1 : 0)));
    if (closing) {
      const std::string wanted(tag.substr(1));
      if (open.empty() || open.back() != wanted)
        return StrCat("</", wanted, "> after <", open.empty() ? "" : open.back());
      open.pop_back();
    } else if (!tag.ends_with("/")) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : StrCat("<", open.back(), "> is never closed");
}

// Addresses a browser could fetch. The namespace of SVG is a name, not an address.
inline std::string OutsideReference(std::string page) {
  const std::string kNamespace = "http://www.w3.org/2000/svg";
  for (size_t at = page.find(kNamespace); at != std::string::npos; at = page.find(kNamespace)) {
    page.erase(at, kNamespace.size());
  }
  for (const char* word : {"http:", "https:", "//www", "url(http", "@import", "<script", "<link", "<iframe", "src="}) {
    if (page.find(word) != std::string::npos) return word;
  }
  return "";
}

}  // namespace capsweep
