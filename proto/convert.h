// The edge between generated messages and the program's own types. Only the service, the agent and the command line's
// client include this.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "capsweep/v1/types.pb.h"
#include "common/point.h"
#include "common/result.h"

namespace capsweep {

// Raised by a change of Sync after which an older coordinator would misread a worker. What only adds fields does not:
// unknown fields are skipped on both sides. A coordinator serves all workers up to its own.
inline constexpr uint32_t kSyncProtocol = 1;

inline constexpr int kMaxMessageBytes = 4 << 20;  // both sides, both directions

void PointToProto(const PointSpec& point, v1::Point* out);
// InvalidArgument naming the field if a word is unknown. Does not run ValidatePoint.
absl::StatusOr<PointSpec> PointFromProto(const v1::Point& message);

void ResultToProto(const PointResult& result, v1::Result* out);
PointResult ResultFromProto(const v1::Result& message);

// The one translation of statuses; the code sets are the same.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace capsweep
