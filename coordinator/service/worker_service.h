// WorkerService.Sync on the wire: checks the message, asks the engine, writes the reply.
#pragma once

#include "coordinator/service/engine.h"
#include "coordinator/service/grpc_call.h"
#include "coordinator/service/security/worker_limits.h"

namespace capsweep::service {

// A held-open call costs memory but no thread. Engine and access must outlive every call.
class WorkerService final : public GrpcService {
 public:
  WorkerService(Engine* engine, Access* access, const WorkerQuotas& quotas);

 private:
  WorkerLimits limits_;
};

}  // namespace capsweep::service
