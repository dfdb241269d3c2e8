#include "common/security/tokens.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "common/hash.h"
#include "common/security/secret_file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::security {
namespace {

constexpr std::string_view kHashPrefix = "sha256:";
constexpr size_t kMostTokens = 10'000;

// What may stand in an Authorization header.
bool IsToken(std::string_view text) {
  return text.size() >= kLeastTokenBytes && text.size() <= kMostTokenBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '@';
  });
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool FromHex(std::string_view hex, std::array<uint8_t, 32>& out) {
  if (hex.size() != 2 * out.size()) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = HexDigit(hex[2 * i]), low = HexDigit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  constexpr std::string_view kSpace = " \t\r";
  while (true) {
    const size_t start = line.find_first_not_of(kSpace);
    if (start == std::string_view::npos || line[start] == '#') return words;
    line.remove_prefix(start);
    const size_t end = std::min(line.find_first_of(kSpace), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

// Calls visit(line number, words) for every line that is not empty or a comment.
template <class Visit>
absl::Status EachLine(std::string_view text, const Visit& visit) {
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::vector<std::string_view> words = Words(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!words.empty()) RETURN_IF_ERROR(visit(number, words));
  }
  return absl::OkStatus();
}

std::array<uint8_t, 32> HashOf(std::string_view token) {
  std::array<uint8_t, 32> hash{};
  FromHex(Sha256Hex(token), hash);
  return hash;
}

}  // namespace

std::string NewToken() {
  return RandomHexId() + RandomHexId();
}

std::string TokenHash(std::string_view token) {
  return StrCat(kHashPrefix, Sha256Hex(token));
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadSecretFile(path, 4096));
  std::string token;
  const absl::Status status = EachLine(text, [&](int, const std::vector<std::string_view>& words) {
    if (!token.empty() || words.size() != 1) return absl::InvalidArgumentError("");
    token = std::string(words[0]);
    return absl::OkStatus();
  });
  if (!status.ok() || !IsToken(token)) {
    return absl::InvalidArgumentError(StrCat(path, ": must hold one token of ", kLeastTokenBytes, " to ",
                                             kMostTokenBytes,
                                             " printable characters and nothing else; `capsweep certs init` writes "
                                             "such files"));
  }
  return token;
}

absl::StatusOr<TokenTable> TokenTable::Parse(std::string_view text, const std::string& path) {
  TokenTable table;
  absl::flat_hash_set<std::string> names;
  RETURN_IF_ERROR(EachLine(text, [&](int number, const std::vector<std::string_view>& words) -> absl::Status {
    const auto bad = [&](std::string_view why) {
      return absl::InvalidArgumentError(StrCat(path, ":", number, ": ", why));
    };
    Entry entry;
    if (words.size() != 3) return bad("a line is ROLE NAME TOKEN or ROLE NAME sha256:HEX");
    if (!FromWord(words[0], entry.identity.role)) {
      return bad(StrCat("role '", words[0].substr(0, 20), "' is none of worker, operator, reader"));
    }
    if (!IsName(words[1])) return bad("the name must be 1 to 64 characters of [A-Za-z0-9._@-]");
    entry.identity.name = std::string(words[1]);
    if (!names.insert(entry.identity.name).second) return bad(StrCat("name '", words[1], "' is taken above"));
    if (words[2].substr(0, kHashPrefix.size()) == kHashPrefix) {
      if (!FromHex(words[2].substr(kHashPrefix.size()), entry.hash)) {
        return bad("sha256: must be followed by 64 lower-case hex digits");
      }
    } else if (IsToken(words[2])) {
      entry.hash = HashOf(words[2]);
    } else {
      return bad(StrCat("the token must be ", kLeastTokenBytes, " to ", kMostTokenBytes, " printable characters"));
    }
    for (const Entry& other : table.entries_) {
      if (other.hash == entry.hash) return bad(StrCat("'", words[1], "' has the token of '", other.identity.name, "'"));
    }
    table.entries_.push_back(std::move(entry));
    return table.entries_.size() <= kMostTokens ? absl::OkStatus() : bad("too many tokens");
  }));
  if (table.entries_.empty()) {
    return absl::InvalidArgumentError(StrCat(path, ": holds no token; `capsweep certs init` writes such a file"));
  }
  return table;
}

std::optional<Identity> TokenTable::Find(std::string_view token) const {
  const std::array<uint8_t, 32> hash = HashOf(token.substr(0, kMostTokenBytes + 1));
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.hash.data(), hash.data(), hash.size()) == 0) found = &entry;
  }
  if (found == nullptr) return std::nullopt;
  return found->identity;
}

}  // namespace capsweep::security
