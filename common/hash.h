#pragma once

#include <string>
#include <string_view>

namespace capsweep {

// Lower-case hex of SHA-256 (OpenSSL).
std::string Sha256Hex(std::string_view bytes);

// 128 random bits from the kernel as 32 hex digits: ids of databases and incarnations.
std::string RandomHexId();

}  // namespace capsweep
