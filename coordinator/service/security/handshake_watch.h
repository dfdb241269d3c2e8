// gRPC tells of a TLS handshake that failed nowhere but in its own log. This takes that log over: handshakes go to
// whoever watches, all other lines to the log of this process, in its format.
#pragma once

#include <functional>
#include <string>

namespace capsweep::service {

class HandshakeWatch {
 public:
  // `failed` is called on gRPC's threads with OpenSSL's reason: "certificate verify failed", "http request" (plain
  // HTTP), "wrong version number" (not TLS), … The log does not say who it was.
  explicit HandshakeWatch(std::function<void(const std::string& reason)> failed);
  ~HandshakeWatch();  // `failed` is not called any more once this returns
  HandshakeWatch(const HandshakeWatch&) = delete;
  HandshakeWatch& operator=(const HandshakeWatch&) = delete;

 private:
  const std::function<void(const std::string& reason)> failed_;
};

}  // namespace capsweep::service
