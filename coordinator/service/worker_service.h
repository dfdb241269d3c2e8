// WorkerService.Sync on the wire: checks the message, asks the engine, writes the reply.
#pragma once

#include "capsweep/v1/worker.grpc.pb.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/security/access.h"
#include "coordinator/service/security/worker_limits.h"

namespace capsweep::service {

// Callback API: a held-open call costs memory but no thread. Engine and access must outlive every call.
class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  WorkerService(Engine* engine, Access* access, const WorkerQuotas& quotas)
      : engine_(engine), access_(access), limits_(quotas, &engine->clock()) {}

  grpc::ServerUnaryReactor* Sync(grpc::CallbackServerContext* context, const v1::SyncRequest* request,
                                 v1::SyncResponse* response) override;

 private:
  Engine* const engine_;
  Access* const access_;
  WorkerLimits limits_;
};

}  // namespace capsweep::service
