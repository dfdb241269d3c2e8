// The quick readers of our own JSON: they read all that we write, and whatever else they take they read as JSON does.
#include "common/json_scan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/point.h"
#include "common/result.h"

namespace capsweep {
namespace {

PointResult SomeResult() {
  PointResult r;
  r.point_key = "0123456789abcdef0123456789abcdef";
  r.items_mem = 40;
  r.nll_bits = 1e-300;
  r.bits_mem = -12.25;
  r.stop_reason = "budget";
  r.device_name = "Xeon (R), 2 x";
  r.seconds = 3e21;
  r.curve = {{1, 2, 3, 4, 5.5, 0.1}, {2, 4, 3, 4, 5.0, -6.0, 0.75}};
  return r;
}

PointSpec SomePoint() {
  PointSpec p;
  p.steps = 7;
  p.data_seed = std::numeric_limits<uint64_t>::max();
  p.lr = 0.1;
  p.dropout = 0.25;
  p.freeze_mlp = true;
  p.file = "a b.csv";
  p.backend = "cpu";
  return p;
}

bool ScansAll(const std::string& text, PointResult& out) {
  JsonScan in(text);
  out = PointResult();
  return ScanResult(in, out) && in.AtEnd();
}
bool ScansAll(const std::string& text, PointSpec& out) {
  JsonScan in(text);
  return ScanPoint(in, out) && in.AtEnd();
}
std::string Again(const PointResult& r) {
  return ResultToJson(r);
}
std::string Again(const PointSpec& p) {
  return PointToJson(p);
}
absl::StatusOr<PointResult> Parsed(const std::string& text, const PointResult&) {
  return ResultFromJson(text);
}
absl::StatusOr<PointSpec> Parsed(const std::string& text, const PointSpec&) {
  return PointFromJson(text);
}

TEST(JsonScanTest, ReadsWhatIsWritten) {
  PointResult result;
  ASSERT_TRUE(ScansAll(ResultToJson(SomeResult()), result));
  EXPECT_EQ(ResultToJson(result), ResultToJson(SomeResult()));
  EXPECT_EQ(result.curve, SomeResult().curve);
  PointResult measured = SomeResult();
  measured.heldout_loss = 0.5;
  measured.curve.clear();
  ASSERT_TRUE(ScansAll(ResultToJson(measured), result));
  EXPECT_EQ(ResultToJson(result), ResultToJson(measured));
  for (const PointSpec& written : {PointSpec(), SomePoint()}) {
    PointSpec point;
    ASSERT_TRUE(ScansAll(PointToJson(written), point)) << PointToJson(written);
    EXPECT_EQ(PointToJson(point), PointToJson(written));
  }
}

TEST(JsonScanTest, LeavesTheRestToAReaderOfJson) {
  PointResult result = SomeResult();
  PointSpec point;
  result.nll_bits = std::nan("");  // null
  EXPECT_FALSE(ScansAll(ResultToJson(result), result));
  result = SomeResult();
  result.device_name = "a \"quoted\" name";
  EXPECT_FALSE(ScansAll(ResultToJson(result), result));
  EXPECT_FALSE(ScansAll(R"({"heads": 2})", point));
  EXPECT_FALSE(ScansAll(R"({"width":8,"heads":2})", point));
  EXPECT_TRUE(PointFromJson(R"({"width":8,"heads":2})").ok());
}

// Each character of a text replaced and left out: what is still taken must be what the other reader reads.
template <class T>
void BreakEverywhere(const T& value) {
  const std::string text = Again(value);
  int64_t taken = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    for (const char c : std::string("\"\\,:{}[]-+0.9eE xn\x01\xff")) {
      std::string broken = text;
      c == '\x01' ? broken.erase(at, 1) : broken.replace(at, 1, 1, c);
      T scanned;
      if (!ScansAll(broken, scanned)) {
        continue;
      }
      ++taken;
      const auto parsed = Parsed(broken, scanned);
      ASSERT_TRUE(parsed.ok()) << broken << " " << parsed.status();
      EXPECT_EQ(Again(*parsed), Again(scanned)) << broken;
    }
  }
  EXPECT_GT(taken, 100);  // numbers with other digits, texts with other letters
}

TEST(JsonScanTest, BrokenTextIsNeverReadOtherwiseThanAsJson) {
  BreakEverywhere(SomeResult());
  BreakEverywhere(SomePoint());
}

TEST(JsonScanTest, NumbersAreThoseOfJson) {
  const auto reads = [](const std::string& text) {
    double number = 0;
    JsonScan in(text);
    return in.Read(number) && in.AtEnd();
  };
  for (const char* good : {"0", "10", "-1.5", "1e5", "2.5E-7", "0.0"}) EXPECT_TRUE(reads(good)) << good;
  for (const char* bad : {"", "-", "01", ".5", "5.", "5.e1", "+1", "inf", "-inf", "nan", "0x10", "1e", "-0", "1e999"}) {
    EXPECT_FALSE(reads(bad)) << bad;
  }
}

}  // namespace
}  // namespace capsweep
