#include "common/security/role.h"

#include <array>
#include <utility>

namespace capsweep::security {
namespace {

constexpr std::array<std::pair<Role, std::string_view>, 3> kRoles = {
    {{Role::kWorker, "worker"}, {Role::kOperator, "operator"}, {Role::kReader, "reader"}}};

}  // namespace

std::string_view ToWord(Role role) {
  for (const auto& [value, word] : kRoles) {
    if (value == role) return word;
  }
  return "unknown";
}

bool FromWord(std::string_view word, Role& out) {
  for (const auto& [value, name] : kRoles) {
    if (name == word) {
      out = value;
      return true;
    }
  }
  return false;
}

}  // namespace capsweep::security
