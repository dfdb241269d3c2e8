#include "worker/agent/trainer_lines.h"

#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"

namespace capsweep::agent {
namespace {

using ::testing::HasSubstr;

template <class T>
T Parse(const std::string& line) {
  auto message = ParseTrainerLine(line);
  EXPECT_TRUE(message.ok()) << message.status();
  EXPECT_TRUE(message.ok() && std::holds_alternative<T>(*message)) << line;
  return message.ok() && std::holds_alternative<T>(*message) ? std::get<T>(*message) : T{};
}

TEST(TrainerLinesTest, HelloIsRead) {
  const Hello hello = Parse<Hello>(
      R"({"type":"hello","protocol":1,"version":"0.1.0","torch_version":"1.13.1","blas":"openblas","backends":["torch"],)"
      R"("device":"cpu","device_kind":"cpu","device_name":"Xeon","memory_bytes":1000,"slots":3,"threads":1})");
  EXPECT_EQ(hello.protocol, 1);
  EXPECT_EQ(hello.torch_version, "1.13.1");
  EXPECT_EQ(hello.backend, "torch");
  EXPECT_EQ(hello.memory_bytes, 1000);
  EXPECT_EQ(hello.slots, 3);
}

TEST(TrainerLinesTest, HelloWithImpossibleValuesIsMadeHarmless) {
  const Hello hello = Parse<Hello>(R"({"type":"hello","protocol":1,"device_kind":"a\nb","memory_bytes":-5,"slots":0})");
  EXPECT_EQ(hello.memory_bytes, 0);
  EXPECT_EQ(hello.slots, 1);
  EXPECT_EQ(hello.device_kind, "a?b");
}

TEST(TrainerLinesTest, ProgressIsAFractionWithinBounds) {
  EXPECT_EQ(Parse<Progress>(R"({"type":"progress","attempt":"1/1","step":25,"budget_steps":100})").fraction, 0.25);
  EXPECT_EQ(Parse<Progress>(R"({"type":"progress","attempt":"1/1","step":250,"budget_steps":100})").fraction, 1.0);
  EXPECT_EQ(Parse<Progress>(R"({"type":"progress","attempt":"1/1","step":5,"budget_steps":0})").fraction, 0.0);
}

TEST(TrainerLinesTest, ResultIsReadAndAnUnreadableOneEndsTheAttempt) {
  const auto result = TestResult(TestPoint(1));
  const Finished finished =
      Parse<Finished>(StrCat(R"({"type":"result","attempt":"1/1","result":)", ResultToJson(*result), "}"));
  EXPECT_EQ(finished.attempt, "1/1");
  EXPECT_EQ(ResultToJson(*finished.result), ResultToJson(*result));
  const Failed failed = Parse<Failed>(R"({"type":"result","attempt":"1/1","result":{"items_mem":"many"}})");
  EXPECT_EQ(failed.attempt, "1/1");
  EXPECT_EQ(failed.cause, FailureCause::kInternal);
}

TEST(TrainerLinesTest, FailedWithAnUnknownCauseKeepsItsWord) {
  const Failed known =
      Parse<Failed>(R"({"type":"failed","attempt":"1/1","cause":"nan_loss","message":"m","pack_size":2})");
  EXPECT_EQ(known.cause, FailureCause::kNanLoss);
  EXPECT_EQ(known.pack_size, 2);
  const Failed unknown = Parse<Failed>(R"({"type":"failed","attempt":"1/1","cause":"flood","message":"water"})");
  EXPECT_EQ(unknown.cause, FailureCause::kInternal);
  EXPECT_EQ(unknown.message, "flood: water");
}

TEST(TrainerLinesTest, WhatIsNotOfTheProtocolIsAnError) {
  for (const char* line :
       {"", "hello", "[]", "7", "{}", R"({"type":"dance"})", R"({"type":7})", R"({"type":"started"})",
        R"({"type":"started","attempt":5})", R"({"type":"hello"})", "{\"type\":\"err", "\xff\xfe",
        R"({"type":"hello","protocol":1e77})", R"({"type":"hello","protocol":1,"slots":36893488147419103232})",
        R"({"type":"failed","attempt":"1/1","pack_size":1.5})"}) {
    EXPECT_EQ(ParseTrainerLine(line).status().code(), absl::StatusCode::kInvalidArgument) << line;
  }
}

TEST(TrainerLinesTest, CommandsAreOneJsonObjectPerLine) {
  const PointSpec point = TestPoint(5);
  const std::string line = TrainLine("17/2", point, "/a folder/x");
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["attempt"], "17/2");
  EXPECT_EQ(json["checkpoint"], "/a folder/x");
  auto back = PointFromJson(json["point"].dump());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, point);
  EXPECT_FALSE(nlohmann::json::parse(TrainLine("1/1", point, "")).contains("checkpoint"));
  EXPECT_EQ(CancelLine("1/1"), R"({"type":"cancel","attempt":"1/1"})"
                               "\n");
  EXPECT_EQ(StopLine("/f"), R"({"type":"stop","folder":"/f"})"
                            "\n");
}

}  // namespace
}  // namespace capsweep::agent
