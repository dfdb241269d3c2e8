#include "coordinator/service/security/handshake_watch.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <set>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace capsweep::service {
namespace {

constexpr std::string_view kHandshake = "Handshake failed";

struct Watchers {
  Mutex mu;
  std::set<const std::function<void(const std::string&)>*> all ABSL_GUARDED_BY(mu);
};

// Never destroyed: gRPC's threads may log until the process ends.
Watchers& TheWatchers() {
  static auto* const watchers = new Watchers;
  return *watchers;
}

// "Handshake failed with fatal error SSL_ERROR_SSL: error:0A00009C:SSL routines::http request." -> "http request"
std::string ReasonIn(std::string_view line) {
  const size_t colon = line.rfind(':');
  std::string_view reason = colon == std::string_view::npos ? line : line.substr(colon + 1);
  while (reason.starts_with(' ')) reason.remove_prefix(1);
  while (reason.ends_with('.')) reason.remove_suffix(1);
  return std::string(reason);
}

void TakeLine(gpr_log_func_args* args) {
  const std::string_view line = args->message;
  if (line.starts_with(kHandshake)) {
    Watchers& watchers = TheWatchers();
    MutexLock lock(&watchers.mu);
    for (const auto* failed : watchers.all) (*failed)(ReasonIn(line));
    return;
  }
  const auto level = args->severity == GPR_LOG_SEVERITY_ERROR  ? spdlog::level::err
                     : args->severity == GPR_LOG_SEVERITY_INFO ? spdlog::level::info
                                                               : spdlog::level::debug;
  spdlog::log(level, "gRPC: {}", args->message);
}

}  // namespace

HandshakeWatch::HandshakeWatch(std::function<void(const std::string& reason)> failed) : failed_(std::move(failed)) {
  Watchers& watchers = TheWatchers();
  MutexLock lock(&watchers.mu);
  if (watchers.all.empty()) gpr_set_log_function(&TakeLine);
  watchers.all.insert(&failed_);
}

HandshakeWatch::~HandshakeWatch() {
  Watchers& watchers = TheWatchers();
  MutexLock lock(&watchers.mu);
  watchers.all.erase(&failed_);
  if (watchers.all.empty()) gpr_set_log_function(nullptr);
}

}  // namespace capsweep::service
