// A worker's message on its way into the core: every field checked once, here, and turned into plain values.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "capsweep/v1/worker.pb.h"
#include "coordinator/core/events.h"
#include "coordinator/service/details_cache.h"

namespace capsweep::service {

// InvalidArgument "FIELD: what is wrong with VALUE; the fix" for the first field that no well-behaved agent sends. The
// token stays 0. Results are converted but their numbers are not yet checked: see CheckResult.
absl::StatusOr<core::WorkerSync> CheckSyncRequest(const v1::SyncRequest& request);

// Whether a delivered result can be the measurement of its point; `details` null = no such point. The message goes back
// to the worker with a rejected acknowledgement, and into the point's failure.
absl::Status CheckResult(const DetailsPtr& details, const core::ResultReport& report);

// The alphabets of the names that workers choose.
bool IsWorkerId(std::string_view text);    // [A-Za-z0-9._:@-]{1,128}
bool IsDeviceName(std::string_view text);  // [a-z0-9:_-]{1,32}

}  // namespace capsweep::service
