// The Sync call on the wire: one at a time, on a thread of its own, because a call may be held open for long. The only
// file of the agent that sees generated messages.
#pragma once

#include <grpcpp/security/credentials.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "worker/agent/state.h"

namespace capsweep::agent {

struct SyncClientOptions {
  std::string coordinator;  // host:port
  // Made with MakeCredentials; null = plain text.
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  // Sent with every call.
  std::string worker_id;
  std::string incarnation;
  std::string host;
  std::map<std::string, std::string> labels;
  Duration call_patience = std::chrono::seconds(10);  // deadline of a call beyond its max_wait
};

struct SyncOutcome {
  SyncCall call;
  absl::StatusOr<SyncReply> reply;
};

// Start, Cancel and Take are for one thread.
class SyncClient {
 public:
  // `wake` is called on the client's thread whenever an outcome is there to be taken.
  SyncClient(SyncClientOptions options, std::function<void()> wake);
  ~SyncClient();  // cancels an open call and waits for it

  // Begins a call; not while one is open.
  void Start(SyncCall call);
  // Ends the open call early; its outcome (Cancelled, or a reply that was faster) still comes.
  void Cancel();
  bool open() const { return open_; }
  std::optional<SyncOutcome> Take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  bool open_ = false;
};

}  // namespace capsweep::agent
