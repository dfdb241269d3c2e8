// Files that hold tokens and keys: nobody but their owner may read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capsweep::security {

// The whole file. PermissionDenied, naming the file, its mode and the chmod that mends it, if others can read or write
// it, or if it belongs to neither this user nor root; otherwise the errors of ReadFile.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path, int64_t max_bytes = 1 << 20);

// Makes the file with mode 0600 and its bytes on disk. AlreadyExists if there is one; it is never written over.
absl::Status WriteSecretFile(const std::string& path, std::string_view bytes);

}  // namespace capsweep::security
