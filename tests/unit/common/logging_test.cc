// Log lines as a process writes them: text for people, JSON for machines.
#include "common/logging.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "gmock/gmock.h"

namespace capsweep {
namespace {

using ::testing::HasSubstr;

// What a child that logs three records says on standard error.
std::string Logged(std::string_view format, const std::string& message) {
  ::testing::internal::CaptureStderr();
  const std::string program = std::string("logging-test-") + std::string(format) + std::to_string(message.size());
  const auto before = spdlog::default_logger();
  EXPECT_TRUE(InitLogging(program, "info", format).ok());
  spdlog::warn("{}", WithFields(message, {{"point", "12"}, {"attempt", "3"}, {"worker", "node \"7\"\x1f\n"}}));
  spdlog::debug("not at this level");
  spdlog::info("plain");
  spdlog::default_logger()->flush();
  spdlog::set_default_logger(before);
  return ::testing::internal::GetCapturedStderr();
}

TEST(LoggingTest, JsonHasARecordALineWithFieldsAsKeys) {
  std::istringstream lines(Logged("json", "lost\nits \"worker\" \xff"));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const nlohmann::json first = nlohmann::json::parse(line);
  EXPECT_EQ(first["level"], "warning");
  EXPECT_THAT(first["message"].get<std::string>(), HasSubstr("lost\nits \"worker\""));
  EXPECT_EQ(first["point"], "12");
  EXPECT_EQ(first["attempt"], "3");
  EXPECT_EQ(first["worker"], "node \"7\" \n");
  EXPECT_THAT(first["time"].get<std::string>(), ::testing::MatchesRegex("[0-9-]+T[0-9:.]+Z"));
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["message"], "plain");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST(LoggingTest, TextHasFieldsBehindTheMessageAndNobodyCanForgeALine) {
  const std::string text = Logged("text", "bad\r\n2026-01-01T00:00:00.000 x info all is well");
  EXPECT_THAT(text, HasSubstr(" point=12 attempt=3 worker=node"));
  EXPECT_THAT(text, HasSubstr("\n    2026-01-01"));
  EXPECT_EQ(text.find("\n2026-01-01"), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(LoggingTest, AnUnknownFormatIsRefused) {
  EXPECT_EQ(InitLogging("logging-test-none", "info", "xml").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace capsweep
