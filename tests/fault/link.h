// A network between a worker and its coordinator that a test can cut: both ways, one way, or again and again. Bytes
// that were sent into a cut are not refused; they are not delivered, as from a cable that was pulled, and both ends
// have to find out by themselves.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "common/text.h"
#include "gtest/gtest.h"
#include "tests/fault/cluster.h"

namespace capsweep::fault {

class Link {
 public:
  explicit Link(int coordinator_port) : target_(coordinator_port), port_(ChoosePort()) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int one = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    const sockaddr_in address = Loopback(port_);
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    thread_ = std::thread([this] { Relay(); });
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() {
    stop_ = true;
    thread_.join();
    close(listener_);
  }
  std::string Address() const { return StrCat("127.0.0.1:", port_); }

  void Cut(bool to_coordinator, bool to_worker) {
    open_[0] = !to_coordinator;
    open_[1] = !to_worker;
  }
  void Heal() { Cut(false, false); }

 private:
  struct Pair {
    std::array<int, 2> fd{-1, -1};      // worker, coordinator
    std::array<std::string, 2> queued;  // to fd[1], to fd[0]
    std::array<bool, 2> ended{};
  };
  static constexpr size_t kMostQueued = 1 << 20;

  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  // A new connection waits in the cut like everything else: it is accepted once there is a way to the coordinator.
  void Accept() {
    while (open_[0] && open_[1]) {
      const int worker = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (worker < 0) return;
      const int coordinator = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = Loopback(target_);
      if (connect(coordinator, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        close(worker);
        close(coordinator);
        continue;
      }
      fcntl(coordinator, F_SETFL, O_NONBLOCK);
      pairs_.push_back({{worker, coordinator}, {}, {}});
    }
  }

  // `way` 0: from the worker to the coordinator.
  void Move(Pair& pair, size_t way) {
    if (!open_[way]) return;
    char buffer[1 << 14];
    while (!pair.ended[way] && pair.queued[way].size() < kMostQueued) {
      const ssize_t got = recv(pair.fd[way], buffer, sizeof buffer, 0);
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) pair.ended[way] = true;
        break;
      }
      if (got == 0) pair.ended[way] = true;
      pair.queued[way].append(buffer, static_cast<size_t>(got));
    }
    while (!pair.queued[way].empty()) {
      const ssize_t sent = send(pair.fd[1 - way], pair.queued[way].data(), pair.queued[way].size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        if (sent < 0 && errno != EAGAIN && errno != EINTR) pair.ended[way] = true, pair.queued[way].clear();
        break;
      }
      pair.queued[way].erase(0, static_cast<size_t>(sent));
    }
  }

  void Relay() {
    while (!stop_) {
      std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        for (const int fd : pair.fd) fds.push_back({fd, POLLIN, 0});
      }
      poll(fds.data(), fds.size(), 2);
      if (!open_[0] || !open_[1]) std::this_thread::sleep_for(milliseconds(2));  // what waits must not spin
      Accept();
      for (auto it = pairs_.begin(); it != pairs_.end();) {
        Move(*it, 0);
        Move(*it, 1);
        const bool over = (it->ended[0] && it->queued[0].empty()) || (it->ended[1] && it->queued[1].empty());
        if (over) {
          for (const int fd : it->fd) close(fd);
          it = pairs_.erase(it);
        } else {
          ++it;
        }
      }
    }
    for (const Pair& pair : pairs_) {
      for (const int fd : pair.fd) close(fd);
    }
  }

  const int target_, port_;
  int listener_ = -1;
  std::array<std::atomic<bool>, 2> open_{true, true};
  std::atomic<bool> stop_{false};
  std::list<Pair> pairs_;  // of the thread
  std::thread thread_;
};

}  // namespace capsweep::fault
