// The one boundary at which LibTorch's exceptions become statuses.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace capsweep::trainer {

// `f` returns absl::Status.
template <class F>
absl::Status AtBoundary(const F& f) {
  const auto from_message = [](std::string_view text) {
    const std::string message(text.substr(0, text.find('\n')));
    const bool memory =
        message.find("out of memory") != std::string::npos || message.find("allocate memory") != std::string::npos;
    return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
  };
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of host memory");
  } catch (const c10::Error& error) {
    return from_message(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return from_message(error.what());
  }
}

}  // namespace capsweep::trainer
