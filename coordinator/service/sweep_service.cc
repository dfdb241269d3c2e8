#include "coordinator/service/sweep_service.h"

#include <google/protobuf/arena.h>

namespace capsweep::service {
namespace {

class VerbCall final : public GrpcCall {
 public:
  VerbCall(const UserVerb& verb, UserVerbs* verbs, Access* access, Metrics* metrics,
           grpc::CallbackServerContext* context)
      : verb_(verb),
        verbs_(verbs),
        metrics_(metrics),
        context_(context),
        request_(verb.request->New(&arena_)),
        response_(verb.response->New(&arena_)) {
    Begin(access, verb.path, *context, request_, response_);
  }

 private:
  void Serve(const Caller& caller) override {
    verbs_->Run(
        verb_, caller, *request_, response_, [this] { return context_->IsCancelled(); },
        [this](const absl::Status& status) { Answer(status); });
  }
  void Ended(const absl::Status& status) override {
    metrics_->grpc_verbs[static_cast<size_t>(status.code()) % kStatusCodes].Add();
  }

  const UserVerb& verb_;
  UserVerbs* const verbs_;
  Metrics* const metrics_;
  grpc::CallbackServerContext* const context_;
  google::protobuf::Arena arena_;  // of both messages: a page of results has a hundred thousand values
  google::protobuf::Message* const request_;
  google::protobuf::Message* const response_;
};

}  // namespace

SweepService::SweepService(UserVerbs* verbs, Access* access, Metrics* metrics) {
  for (const UserVerb& verb : verbs->all()) {
    Add(verb.path.c_str(), [=, &verb](grpc::CallbackServerContext* context) {
      return new VerbCall(verb, verbs, access, metrics, context);
    });
  }
}

}  // namespace capsweep::service
