// The command line as a function: what it prints and the code it ends with.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "cli/app.h"

namespace capsweep::cli {

struct Answer {
  int code = 0;
  std::string out, err;
};

inline Answer Call(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  Console console{out, err};
  const int code = RunCommandLine(arguments, console);
  return {code, out.str(), err.str()};
}

}  // namespace capsweep::cli
