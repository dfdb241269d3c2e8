#include "coordinator/service/security/allow_list.h"

namespace capsweep::service {
namespace {

using security::Role;

}  // namespace

const std::vector<AllowedCall>& AllowList() {
  static const auto& list = *new std::vector<AllowedCall>{
      {"/capsweep.v1.WorkerService/Sync", {Role::kWorker}},
      {"/capsweep.v1.SweepService/SubmitSweep", {Role::kOperator}},
      {"/capsweep.v1.SweepService/ExtendSweep", {Role::kOperator}},
      {"/capsweep.v1.SweepService/ChangeSweep", {Role::kOperator}},
      {"/capsweep.v1.SweepService/ChangeWorker", {Role::kOperator}},
      {"/capsweep.v1.SweepService/StoreFit", {Role::kOperator}},
      {"/capsweep.v1.SweepService/ListSweeps", {Role::kOperator, Role::kReader}},
      {"/capsweep.v1.SweepService/ListWorkers", {Role::kOperator, Role::kReader}},
      {"/capsweep.v1.SweepService/Query", {Role::kOperator, Role::kReader}},
      {"/capsweep.v1.SweepService/ListResults", {Role::kOperator, Role::kReader}},
      {"/capsweep.v1.SweepService/Explain", {Role::kOperator, Role::kReader}},
      {"/capsweep.v1.SweepService/GetServerInfo", {Role::kOperator, Role::kReader}},
      {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", {Role::kOperator, Role::kReader}},
      {"/metrics", {Role::kOperator, Role::kReader}},
      {"/grpc.health.v1.Health/Check", {}, /*open=*/true},
      {"/grpc.health.v1.Health/Watch", {}, /*open=*/true},
      {"/healthz", {}, /*open=*/true},
  };
  return list;
}

const AllowedCall* FindAllowed(std::string_view path) {
  for (const AllowedCall& call : AllowList()) {
    if (call.path == path) {
      return &call;
    }
  }
  return nullptr;
}

}  // namespace capsweep::service
