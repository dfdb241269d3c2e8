// A plain HTTP client for tests that must send what no well-behaved client sends. With or without TLS.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "common/text.h"

namespace capsweep::testing_support {

struct TlsFiles {
  std::string ca;
  std::string cert, key;  // "" = none
};

// One connection to 127.0.0.1.
class HttpConnection {
 public:
  explicit HttpConnection(int port, const TlsFiles* tls = nullptr)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval patience{.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    open_ = connect(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
    if (open_ && tls != nullptr) {
      context_ = SSL_CTX_new(TLS_client_method());
      SSL_CTX_load_verify_locations(context_, tls->ca.c_str(), nullptr);
      SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
      if (!tls->cert.empty()) {
        SSL_CTX_use_certificate_file(context_, tls->cert.c_str(), SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(context_, tls->key.c_str(), SSL_FILETYPE_PEM);
      }
      ssl_ = SSL_new(context_);
      SSL_set_fd(ssl_, fd_);
      open_ = SSL_connect(ssl_) == 1;
    }
  }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  ~HttpConnection() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    close(fd_);
  }

  bool open() const { return open_; }

  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t piece = std::min<size_t>(bytes.size(), 1 << 16);
      const ssize_t sent = ssl_ != nullptr ? SSL_write(ssl_, bytes.data(), static_cast<int>(piece))
                                           : ::send(fd_, bytes.data(), piece, MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // One response: status 0 if the connection ended without. Bodies must have a Content-Length.
  struct Response {
    int status = 0;
    std::string headers, body;
  };
  Response Receive(bool head = false) {
    Response response;
    size_t end = std::string::npos;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!Read()) {
        return response;
      }
    }
    response.headers = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    response.status = std::atoi(response.headers.c_str() + 9);
    if (response.status == 100) {
      return Receive(head);
    }
    const size_t field = response.headers.find("Content-Length: ");
    const size_t size =
        field == std::string::npos || head ? 0 : static_cast<size_t>(std::atoll(response.headers.c_str() + field + 16));
    while (buffer_.size() < size && Read()) {
    }
    response.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return response;
  }

  // `headers`: complete lines.
  Response Call(const std::string& method, const std::string& path, const std::string& headers,
                const std::string& body) {
    const std::string length =
        headers.find("Transfer-Encoding") != std::string::npos ? "" : StrCat("Content-Length: ", body.size(), "\r\n");
    Send(StrCat(method, " ", path, " HTTP/1.1\r\n", headers, length, "\r\n", body));
    return Receive(method == "HEAD");
  }

 private:
  bool Read() {
    char bytes[1 << 14];
    const ssize_t got = ssl_ != nullptr ? SSL_read(ssl_, bytes, sizeof bytes) : recv(fd_, bytes, sizeof bytes, 0);
    if (got <= 0) {
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(got));
    return true;
  }

  const int fd_;
  bool open_ = false;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  std::string buffer_;
};

}  // namespace capsweep::testing_support
