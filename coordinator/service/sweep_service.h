// The users' verbs over gRPC.
#pragma once

#include "capsweep/v1/control.grpc.pb.h"
#include "coordinator/service/metrics.h"
#include "coordinator/service/user_verbs.h"

namespace capsweep::service {

// Who calls, from what gRPC knows of the connection and the headers.
Credentials CredentialsOf(const grpc::CallbackServerContext& context);

class SweepService final : public v1::SweepService::CallbackService {
 public:
  // Both must outlive every call.
  SweepService(UserVerbs* verbs, Metrics* metrics) : verbs_(verbs), metrics_(metrics) {}

  grpc::ServerUnaryReactor* SubmitSweep(grpc::CallbackServerContext* context, const v1::SubmitSweepRequest* request,
                                        v1::SubmitSweepResponse* response) override {
    return Serve("/capsweep.v1.SweepService/SubmitSweep", context, *request, response);
  }
  grpc::ServerUnaryReactor* ExtendSweep(grpc::CallbackServerContext* context, const v1::SubmitSweepRequest* request,
                                        v1::SubmitSweepResponse* response) override {
    return Serve("/capsweep.v1.SweepService/ExtendSweep", context, *request, response);
  }
  grpc::ServerUnaryReactor* ChangeSweep(grpc::CallbackServerContext* context, const v1::ChangeSweepRequest* request,
                                        v1::ChangeSweepResponse* response) override {
    return Serve("/capsweep.v1.SweepService/ChangeSweep", context, *request, response);
  }
  grpc::ServerUnaryReactor* ListSweeps(grpc::CallbackServerContext* context, const v1::ListSweepsRequest* request,
                                       v1::ListSweepsResponse* response) override {
    return Serve("/capsweep.v1.SweepService/ListSweeps", context, *request, response);
  }
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override {
    return Serve("/capsweep.v1.SweepService/ListWorkers", context, *request, response);
  }
  grpc::ServerUnaryReactor* ChangeWorker(grpc::CallbackServerContext* context, const v1::ChangeWorkerRequest* request,
                                         v1::ChangeWorkerResponse* response) override {
    return Serve("/capsweep.v1.SweepService/ChangeWorker", context, *request, response);
  }
  grpc::ServerUnaryReactor* Query(grpc::CallbackServerContext* context, const v1::QueryRequest* request,
                                  v1::TableResponse* response) override {
    return Serve("/capsweep.v1.SweepService/Query", context, *request, response);
  }
  grpc::ServerUnaryReactor* ListResults(grpc::CallbackServerContext* context, const v1::ListResultsRequest* request,
                                        v1::TableResponse* response) override {
    return Serve("/capsweep.v1.SweepService/ListResults", context, *request, response);
  }
  grpc::ServerUnaryReactor* StoreFit(grpc::CallbackServerContext* context, const v1::StoreFitRequest* request,
                                     v1::StoreFitResponse* response) override {
    return Serve("/capsweep.v1.SweepService/StoreFit", context, *request, response);
  }
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* context, const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) override {
    return Serve("/capsweep.v1.SweepService/Explain", context, *request, response);
  }
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override {
    return Serve("/capsweep.v1.SweepService/GetServerInfo", context, *request, response);
  }

 private:
  grpc::ServerUnaryReactor* Serve(std::string_view path, grpc::CallbackServerContext* context,
                                  const google::protobuf::Message& request, google::protobuf::Message* response);

  UserVerbs* const verbs_;
  Metrics* const metrics_;
};

}  // namespace capsweep::service
