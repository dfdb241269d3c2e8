// absl::Status helpers. Errors name the object and the next step for the user.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace capsweep {

// Process exit codes of every binary.
enum ExitCode : int { kExitOk = 0, kExitFailed = 1, kExitBadInput = 2, kExitUnreachable = 3 };

// InvalidArgument, OutOfRange, NotFound, AlreadyExists, FailedPrecondition, PermissionDenied and Unauthenticated are
// the user's to mend (2), Unavailable is 3, all others 1.
ExitCode ExitCodeFor(const absl::Status& status);

// The same code with `context: ` in front of the message. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// FromErrno(ENOSPC, "write /x/y") -> ResourceExhausted "write /x/y: No space left on device".
absl::Status FromErrno(int error, std::string_view what);

}  // namespace capsweep

#define CAPSWEEP_CONCAT_INNER(a, b) a##b
#define CAPSWEEP_CONCAT(a, b) CAPSWEEP_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                           \
  do {                                                  \
    if (absl::Status status_ = (expr); !status_.ok()) { \
      return status_;                                   \
    }                                                   \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL(CAPSWEEP_CONCAT(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) {                            \
    return tmp.status();                      \
  }                                           \
  lhs = std::move(tmp).value()
