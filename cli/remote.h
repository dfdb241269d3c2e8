// The command line's side of the coordinator's user calls.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "capsweep/v1/control.grpc.pb.h"
#include "common/clock.h"
#include "coordinator/core/core.h"
#include "coordinator/store/reader.h"
#include "proto/client_security.h"

namespace capsweep::cli {

inline constexpr char kDefaultCoordinator[] = "127.0.0.1:7171";

// The flags as given; what is empty comes from the environment, the address last from the default.
struct RemoteOptions {
  std::string address;
  ClientSecurity security;
};
void AddSecurityOptions(CLI::App& verb, ClientSecurity& security);  // --tls-ca, --token-file, --tls-cert, --tls-key
void AddRemoteOptions(CLI::App& verb, RemoteOptions& options);      // these and --coordinator

// A connection to a coordinator. Not thread-safe. Errors carry the coordinator's message; a coordinator that cannot be
// reached (any more) is Unavailable and names the address.
class Remote {
 public:
  // Waits up to `patience` for the connection; returns as soon as it is refused. InvalidArgument for an address that is
  // not HOST:PORT; the errors of MakeCredentials.
  static absl::StatusOr<std::unique_ptr<Remote>> Connect(const RemoteOptions& options,
                                                         Duration patience = std::chrono::milliseconds(2500));

  const std::string& address() const { return address_; }

  absl::StatusOr<v1::SubmitSweepResponse> Submit(const v1::SubmitSweepRequest& request, bool extend);
  absl::StatusOr<v1::ChangeSweepResponse> ChangeSweep(const std::string& sweep, v1::ChangeSweepRequest::Verb verb);
  absl::Status ChangeWorker(const std::string& worker, v1::ChangeWorkerRequest::Verb verb);
  absl::StatusOr<std::vector<store::SweepProgress>> Sweeps(const std::string& sweep);
  absl::StatusOr<std::vector<core::WorkerView>> Workers();
  absl::StatusOr<store::Table> Query(const std::string& sql, const store::QueryLimits& limits);
  // One page of v_results; `page_token` is "" for the first and is set to the next one's, "" after the last.
  absl::StatusOr<store::Table> ResultsPage(const std::string& sweep, const std::string& where, std::string& page_token);
  absl::StatusOr<int64_t> StoreFit(const std::string& sweep, const std::string& fit_json,
                                   const std::string& settings_json);
  absl::StatusOr<std::string> Explain(const std::string& subject);

 private:
  explicit Remote(std::string address) : address_(std::move(address)) {}
  template <class Request, class Response>
  absl::Status Call(grpc::Status (v1::SweepService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response, Duration timeout = std::chrono::seconds(60));

  const std::string address_;
  std::unique_ptr<v1::SweepService::Stub> stub_;
};

}  // namespace capsweep::cli
