#include "common/result.h"

#include <gtest/gtest.h>

#include <limits>

#include "common/param_count.h"
#include "common/point.h"

namespace capsweep {
namespace {

PointSpec Point() {
  PointSpec p;
  p.epochs = 10;
  return p;
}

PointResult Plausible() {
  const PointSpec p = Point();
  PointResult r;
  r.point_key = PointKey(p);
  r.items_mem = 40;
  r.items_mem_best = 42;
  r.tokens_mem = 40;
  r.targets = 1;
  r.nll_bits = 12.5;
  r.bits_mem = 387.5;
  r.items_corr = 36;
  r.steps = 10;
  r.stop_reason = "budget";
  r.params_total = CountParams(p).total;
  r.params_train = CountParams(p).train;
  r.curve = {{10, 10, 40, 40, 12.5, 0.25}};
  return r;
}

TEST(ResultJsonTest, RoundTripKeepsTheResult) {
  const PointResult r = Plausible();
  const auto back = ResultFromJson(ResultToJson(r));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ResultToJson(*back), ResultToJson(r));
  EXPECT_EQ(back->curve, r.curve);
}

TEST(ResultJsonTest, MissingOrMistypedFieldIsNamed) {
  EXPECT_EQ(ResultFromJson("{}").status().message(), "point_key: is missing");
  std::string text = ResultToJson(Plausible());
  text.replace(text.find("\"items_mem\":40"), 14, "\"items_mem\":\"x\"");
  EXPECT_EQ(ResultFromJson(text).status().message(), "items_mem: has the wrong type");
  EXPECT_FALSE(ResultFromJson("nonsense").ok());
}

TEST(ResultJsonTest, NumbersThatTheirFieldCannotHoldAreNamed) {
  const std::string text = ResultToJson(Plausible());
  for (const char* value : {"1e77", "4.0", "9223372036854775808", "-1e400"}) {
    std::string wrong = text;
    const size_t at = wrong.find("\"items_mem\":40") + 12;
    const auto back = ResultFromJson(wrong.replace(at, 2, value));
    ASSERT_FALSE(back.ok()) << value;
    EXPECT_NE(back.status().message().find(value[0] == '-' ? "" : "items_mem"), std::string_view::npos)
        << back.status();
  }
}

TEST(ValidateResultTest, LiesAreRefused) {
  EXPECT_TRUE(ValidateResult(Point(), Plausible()).ok()) << ValidateResult(Point(), Plausible());
  auto refused = [](auto change) {
    PointResult r = Plausible();
    change(r);
    return !ValidateResult(Point(), r).ok();
  };
  EXPECT_TRUE(refused([](PointResult& r) { r.point_key[0] ^= 1; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.items_mem = 101; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.items_mem = -1; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.items_mem_best = 39; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.tokens_mem = 39; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.targets = 2; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.nll_bits = -1; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.bits_mem = 401; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.train_loss = std::numeric_limits<double>::infinity(); }));
  EXPECT_TRUE(refused([](PointResult& r) { r.steps = 11; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.params_total += 1; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.stop_reason = "bored"; }));
  EXPECT_TRUE(refused([](PointResult& r) { r.curve[0].items_mem = 1000; }));
}

TEST(FailureCauseTest, WordsRoundTrip) {
  for (auto cause :
       {FailureCause::kNanLoss, FailureCause::kOutOfMemory, FailureCause::kUnsupported, FailureCause::kBadPoint,
        FailureCause::kTrainerDied, FailureCause::kTrainerHung, FailureCause::kInternal}) {
    FailureCause back = FailureCause::kInternal;
    EXPECT_TRUE(FromWord(ToWord(cause), back));
    EXPECT_EQ(back, cause);
  }
}

}  // namespace
}  // namespace capsweep
