// The users' verbs over gRPC.
#pragma once

#include "coordinator/service/grpc_call.h"
#include "coordinator/service/metrics.h"
#include "coordinator/service/user_verbs.h"

namespace capsweep::service {

class SweepService final : public GrpcService {
 public:
  // All must outlive every call.
  SweepService(UserVerbs* verbs, Access* access, Metrics* metrics);
};

}  // namespace capsweep::service
