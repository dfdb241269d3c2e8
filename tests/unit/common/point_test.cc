#include "common/point.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "common/param_count.h"

namespace capsweep {
namespace {

PointSpec Small() {
  PointSpec p;
  p.epochs = 10;
  return p;
}

TEST(PointKeyTest, CanonicalTextIsFrozen) {
  // Keys identify results for ever: a change here makes every database forget what it knows.
  EXPECT_EQ(CanonicalText(Small()),
            "mode=label\nvocab=16\nseq_len=8\nfamily=xt\nlayers=1\nheads=1\nhead_dim=8\nwidth=8\nfreeze_mlp=false\n"
            "dataset_size=100\ndata_seed=1\noptimizer=adam\nlr=0.003\nschedule=cosine\nlr_final=0.02\nbatch_size=100\n"
            "epochs=10\neval_every=10\npatience=200\ninit_seed=1\n");
  EXPECT_EQ(PointKey(Small()), "fbfb8a8b4988cccad077f7e5c4d0883c");
}

TEST(PointKeyTest, FieldsThatCannotChangeTheResultDoNotCount) {
  PointSpec p = Small();
  const std::string key = PointKey(p);
  p.lm_targets = LmTargets::kAll;
  EXPECT_EQ(PointKey(p), key);
  p.mode = Mode::kLm;
  EXPECT_NE(PointKey(p), key);

  PointSpec constant = Small();
  constant.schedule = Schedule::kConstant;
  const std::string constant_key = PointKey(constant);
  constant.lr_final = 0.5;
  EXPECT_EQ(PointKey(constant), constant_key);
}

TEST(PointKeyTest, EveryOtherFieldCounts) {
  std::set<std::string> keys = {PointKey(Small())};
  size_t changes = 0;
  auto expect_new = [&](auto change) {
    PointSpec p = Small();
    change(p);
    ++changes;
    EXPECT_TRUE(keys.insert(PointKey(p)).second) << CanonicalText(p);
  };
  expect_new([](PointSpec& p) { p.mode = Mode::kSeq; });
  expect_new([](PointSpec& p) { p.vocab = 17; });
  expect_new([](PointSpec& p) { p.seq_len = 9; });
  expect_new([](PointSpec& p) { p.layers = 2; });
  expect_new([](PointSpec& p) { p.heads = 2; });
  expect_new([](PointSpec& p) { p.head_dim = 9; });
  expect_new([](PointSpec& p) { p.width = 9; });
  expect_new([](PointSpec& p) { p.freeze_mlp = true; });
  expect_new([](PointSpec& p) { p.dataset_size = 101; });
  expect_new([](PointSpec& p) { p.data_seed = 2; });
  expect_new([](PointSpec& p) { p.lr = 0.0030000000000000005; });
  expect_new([](PointSpec& p) { p.schedule = Schedule::kConstant; });
  expect_new([](PointSpec& p) { p.lr_final = 0.03; });
  expect_new([](PointSpec& p) { p.batch_size = 99; });
  expect_new([](PointSpec& p) { p.epochs = 11; });
  expect_new([](PointSpec& p) { p.eval_every = 11; });
  expect_new([](PointSpec& p) { p.patience = 0; });
  expect_new([](PointSpec& p) { p.init_seed = 2; });
  expect_new([](PointSpec& p) { p.backend = "torch"; });
  expect_new([](PointSpec& p) { p.family = Family::kGpt2; });
  expect_new([](PointSpec& p) { p.family = Family::kMlp; });
  expect_new([](PointSpec& p) { p.mlp_width = 7; });
  expect_new([](PointSpec& p) { p.activation = Activation::kRelu; });
  expect_new([](PointSpec& p) { p.positions = Positions::kRotary; });
  expect_new([](PointSpec& p) { p.dropout = 0.1; });
  expect_new([](PointSpec& p) { p.tokens = Tokens::kZipf; });
  expect_new([](PointSpec& p) { p.tokens = Tokens::kZipf, p.zipf_s = 2; });
  expect_new([](PointSpec& p) { p.tokens = Tokens::kNegbin; });
  expect_new([](PointSpec& p) { p.tokens = Tokens::kNegbin, p.negbin_p = 0.25; });
  expect_new([](PointSpec& p) { p.heldout_size = 10; });
  expect_new([](PointSpec& p) { p.file_hash = std::string(64, 'a'); });
  expect_new([](PointSpec& p) { p.optimizer = Optimizer::kAdamw; });
  expect_new([](PointSpec& p) { p.optimizer = Optimizer::kSgd; });
  expect_new([](PointSpec& p) { p.optimizer = Optimizer::kSgd, p.momentum = 0.5; });
  expect_new([](PointSpec& p) { p.weight_decay = 0.01; });
  expect_new([](PointSpec& p) { p.warmup = 0.1; });
  expect_new([](PointSpec& p) { p.clip_norm = 1; });
  expect_new([](PointSpec& p) { p.loss = Loss::kMse; });
  EXPECT_EQ(keys.size(), changes + 1);
}

TEST(PointKeyTest, LaterFieldsCountOnlyWhereTheyAreRead) {
  const std::string key = PointKey(Small());
  const auto same = [&](auto change) {
    PointSpec p = Small();
    change(p);
    EXPECT_EQ(PointKey(p), key) << CanonicalText(p);
  };
  same([](PointSpec& p) { p.zipf_s = 2; });
  same([](PointSpec& p) { p.negbin_r = 2; });
  same([](PointSpec& p) { p.vector_dim = 2; });
  same([](PointSpec& p) { p.momentum = 0.5; });
  same([](PointSpec& p) { p.file = "elsewhere.csv"; });  // the hash says what the library is, not the path
  PointSpec mlp = Small();
  mlp.family = Family::kMlp;
  const std::string mlp_key = PointKey(mlp);
  mlp.heads = 4;
  EXPECT_EQ(PointKey(mlp), mlp_key);
}

TEST(ShapeKeyTest, PointsOfOneShapeHaveOneBackEnd) {
  PointSpec p = Small();
  EXPECT_EQ(ShapeKey(p), "xt/label/l1/h1/d8/w8/n8/v16/b100/adam/fp32");
  EXPECT_EQ(TorchOnlyField(p), "");
  p.mlp_width = 32;  // what it would be anyway
  EXPECT_EQ(ShapeKey(p), "xt/label/l1/h1/d8/w8/n8/v16/b100/adam/fp32");
  p.activation = Activation::kRelu;
  EXPECT_EQ(TorchOnlyField(p), "activation");
  EXPECT_EQ(ShapeKey(p), "xt/label/l1/h1/d8/w8/n8/v16/b100/adam/fp32/relu/torch");
  p = Small();
  p.clip_norm = 1;
  EXPECT_EQ(ShapeKey(p), "xt/label/l1/h1/d8/w8/n8/v16/b100/adam/fp32/torch");
  p = Small();
  p.warmup = 0.1;  // a matter of the learning rate alone
  EXPECT_EQ(ShapeKey(p), ShapeKey(Small()));
}

TEST(PointKeyTest, PrefixIsTheFirst64Bits) {
  EXPECT_EQ(KeyPrefix("0123456789abcdef0000000000000000"), 0x0123456789abcdefULL);
}

TEST(ParamCountTest, AgreesWithReferenceCases) {
  PointSpec p = Small();
  p.heads = 2;
  EXPECT_EQ(CountParams(p).total, 1408);
  EXPECT_EQ(CountParams(p).train, 1408);
  p.freeze_mlp = true;
  EXPECT_EQ(CountParams(p).total, 1408);
  EXPECT_EQ(CountParams(p).train, 856);
  EXPECT_EQ(CountGpt2Params(2048, 64, 10, 256), 8'438'784);
  EXPECT_EQ(CountTorchDecoderParams(105'040, 2, 1, 128, 2048), 27'654'864);
}

TEST(ParamCountTest, OtherFamilies) {
  PointSpec p = Small();
  p.positions = Positions::kNone;
  EXPECT_EQ(CountParams(p).total, 1408 - 8 * 8 - 4 * 8 * 8);  // heads 1
  p = Small();
  p.mlp_width = 10;
  EXPECT_EQ(CountParams(p).total, 1408 - 4 * 8 * 8 - (8 * 64 + 40) + (2 * 8 * 10 + 10 + 8));
  p = Small();
  p.family = Family::kMlp;
  p.mlp_width = 100;
  EXPECT_EQ(CountParams(p).total, 16 * 8 + 8 * 8 * 100 + 100 + 16 * 100);
  p.mode = Mode::kSeq;
  EXPECT_EQ(CountParams(p).total, 16 * 8 + 8 * 8 * 100 + 100 + 8 * 16 * 100);
  // Kajitsuka and Sato: m = 2, q = 8, so 84 parameters for a block of F1 and one of F2.
  p = Small();
  p.family = Family::kKs;
  p.width = 2;
  p.tokens = Tokens::kVectors;
  p.positions = Positions::kNone;
  p.vocab = 2;
  p.loss = Loss::kMse;
  const int64_t one = CountParams(p).total;
  EXPECT_EQ(one, 6 * 2 + 2 + 84 + 2 * 2 * 2 + 2 + 1);
  p.layers = 5;
  EXPECT_EQ(CountParams(p).total - one, 4 * 84);
  p.seq_len = 10'000;
  EXPECT_EQ(CountParams(p).total - one, 4 * 84);
}

TEST(ParamCountTest, AllSixteenSizesOfMorrisTable1) {
  struct Size {
    int64_t layers, width;
    double printed;
  };
  const Size sizes[] = {{1, 32, 8.04e4}, {1, 64, 1.85e5}, {1, 128, 4.69e5}, {1, 256, 1.33e6},
                        {2, 32, 9.31e4}, {2, 64, 2.35e5}, {2, 128, 6.67e5}, {2, 256, 2.12e6},
                        {4, 32, 1.18e5}, {4, 64, 3.35e5}, {4, 128, 1.06e6}, {4, 256, 3.70e6},
                        {8, 32, 1.69e5}, {8, 64, 5.35e5}, {8, 128, 1.86e6}, {8, 256, 6.86e6}};
  for (const Size& s : sizes) {
    const double count = static_cast<double>(CountGpt2Params(2048, 64, s.layers, s.width));
    EXPECT_NEAR(count / s.printed, 1.0, 0.005) << s.layers << " layers, width " << s.width;
  }
  EXPECT_EQ(CountGpt2Params(2048, 64, 1, 32), 80'352);
  EXPECT_EQ(CountGpt2Params(2048, 64, 8, 256), 6'859'264);
}

TEST(PointJsonTest, RoundTripKeepsThePoint) {
  PointSpec p = Small();
  p.mode = Mode::kLm;
  p.lr = 1.0 / 3.0;
  p.freeze_mlp = true;
  p.backend = "cpu";
  const auto back = PointFromJson(PointToJson(p));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, p);
}

TEST(PointJsonTest, BadFieldsAreNamed) {
  auto message = [](const char* json) { return std::string(PointFromJson(json).status().message()); };
  EXPECT_EQ(message(R"({"heads":1.5})"), "heads: 1.5 must be a whole number");
  EXPECT_EQ(message(R"({"heads":"two"})"), "heads: \"two\" must be a whole number");
  EXPECT_EQ(message(R"({"data_seed":-1})"), "data_seed: -1 must be a whole number");
  EXPECT_EQ(message(R"({"mode":"words"})"), "mode: \"words\" must be one of its words");
  EXPECT_EQ(message(R"({"hedas":2})"), "hedas: no such field of a point");
  EXPECT_EQ(message("[1]"), "a point must be a JSON object");
  EXPECT_EQ(message("{"), "a point must be a JSON object");
  EXPECT_TRUE(PointFromJson(R"({"heads":2.0})").ok());
}

TEST(ValidatePointTest, EveryRuleNamesFieldAndFix) {
  auto message = [](auto change) {
    PointSpec p = Small();
    change(p);
    return std::string(ValidatePoint(p).message());
  };
  EXPECT_TRUE(ValidatePoint(Small()).ok()) << ValidatePoint(Small());
  const auto says = [&](auto change, const char* text) {
    EXPECT_NE(message(change).find(text), std::string::npos) << message(change);
  };
  says([](PointSpec& p) { p.dropout = 1; }, "dropout: 1 is not a probability");
  says([](PointSpec& p) { p.family = Family::kGpt2, p.heads = 3; }, "needs heads * head_dim = width, not 3 * 8 = 24");
  says([](PointSpec& p) { p.family = Family::kMlp, p.layers = 2; }, "layers: family mlp has one hidden layer");
  says([](PointSpec& p) { p.family = Family::kMlp, p.mode = Mode::kLm; }, "mode: family mlp");
  says([](PointSpec& p) { p.family = Family::kKs, p.mode = Mode::kSeq; }, "mode: family ks reads one position");
  says([](PointSpec& p) { p.family = Family::kKs, p.dropout = 0.1; }, "dropout: family ks has no dropout");
  says([](PointSpec& p) { p.positions = Positions::kRotary, p.head_dim = 7; }, "head_dim: 7 is odd");
  says([](PointSpec& p) { p.tokens = Tokens::kVectors; }, "tokens: family xt takes no vectors");
  says([](PointSpec& p) { p.weight_decay = 0.1; }, "weight_decay: adam has none; use optimizer adamw");
  says([](PointSpec& p) { p.loss = Loss::kMse; }, "loss: mse is for labels of -1 and 1");
  says([](PointSpec& p) { p.file = "a.csv"; }, "file: file and file_hash belong together");
  says([](PointSpec& p) { p.file_hash = "xyz"; }, "file_hash: is not a SHA-256");
  says([](PointSpec& p) { p.backend = "cpu", p.clip_norm = 1; }, "backend: cpu does not serve this clip_norm");
  EXPECT_EQ(message([](PointSpec& p) { p.heads = 0; }), "heads: 0 is out of range; use a whole number from 1 to 1024");
  EXPECT_NE(message([](PointSpec& p) { p.lr = std::numeric_limits<double>::quiet_NaN(); }).find("lr: nan"),
            std::string::npos);
  EXPECT_NE(message([](PointSpec& p) { p.steps = 5; }).find("keep one of the two"), std::string::npos);
  EXPECT_NE(message([](PointSpec& p) { p.epochs = 0; }).find("give one of the two"), std::string::npos);
  EXPECT_NE(message([](PointSpec& p) {
              p.vocab = 2;
              p.seq_len = 8;
              p.dataset_size = 65;
            }).find("2^8 = 256"),
            std::string::npos);
  EXPECT_TRUE(message([](PointSpec& p) {
                p.vocab = 2;
                p.seq_len = 8;
                p.dataset_size = 64;
              }).empty());
  // Several at once.
  const std::string both = message([](PointSpec& p) {
    p.heads = 0;
    p.width = 0;
  });
  EXPECT_NE(both.find("heads"), std::string::npos);
  EXPECT_NE(both.find("width"), std::string::npos);
}

TEST(BudgetTest, LastBatchOfAnEpochMayBeSmaller) {
  PointSpec p = Small();
  p.dataset_size = 101;
  p.batch_size = 50;
  EXPECT_EQ(StepsPerEpoch(p), 3);
  EXPECT_EQ(BudgetSteps(p), 30);
  p.epochs = 0;
  p.steps = 7;
  EXPECT_EQ(BudgetSteps(p), 7);
}

}  // namespace
}  // namespace capsweep
