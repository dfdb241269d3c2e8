#pragma once

#include <string>
#include <string_view>

namespace capsweep {

inline constexpr std::string_view kVersion = "0.1.0";

// "0.1.0 (release, g++ 12.2.0)": version, build type, compiler.
std::string BuildInfo();

}  // namespace capsweep
