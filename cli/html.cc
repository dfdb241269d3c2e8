#include "cli/html.h"

#include <cctype>

#include "absl/strings/str_replace.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

constexpr char kStyle[] = R"css(
:root { color-scheme: light; }
body { font: 16px/1.5 "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.8rem; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-bottom: .2rem; border-bottom: 2px solid #0072B2; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p.lead { color: #444; margin-top: 0; }
table { border-collapse: collapse; font-size: .84rem; margin: .6rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .18rem .6rem; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #888; }
td.n { text-align: right; white-space: nowrap; }
td:last-child { min-width: 4rem; }
figcaption p { margin: .15rem 0; }
.wide { overflow-x: auto; }
pre { background: #f5f5f5; border: 1px solid #ddd; padding: .7rem .9rem; font-size: .8rem; line-height: 1.35;
  white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: .8rem 0 1.4rem; }
figure svg { max-width: 100%; height: auto; display: block; margin: 0 auto; border: 1px solid #e4e4e4; }
figcaption { font-size: .88rem; color: #333; margin-top: .4rem; }
.none { color: #555; font-style: italic; }
footer { margin-top: 3rem; font-size: .82rem; color: #555; border-top: 1px solid #ddd; padding-top: .5rem; }
@page { margin: 15mm; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  thead { display: table-header-group; }
  table { font-size: 8pt; }
  pre { font-size: 7.5pt; }
  figure svg { max-height: 225mm; border: none; }
  .wide { overflow: visible; }
}
)css";

// Length of the UTF-8 sequence at the front of `text`; 0 if there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80                    ? 1
                        : first >= 0xC2 && first < 0xE0 ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (length == 3 && ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) >= 0xA0))) return 0;
  if (length == 4 && ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) >= 0x90))) return 0;
  return length;
}

// Digits, with what stands around them in a table: "1,234", "-0.5", "≥ 250 ± 3.1", "-".
bool LooksLikeNumber(std::string_view text) {
  for (const std::string_view mark : {"≥ ", "~ "}) {
    if (text.starts_with(mark)) text.remove_prefix(mark.size());
  }
  if (const size_t spread = text.find(" ± "); spread != std::string_view::npos) text = text.substr(0, spread);
  return !text.empty() && text.find_first_not_of("0123456789.,-+e") == std::string_view::npos;
}

// One tag of gnuplot's SVG with its ids made unique.
std::string AdaptTag(std::string tag, std::string_view prefix) {
  const std::string of(prefix);
  return absl::StrReplaceAll(tag, {{" xmlns:xlink=\"http://www.w3.org/1999/xlink\"", ""},
                                   {" xml:space=\"preserve\"", ""},
                                   {"xlink:href='#", StrCat("href='#", of)},
                                   {"xlink:href=\"#", StrCat("href=\"#", of)},
                                   {"url(#", StrCat("url(#", of)},
                                   {" id='", StrCat(" id='", of)},
                                   {" id=\"", StrCat(" id=\"", of)}});
}

// The name of a tag, with the slash of a closing one.
std::string_view TagName(std::string_view tag) {
  size_t end = tag.starts_with("</") ? 2 : 1;
  while (end < tag.size() && std::isalnum(static_cast<unsigned char>(tag[end])) != 0) ++end;
  return tag.substr(1, end - 1);
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text.substr(i));
    const char c = text[i];
    const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
    if (length == 0 || control) {
      out += kReplacement;
      ++i;
      continue;
    }
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out.append(text.substr(i, length));
    }
    i += length;
  }
  return out;
}

std::string HtmlParagraph(std::string_view text) {
  return StrCat("<p>", EscapeHtml(text), "</p>\n");
}

std::string HtmlHeading(int level, std::string_view text) {
  return StrCat("<h", level, ">", EscapeHtml(text), "</h", level, ">\n");
}

std::string HtmlList(const std::vector<std::string>& entries) {
  std::string out = "<ul>\n";
  for (const std::string& entry : entries) StrAppend(&out, "<li>", EscapeHtml(entry), "</li>\n");
  return entries.empty() ? "" : out + "</ul>\n";
}

std::string HtmlTable(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"wide\"><table>\n<thead><tr>";
  for (const std::string& cell : header) StrAppend(&out, "<th>", EscapeHtml(cell), "</th>");
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const std::string& cell : row) {
      StrAppend(&out, LooksLikeNumber(cell) ? "<td class=\"n\">" : "<td>", EscapeHtml(cell), "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string EmbedSvg(std::string_view svg, std::string_view prefix, std::string_view label) {
  size_t at = svg.find("<svg");
  if (at == std::string_view::npos) return "";
  std::string out;
  std::string_view skipped_until;  // inside an element that is left out
  while (at < svg.size()) {
    if (svg[at] != '<') {
      const size_t end = std::min(svg.find('<', at), svg.size());
      if (skipped_until.empty()) out += absl::StrReplaceAll(std::string(svg.substr(at, end - at)), {{">", "&gt;"}});
      at = end;
      continue;
    }
    const bool comment = svg.substr(at).starts_with("<!--");
    const size_t close = svg.find(comment ? "-->" : ">", at);
    const size_t end = close == std::string_view::npos ? svg.size() : close + (comment ? 3 : 1);
    const std::string_view tag = svg.substr(at, end - at), name = TagName(tag);
    at = end;
    if (comment) continue;
    if (!skipped_until.empty()) {
      if (name == skipped_until) skipped_until = {};
    } else if (name == "title" || name == "desc" || name == "script") {
      if (!tag.ends_with("/>")) skipped_until = name == "title" ? "/title" : name == "desc" ? "/desc" : "/script";
    } else if (name == "svg") {
      StrAppend(&out, "<svg role=\"img\" aria-label=\"", EscapeHtml(label), "\"",
                AdaptTag(std::string(tag.substr(4)), prefix));
    } else if (name != "a" && name != "/a") {
      out += AdaptTag(std::string(tag), prefix);
    }
    if (name == "/svg") break;
  }
  return out + "\n";
}

std::string HtmlPage(std::string_view title, std::string_view body) {
  return StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
      EscapeHtml(title), "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n", body, "</body>\n</html>\n");
}

}  // namespace capsweep::cli
