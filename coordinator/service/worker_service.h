// WorkerService.Sync on the wire: checks the message, asks the engine, writes the reply.
#pragma once

#include "capsweep/v1/worker.grpc.pb.h"
#include "coordinator/service/engine.h"

namespace capsweep::service {

// Callback API: a held-open call costs memory but no thread. `engine` must outlive every call.
class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  explicit WorkerService(Engine* engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* Sync(grpc::CallbackServerContext* context, const v1::SyncRequest* request,
                                 v1::SyncResponse* response) override;

 private:
  Engine* const engine_;
};

}  // namespace capsweep::service
