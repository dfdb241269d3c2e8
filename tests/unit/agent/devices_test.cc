#include "worker/agent/devices.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/agent/options.h"

namespace capsweep::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(DevicesTest, CoresAndGpusAreNamed) {
  const HostDevices host{.cores = 2, .gpus = 1};
  EXPECT_THAT(*ParseDevices("cpu", host), ElementsAre(DeviceName{"cpu:0", "cpu"}, DeviceName{"cpu:1", "cpu"}));
  EXPECT_THAT(*ParseDevices("cpu:3", host).value().rbegin(), (DeviceName{"cpu:2", "cpu"}));
  EXPECT_THAT(*ParseDevices("cuda:1,0", host),
              ElementsAre(DeviceName{"cuda:1", "cuda:1"}, DeviceName{"cuda:0", "cuda:0"}));
  EXPECT_EQ(ParseDevices("all", host)->size(), 3u);
}

TEST(DevicesTest, WrongWordsAreRefusedByName) {
  for (const char* text : {"", "gpu", "cpu:", "cpu:0", "cpu:-1", "cpu:two", "cpu:1.5", "cpu:99999", "cuda:", "cuda:x",
                           "cuda:0,0", "cuda:-1", "cuda:0,,1", "CPU"}) {
    auto devices = ParseDevices(text, HostDevices{});
    EXPECT_EQ(devices.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(devices.status().message()), HasSubstr(text));
  }
}

TEST(DevicesTest, QuotaOfACgroupIsRoundedUp) {
  EXPECT_EQ(CoresOfQuota("max 100000"), 0);
  EXPECT_EQ(CoresOfQuota("200000 100000"), 2);
  EXPECT_EQ(CoresOfQuota("150000 100000"), 2);
  EXPECT_EQ(CoresOfQuota("10000 100000"), 1);
  EXPECT_EQ(CoresOfQuota("-1 100000"), 0);
  EXPECT_EQ(CoresOfQuota(""), 0);
}

TEST(DevicesTest, HostHasAtLeastOneCore) {
  EXPECT_GE(FindHostDevices().cores, 1);
}

TEST(OptionsTest, CoordinatorMustBeHostAndPort) {
  for (const char* address : {"", "localhost", "localhost:", ":7171", "localhost:0", "localhost:65536",
                              "localhost:http", "1.2.3.4:5:6", "a b:1", "http://localhost:1"}) {
    EXPECT_EQ(CheckCoordinatorAddress(address, true).code(), absl::StatusCode::kInvalidArgument) << address;
  }
  for (const char* address : {"localhost:7171", "127.0.0.1:1", "127.1.2.3:65535", "[::1]:7171"}) {
    EXPECT_TRUE(CheckCoordinatorAddress(address, false).ok()) << address;
  }
}

TEST(OptionsTest, PlainTextLeavesTheHostOnlyWithTheFlag) {
  const absl::Status refused = CheckCoordinatorAddress("node7:7171", false);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--i-know-this-is-insecure"));
  EXPECT_TRUE(CheckCoordinatorAddress("node7:7171", true).ok());
}

TEST(OptionsTest, LabelsAreKeyAndValue) {
  EXPECT_THAT(*ParseLabels({"rack=7", "note=a=b"}), ElementsAre(Pair("note", "a=b"), Pair("rack", "7")));
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"rack"}, {"=7"}, {"a b=7"}, {"a=1", "a=2"}, {"a=\n"}}) {
    EXPECT_FALSE(ParseLabels(wrong).ok()) << wrong[0];
  }
}

}  // namespace
}  // namespace capsweep::agent
