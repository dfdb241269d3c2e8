// Who may call what. What does not stand here may be called by nobody.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/security/role.h"

namespace capsweep::service {

// One call of either transport: "/capsweep.v1.SweepService/Query", "/metrics".
struct AllowedCall {
  std::string_view path;
  std::vector<security::Role> roles;
  bool open = false;  // anyone, without a token: tells nothing but that the coordinator lives
};

const std::vector<AllowedCall>& AllowList();
// Null: nobody may.
const AllowedCall* FindAllowed(std::string_view path);

}  // namespace capsweep::service
