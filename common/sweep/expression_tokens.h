// Splits an expression into tokens and checks all that needs the names of the domain, so that the parser behind it sees
// only plain arithmetic.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::sweep {

struct Token {
  enum class Kind { kNumber, kName, kFunction, kWord, kOperator, kOpen, kClose, kComma };

  Kind kind = Kind::kNumber;
  std::string text;   // as given; of kWord without its quotes
  size_t offset = 0;  // in the expression, from 0
  int variable = -1;  // of kName
};

// Tokens whose names are all known, whose words stand only beside == or != next to their field, whose commas separate
// arguments of functions, and whose parentheses balance. Words and the constants true and false have become numbers.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view expression);

}  // namespace capsweep::sweep
