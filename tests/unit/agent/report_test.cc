#include "worker/agent/report.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"

namespace capsweep::agent {
namespace {

using ::testing::HasSubstr;

TEST(ReportTest, ResultSurvivesEncodingBitForBit) {
  const Report report = ResultReport(17, 2);
  auto decoded = DecodeReport(EncodeReport(report));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->kind, ReportKind::kResult);
  EXPECT_EQ(decoded->database_id, "db1");
  EXPECT_EQ(decoded->id, Id(17, 2));
  EXPECT_EQ(decoded->device, "cpu:0");
  EXPECT_EQ(decoded->result->nll_bits, 1.0 / 3.0);
  EXPECT_EQ(decoded->result->curve, report.result->curve);
  EXPECT_EQ(ResultToJson(*decoded->result), ResultToJson(*report.result));
}

TEST(ReportTest, FailureWithBrokenUtf8IsStillReadable) {
  Report report = ResultReport(3, 1);
  report.kind = ReportKind::kFailure;
  report.result = nullptr;
  report.cause = FailureCause::kTrainerDied;
  report.message = "last words: \xff\xfe";
  report.pack_size = 4;
  auto decoded = DecodeReport(EncodeReport(report));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->cause, FailureCause::kTrainerDied);
  EXPECT_EQ(decoded->pack_size, 4);
  EXPECT_THAT(decoded->message, HasSubstr("last words"));
}

TEST(ReportTest, HandBackKeepsTheCheckpointsBytes) {
  Report report = ResultReport(3, 1);
  report.kind = ReportKind::kHandBack;
  report.result = nullptr;
  report.checkpoint = std::make_shared<const Checkpoint>(Checkpoint{"torch", std::string("\0\x01\xff\n", 4)});
  auto decoded = DecodeReport(EncodeReport(report));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->checkpoint->backend, "torch");
  EXPECT_EQ(decoded->checkpoint->bytes, report.checkpoint->bytes);
}

TEST(ReportTest, EveryFlippedByteAndEveryCutIsNoticed) {
  const std::string bytes = EncodeReport(ResultReport(17, 2));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 4);
    EXPECT_EQ(DecodeReport(flipped).status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
    EXPECT_EQ(DecodeReport(bytes.substr(0, i)).status().code(), absl::StatusCode::kDataLoss) << "cut at " << i;
  }
}

TEST(ReportTest, EveryFlippedByteAndEveryCutOfAFileOfReportsIsNoticed) {
  std::vector<std::string> texts;
  for (int64_t point : {17, 18, 19}) texts.push_back(EncodeReport(ResultReport(point, 2)));
  const std::string bytes = JoinReports(texts);
  const auto whole = [](std::string_view file) {
    const ReportParts parts = SplitReports(file);
    return parts.complete && std::all_of(parts.reports.begin(), parts.reports.end(),
                                         [](std::string_view part) { return DecodeReport(part).ok(); });
  };
  EXPECT_TRUE(whole(bytes));
  EXPECT_TRUE(whole(JoinReports({texts[0]})));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 4);
    EXPECT_FALSE(whole(flipped)) << "byte " << i;
    EXPECT_FALSE(whole(bytes.substr(0, i))) << "cut at " << i;
  }
}

TEST(ReportTest, WireBytesGrowWithCurveAndCheckpoint) {
  const size_t small = WireBytes(ResultReport(1, 1));
  EXPECT_GT(WireBytes(ResultReport(1, 1, "db1", 1001)), small + 60 * 1000);
  Report report = ResultReport(1, 1);
  report.checkpoint = std::make_shared<const Checkpoint>(Checkpoint{"torch", std::string(5000, 'x')});
  EXPECT_GE(WireBytes(report), small + 5000);
}

}  // namespace
}  // namespace capsweep::agent
