#include "coordinator/service/event_log.h"

#include <spdlog/spdlog.h>

#include <string>

#include "common/logging.h"
#include "common/text.h"

namespace capsweep::service {
namespace {

struct LogChange {
  void operator()(const core::Audit& row) const {
    spdlog::info("{}", WithFields(row.message, {{"event", row.kind}, {"subject", row.subject}}));
  }
  void operator()(const core::AttemptStarted& started) const {
    if (spdlog::should_log(spdlog::level::debug)) {
      spdlog::debug("{}", WithFields("attempt given out", {{"point", StrCat(started.id.point.value())},
                                                           {"attempt", StrCat(started.id.attempt.value())},
                                                           {"worker", started.worker.value()},
                                                           {"device", started.device}}));
    }
  }
  void operator()(const core::ResultAccepted& accepted) const {
    if (spdlog::should_log(spdlog::level::debug)) {
      spdlog::debug("{}", WithFields("result taken", {{"point", StrCat(accepted.id.point.value())},
                                                      {"attempt", StrCat(accepted.id.attempt.value())},
                                                      {"worker", accepted.worker.value()},
                                                      {"device", accepted.device}}));
    }
  }
  void operator()(const core::AttemptEnded& ended) const {
    // Of lost ones the worker's own event says how many: a line for each would bury everything else.
    const bool failed = ended.outcome == core::AttemptOutcome::kFailed;
    const spdlog::level::level_enum level = failed ? spdlog::level::warn : spdlog::level::debug;
    if (spdlog::should_log(level)) {
      spdlog::log(level, "{}",
                  WithFields(ended.message.empty() ? "attempt ended" : ended.message,
                             {{"point", StrCat(ended.id.point.value())},
                              {"attempt", StrCat(ended.id.attempt.value())},
                              {"outcome", core::ToWord(ended.outcome)},
                              {"cause", ended.cause}}));
    }
  }
  template <class Other>
  void operator()(const Other&) const {}
};

}  // namespace

void LogBatch(const core::Persist& batch) {
  if (!spdlog::should_log(spdlog::level::err)) {
    return;
  }
  for (const core::Mutation& mutation : batch.mutations) {
    std::visit(LogChange{}, mutation);
  }
}

}  // namespace capsweep::service
