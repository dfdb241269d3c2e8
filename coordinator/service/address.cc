#include "coordinator/service/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::service {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

absl::Status BadAddress(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      StrCat("--listen '", text, "' ", why, "; give HOST:PORT such as 127.0.0.1:7171 or [::1]:7171, or unix:/PATH"));
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") {
    return true;
  }
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    return (ntohl(v4.s_addr) >> 24) == 127;
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) {
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
  }
  return false;
}

bool IsHostCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status ProbeUnix(const ListenAddress& address) {
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, address.host.c_str(), address.host.size() + 1);
  const Socket socket(AF_UNIX);
  // gRPC replaces a left-over socket file, and would replace one that is in use as well.
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) {
    return absl::AlreadyExistsError(StrCat("socket ", address.host, " is in use; pick another with --listen"));
  }
  const size_t slash = address.host.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : address.host.substr(0, slash + 1);
  if (access(folder.c_str(), W_OK) != 0) {
    return absl::InvalidArgumentError(
        StrCat("cannot make socket ", address.host, ": ", std::strerror(errno), "; pick another with --listen"));
  }
  return absl::OkStatus();
}

absl::Status BindError(const ListenAddress& address, int error) {
  const std::string where = address.ForPeople(address.port);
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(StrCat("port in use: ", where, "; pick another with --listen"));
    case EACCES:
      return absl::PermissionDeniedError(
          StrCat("this user may not listen on ", where, "; pick a port of 1024 or more with --listen"));
    case EADDRNOTAVAIL:
      return absl::InvalidArgumentError(
          StrCat("this machine has no address ", address.host, "; pick another with --listen"));
    default:
      return absl::InvalidArgumentError(
          StrCat("cannot listen on ", where, ": ", std::strerror(error), "; pick another with --listen"));
  }
}

}  // namespace

std::string ListenAddress::ForPeople(int bound_port) const {
  if (is_unix) {
    return StrCat(kUnixPrefix, host);
  }
  return host.find(':') != std::string::npos ? StrCat("[", host, "]:", bound_port) : StrCat(host, ":", bound_port);
}

std::string ListenAddress::ForGrpc() const {
  return ForPeople(port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  ListenAddress out;
  if (text.substr(0, kUnixPrefix.size()) == kUnixPrefix) {
    out.is_unix = true;
    out.loopback = true;
    out.host = std::string(text.substr(kUnixPrefix.size()));
    if (out.host.empty() || out.host.size() >= sizeof(sockaddr_un::sun_path)) {
      return BadAddress(text, StrCat("needs a path of 1 to ", sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return out;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return BadAddress(text, "has no port");
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size() || out.port < 0 || out.port > 65535) {
    return BadAddress(text, StrCat("has port '", port, "', which is not a number in 0..65535"));
  }
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  out.host = std::string(host);
  in6_addr v6{};
  if (bracketed ? inet_pton(AF_INET6, out.host.c_str(), &v6) != 1
                : host.empty() || std::find_if_not(host.begin(), host.end(), IsHostCharacter) != host.end()) {
    return BadAddress(text, bracketed || host.find(':') != std::string_view::npos
                                ? "is not an IPv6 address in brackets with a port"
                                : "has no valid host");
  }
  out.loopback = IsLoopback(out.host);
  return out;
}

absl::Status ProbeListen(const ListenAddress& address) {
  if (address.is_unix) {
    return ProbeUnix(address);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = StrCat(address.port);
  if (const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(StrCat("host '", address.host, "' of --listen is unknown (", gai_strerror(error),
                                             "); give an address of this machine"));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    const Socket socket(at->ai_family);
    if (socket.fd() < 0) {
      continue;  // a family this machine does not have
    }
    // As gRPC does: a port whose last connections are still closing is free.
    const int on = 1;
    setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(socket.fd(), at->ai_addr, at->ai_addrlen) != 0 || listen(socket.fd(), 1) != 0) {
      const int error = errno;
      if (error != EADDRNOTAVAIL || found->ai_next == nullptr) {
        return BindError(address, error);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace capsweep::service
