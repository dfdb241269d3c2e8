// HTML as text: escaping, tables and pictures inside a page. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace capsweep::cli {

// Text for the inside of an element or a quoted attribute. Bytes that are not UTF-8 and control characters other than
// tab and line feed become U+FFFD.
std::string EscapeHtml(std::string_view text);

// A paragraph, a heading of a level, a list; the text is escaped.
std::string HtmlParagraph(std::string_view text);
std::string HtmlHeading(int level, std::string_view text);
std::string HtmlList(const std::vector<std::string>& entries);

// Cells are escaped; numbers stand on the right.
std::string HtmlTable(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

// The svg element of gnuplot's file for the inside of a page: without prolog, comments, title, links and the namespace
// of links, its ids and the references to them made unique by `prefix`, `label` for those who cannot see it. "" if the
// text holds no svg element.
std::string EmbedSvg(std::string_view svg, std::string_view prefix, std::string_view label);

// A whole page with the style for screen and print; `body` is HTML.
std::string HtmlPage(std::string_view title, std::string_view body);

}  // namespace capsweep::cli
