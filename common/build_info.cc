#include "common/build_info.h"

#include "common/text.h"

namespace capsweep {

std::string BuildInfo() {
#if defined(__clang__)
  constexpr std::string_view kCompiler = "clang " __clang_version__;
#else
  constexpr std::string_view kCompiler = "g++ " __VERSION__;
#endif
  return StrCat(kVersion, " (", CAPSWEEP_BUILD_TYPE, ", ", kCompiler, ")");
}

}  // namespace capsweep
