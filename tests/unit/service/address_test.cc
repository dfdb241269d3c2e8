#include "coordinator/service/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capsweep::service {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* text;
  const char* host;
  int port;
  bool loopback;
};

TEST(ListenAddressTest, WellFormedAddressesAreTakenApartAndJudged) {
  const Case cases[] = {
      {"127.0.0.1:7171", "127.0.0.1", 7171, true},
      {"127.8.9.10:0", "127.8.9.10", 0, true},
      {"localhost:80", "localhost", 80, true},
      {"[::1]:7171", "::1", 7171, true},
      {"[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, true},
      {"0.0.0.0:7171", "0.0.0.0", 7171, false},
      {"[::]:7171", "::", 7171, false},
      {"10.0.0.1:65535", "10.0.0.1", 65535, false},
      {"node7.cluster:7171", "node7.cluster", 7171, false},
      {"localhost.example.com:1", "localhost.example.com", 1, false},
      {"128.0.0.1:1", "128.0.0.1", 1, false},
  };
  for (const Case& c : cases) {
    const auto address = ParseListenAddress(c.text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->host, c.host) << c.text;
    EXPECT_EQ(address->port, c.port) << c.text;
    EXPECT_EQ(address->loopback, c.loopback) << c.text;
    EXPECT_EQ(address->ForGrpc(), c.text);
  }
}

TEST(ListenAddressTest, MalformedAddressesAreRefusedWithTheFix) {
  for (const char* text :
       {"", "7171", "127.0.0.1", ":7171", "127.0.0.1:", "127.0.0.1:seven", "127.0.0.1:-1", "127.0.0.1:65536",
        "127.0.0.1:99999999999", "::1:7171", "[::1]", "[zz]:1", "a b:1", "http://x:1", "unix:"}) {
    const auto address = ParseListenAddress(text);
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(address.status().message()), HasSubstr("such as 127.0.0.1:7171")) << text;
  }
}

TEST(ListenAddressTest, AUnixSocketIsLoopbackAndKeepsItsPath) {
  const auto address = ParseListenAddress("unix:/tmp/x:1.sock");
  ASSERT_TRUE(address.ok());
  EXPECT_TRUE(address->is_unix);
  EXPECT_TRUE(address->loopback);
  EXPECT_EQ(address->ForPeople(0), "unix:/tmp/x:1.sock");
}

TEST(ProbeListenTest, APortInUseIsNamedWithTheFix) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  socklen_t size = sizeof at;
  getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  ListenAddress address{.host = "127.0.0.1", .port = ntohs(at.sin_port), .loopback = true};

  const absl::Status taken = ProbeListen(address);
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(taken.message()), HasSubstr("port in use"));
  EXPECT_THAT(std::string(taken.message()), HasSubstr("pick another with --listen"));

  close(fd);
  EXPECT_TRUE(ProbeListen(address).ok());
}

TEST(ProbeListenTest, AnAddressOfAnotherMachineAndAMissingFolderAreRefused) {
  EXPECT_EQ(ProbeListen({.host = "192.0.2.1", .port = 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ProbeListen({.is_unix = true, .host = "/no/such/folder/s.sock"}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace capsweep::service
