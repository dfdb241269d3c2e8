// Bearer tokens. A coordinator keeps only their SHA-256, so that its file is of no use to a thief.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/security/role.h"

namespace capsweep::security {

inline constexpr size_t kLeastTokenBytes = 32;
inline constexpr size_t kMostTokenBytes = 256;

// Whom a token or a client certificate speaks for.
struct Identity {
  std::string name;
  Role role = Role::kReader;
  friend bool operator==(const Identity&, const Identity&) = default;
};

// 256 random bits as 64 hex digits.
std::string NewToken();
// "sha256:<hex>", as it stands in a coordinator's file.
std::string TokenHash(std::string_view token);

// The token in a client's file (mode 0600, the token on one line). Errors name the file, never its content.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

// The tokens a coordinator knows. A line each: `ROLE NAME sha256:HEX` or `ROLE NAME TOKEN`, `#` begins a comment.
class TokenTable {
 public:
  // InvalidArgument with file and line. Never quotes a token.
  static absl::StatusOr<TokenTable> Parse(std::string_view text, const std::string& path);

  // Takes the same time whether and where the token is found: every entry is compared, in constant time, by hash.
  std::optional<Identity> Find(std::string_view token) const;
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Identity identity;
    std::array<uint8_t, 32> hash;
  };
  std::vector<Entry> entries_;
};

}  // namespace capsweep::security
