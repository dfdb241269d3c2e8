// The users' verbs on the wire. What reads memory answers on gRPC's threads; what blocks goes to a pool, so that no
// user's call can delay a worker's.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "capsweep/v1/control.grpc.pb.h"
#include "common/mutex.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/task_pool.h"

namespace capsweep::service {

class SweepService final : public v1::SweepService::CallbackService {
 public:
  // `engine` must outlive every call. Errors: those of store::Reader::Open.
  static absl::StatusOr<std::unique_ptr<SweepService>> Create(Engine* engine);

  grpc::ServerUnaryReactor* SubmitSweep(grpc::CallbackServerContext* context, const v1::SubmitSweepRequest* request,
                                        v1::SubmitSweepResponse* response) override;
  grpc::ServerUnaryReactor* ExtendSweep(grpc::CallbackServerContext* context, const v1::SubmitSweepRequest* request,
                                        v1::SubmitSweepResponse* response) override;
  grpc::ServerUnaryReactor* ChangeSweep(grpc::CallbackServerContext* context, const v1::ChangeSweepRequest* request,
                                        v1::ChangeSweepResponse* response) override;
  grpc::ServerUnaryReactor* ListSweeps(grpc::CallbackServerContext* context, const v1::ListSweepsRequest* request,
                                       v1::ListSweepsResponse* response) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* ChangeWorker(grpc::CallbackServerContext* context, const v1::ChangeWorkerRequest* request,
                                         v1::ChangeWorkerResponse* response) override;
  grpc::ServerUnaryReactor* Query(grpc::CallbackServerContext* context, const v1::QueryRequest* request,
                                  v1::TableResponse* response) override;
  grpc::ServerUnaryReactor* ListResults(grpc::CallbackServerContext* context, const v1::ListResultsRequest* request,
                                        v1::TableResponse* response) override;
  grpc::ServerUnaryReactor* StoreFit(grpc::CallbackServerContext* context, const v1::StoreFitRequest* request,
                                     v1::StoreFitResponse* response) override;
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* context, const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;

 private:
  // Users' SQL can be slow: it has a reader of its own.
  struct LockedReader {
    Mutex mu;
    std::unique_ptr<store::Reader> reader ABSL_GUARDED_BY(mu);
  };

  explicit SweepService(Engine* engine);

  // Runs `work` on the pool and finishes the call with its status.
  static grpc::ServerUnaryReactor* RunOn(TaskPool& pool, grpc::CallbackServerContext* context,
                                         std::function<absl::Status()> work);
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status);

  Engine* const engine_;
  LockedReader queries_;
  LockedReader results_;
  // Last, so that they end first. Submissions, other changes (they wait for the disk) and reads do not wait for each
  // other.
  TaskPool submit_pool_;
  TaskPool change_pool_;
  TaskPool read_pool_;
};

}  // namespace capsweep::service
