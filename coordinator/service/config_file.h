// The coordinator's --config file: YAML with the names of the long options as keys.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::service {

// A flat mapping of scalars, in file order: {"listen", "127.0.0.1:7171"}. InvalidArgument with file and line if it is
// anything else; whether a key is known is the caller's to judge.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadConfigFile(const std::string& path);

}  // namespace capsweep::service
