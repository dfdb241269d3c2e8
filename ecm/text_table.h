// Plain text for people: aligned tables and wrapped sentences.
#pragma once

#include <string>
#include <vector>

namespace capsweep::ecm {

// First and last column left-aligned, the others right-aligned; two blanks between columns and in front.
std::string AlignedTable(const std::vector<std::vector<std::string>>& rows);

// Breaks a sentence at spaces after 100 columns; continuation lines are indented. Ends in a line feed.
std::string WrapText(const std::string& text);

}  // namespace capsweep::ecm
