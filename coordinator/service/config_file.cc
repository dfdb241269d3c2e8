#include "coordinator/service/config_file.h"

#include <yaml-cpp/yaml.h>

#include "common/file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::service {
namespace {

constexpr int64_t kMaxConfigBytes = 64 << 10;

absl::Status BadLine(const std::string& path, const YAML::Mark& mark, std::string_view what) {
  return absl::InvalidArgumentError(StrCat(path, ":", mark.line + 1, ": ", what));
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Entries(const std::string& path,
                                                                         const YAML::Node& root) {
  std::vector<std::pair<std::string, std::string>> out;
  if (root.IsNull()) {
    return out;
  }
  if (!root.IsMap()) {
    return BadLine(path, root.Mark(), "the file must hold lines of the form 'option: value'");
  }
  for (const auto& entry : root) {
    if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
      return BadLine(path, entry.first.Mark(), "an option must have a single value, as in 'listen: 127.0.0.1:7171'");
    }
    out.emplace_back(entry.first.Scalar(), entry.second.Scalar());
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadConfigFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  try {
    return Entries(path, YAML::Load(text));
  } catch (const YAML::Exception& error) {
    return BadLine(path, error.mark, StrCat("is not YAML: ", error.msg));
  }
}

}  // namespace capsweep::service
