// Who may do what at a coordinator is decided by one of three roles.
#pragma once

#include <cstdint>
#include <string_view>

namespace capsweep::security {

enum class Role : uint8_t { kWorker, kOperator, kReader };

// "worker": trains. "operator": reads and changes sweeps and workers. "reader": reads.
std::string_view ToWord(Role role);
bool FromWord(std::string_view word, Role& out);

}  // namespace capsweep::security
