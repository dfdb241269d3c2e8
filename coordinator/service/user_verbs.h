// The users' verbs, without a transport: one handler per verb, called by gRPC (sweep_service.h) and by HTTP
// (http/connect.h). What reads memory answers at once; what blocks goes to a pool, so that no user's call can delay a
// worker's.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "capsweep/v1/control.grpc.pb.h"
#include "common/mutex.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/security/access.h"
#include "coordinator/service/security/audit.h"
#include "coordinator/service/task_pool.h"

namespace capsweep::service {

struct UserVerb {
  // Submissions, other changes (they wait for the disk) and reads do not wait for each other.
  enum class Lane { kAtOnce, kRead, kChange, kSubmit };

  std::string method;  // "Query"
  std::string path;    // "/capsweep.v1.SweepService/Query"
  Lane lane = Lane::kRead;
  bool changes = false;                                // its calls are audited
  const google::protobuf::Message* request = nullptr;  // empty ones, to make others of
  const google::protobuf::Message* response = nullptr;
  std::function<absl::Status(const google::protobuf::Message&, google::protobuf::Message*)> run;
};

class UserVerbs {
 public:
  // All must outlive every call. Errors: those of store::Reader::Open.
  static absl::StatusOr<std::unique_ptr<UserVerbs>> Create(Engine* engine, Access* access, AuditLog* audit);

  const std::vector<UserVerb>& all() const { return verbs_; }
  const UserVerb* Find(std::string_view path) const;  // null: no such verb

  // For an admitted caller: runs the verb on its lane, audits it, and calls `done` exactly once, maybe before it
  // returns. The messages must live until then. `unwanted` is asked just before the work is begun.
  void Run(const UserVerb& verb, const Caller& caller, const google::protobuf::Message& request,
           google::protobuf::Message* response, std::function<bool()> unwanted,
           std::function<void(const absl::Status&)> done);

 private:
  // Users' SQL can be slow: it has a reader of its own.
  struct LockedReader {
    Mutex mu;
    std::unique_ptr<store::Reader> reader ABSL_GUARDED_BY(mu);
  };

  UserVerbs(Engine* engine, Access* access, AuditLog* audit);
  void AddVerbs();
  absl::Status Query(const v1::QueryRequest& request, v1::TableResponse* response);
  absl::Status ListResults(const v1::ListResultsRequest& request, v1::TableResponse* response);

  Engine* const engine_;
  Access* const access_;
  AuditLog* const audit_;
  std::vector<UserVerb> verbs_;
  LockedReader queries_;
  LockedReader results_;
  // Last, so that they end first.
  TaskPool submit_pool_;
  TaskPool change_pool_;
  TaskPool read_pool_;
};

}  // namespace capsweep::service
