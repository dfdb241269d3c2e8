#include "proto/convert.h"

#include <gtest/gtest.h>

namespace capsweep {
namespace {

PointSpec UnusualPoint() {
  PointSpec p;
  p.mode = Mode::kLm;
  p.vocab = 17;
  p.seq_len = 9;
  p.lm_targets = LmTargets::kAll;
  p.family = Family::kKs;
  p.mlp_width = 21;
  p.activation = Activation::kRelu;
  p.positions = Positions::kNone;
  p.dropout = 0.125;
  p.tokens = Tokens::kNegbin;
  p.zipf_s = 1.5;
  p.negbin_r = 2.5;
  p.negbin_p = 0.25;
  p.vector_dim = 9;
  p.heldout_size = 55;
  p.file = "library.csv";
  p.file_hash = std::string(64, 'a');
  p.optimizer = Optimizer::kSgd;
  p.warmup = 0.0625;
  p.momentum = 0.75;
  p.weight_decay = 0.001;
  p.clip_norm = 1.25;
  p.loss = Loss::kMse;
  p.layers = 3;
  p.heads = 5;
  p.head_dim = 7;
  p.width = 11;
  p.freeze_mlp = true;
  p.dataset_size = 123;
  p.data_seed = 4;
  p.lr = 0.0125;
  p.schedule = Schedule::kConstant;
  p.lr_final = 0.5;
  p.batch_size = 33;
  p.epochs = 0;
  p.steps = 77;
  p.eval_every = 3;
  p.patience = 6;
  p.init_seed = 8;
  p.backend = "torch";
  return p;
}

TEST(ConvertTest, PointThroughProtoKeepsEveryField) {
  const PointSpec point = UnusualPoint();
  // Every field differs from its default where it can, so a forgotten one shows.
  const PointSpec defaults;
  int same = 0;
  VisitFields(point, [&](std::string_view name, const auto& value) {
    VisitFields(defaults, [&](std::string_view other, const auto& by_default) {
      if constexpr (std::is_same_v<decltype(value), decltype(by_default)>) {
        if (name == other && value == by_default) ++same;
      }
    });
  });
  EXPECT_EQ(same, 1);  // epochs and steps exclude each other
  v1::Point message;
  PointToProto(point, &message);
  const auto back = PointFromProto(message);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, point);
}

TEST(ConvertTest, UnknownWordIsRefusedByField) {
  v1::Point message;
  PointToProto(PointSpec(), &message);
  message.set_schedule("linear");
  const auto back = PointFromProto(message);
  EXPECT_EQ(back.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(back.status().message()).find("schedule: 'linear'"), std::string::npos);
}

TEST(ConvertTest, ResultThroughProtoKeepsEveryField) {
  PointResult result;
  int64_t number = 1;
  VisitResultFields(result, [&](std::string_view name, auto& value) {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string>) {
      value = "text of " + std::string(name);
    } else {
      value = static_cast<T>(++number);
    }
  });
  result.curve = {{1, 2, 3, 4, 5.5, 6.5}, {7, 8, 9, 10, 11.5, 12.5}};
  v1::Result message;
  ResultToProto(result, &message);
  const PointResult back = ResultFromProto(message);
  EXPECT_EQ(ResultToJson(back), ResultToJson(result));
}

TEST(ConvertTest, StatusCodesAreTheSameOnBothSides) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
}

}  // namespace
}  // namespace capsweep
