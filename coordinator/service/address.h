// The --listen address, taken apart and judged before anything is opened.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capsweep::service {

struct ListenAddress {
  bool is_unix = false;
  std::string host;       // without brackets; the path if is_unix
  int port = 0;           // 0: the system picks one
  bool loopback = false;  // nothing outside this machine can reach it

  std::string ForGrpc() const;                  // what ServerBuilder::AddListeningPort takes
  std::string ForPeople(int bound_port) const;  // host:port with the port it got
};

// "127.0.0.1:7171", "[::1]:7171", "localhost:0", "host.example:7171", "unix:/run/capsweep.sock". InvalidArgument with
// the fix otherwise. A name other than localhost is never taken for loopback.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// Why nothing can listen there, found by trying; OK if it can. AlreadyExists: in use.
absl::Status ProbeListen(const ListenAddress& address);

}  // namespace capsweep::service
