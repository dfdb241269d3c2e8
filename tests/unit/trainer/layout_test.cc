#include <cmath>
#include <vector>

#include "common/param_count.h"
#include "gtest/gtest.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer {
namespace {

TEST(LayoutTest, SizesAgreeWithTheExactCounts) {
  for (const int64_t layers : {1, 3}) {
    for (const int64_t heads : {1, 2, 5}) {
      for (const int64_t width : {1, 8, 12}) {
        for (const bool freeze : {false, true}) {
          PointSpec point;
          point.layers = layers, point.heads = heads, point.width = width, point.freeze_mlp = freeze;
          const ParamLayout layout = MakeLayout(point);
          const ParamCount count = CountParams(point);
          EXPECT_EQ(layout.total, count.total);
          EXPECT_EQ(layout.train, count.train);
        }
      }
    }
  }
}

// Every family with every option that a point may have.
TEST(LayoutTest, SizesOfEveryFamilyAndOptionAgreeWithTheExactCounts) {
  int valid = 0, per_family[4] = {};
  for (const Family family : {Family::kXt, Family::kGpt2, Family::kMlp, Family::kKs})
    for (const Mode mode : {Mode::kLabel, Mode::kSeq, Mode::kLm})
      for (const Positions positions : {Positions::kAbsolute, Positions::kNone, Positions::kRotary})
        for (const Tokens tokens : {Tokens::kUniform, Tokens::kVectors})
          for (const Loss loss : {Loss::kCrossEntropy, Loss::kMse})
            for (const int64_t mlp_width : {0, 5})
              for (const int64_t layers : {1, 3})
                for (const bool freeze : {false, true}) {
                  PointSpec point;
                  point.family = family, point.mode = mode, point.positions = positions, point.tokens = tokens;
                  point.loss = loss, point.mlp_width = mlp_width, point.layers = layers, point.freeze_mlp = freeze;
                  point.heads = 2, point.head_dim = 6, point.width = 12, point.vocab = 2, point.seq_len = 9;
                  point.vector_dim = 7, point.steps = 1;
                  if (!ValidatePoint(point).ok()) continue;
                  ++valid, ++per_family[static_cast<int>(family)];
                  const ParamLayout layout = MakeLayout(point);
                  const ParamCount count = CountParams(point);
                  EXPECT_EQ(layout.total, count.total) << CanonicalText(point);
                  EXPECT_EQ(layout.train, count.train) << CanonicalText(point);
                }
  EXPECT_GT(valid, 120);
  for (const int points : per_family) EXPECT_GT(points, 9);
}

TEST(LayoutTest, ReferenceModelHas1408WeightsAnd856WithFrozenMlp) {
  PointSpec point;
  point.heads = 2;
  EXPECT_EQ(MakeLayout(point).total, 1408);
  point.freeze_mlp = true;
  EXPECT_EQ(MakeLayout(point).total, 1408);
  EXPECT_EQ(MakeLayout(point).train, 856);
}

TEST(LayoutTest, TensorsTileTheBlockWithFrozenOnesLast) {
  PointSpec point;
  point.layers = 2, point.freeze_mlp = true;
  const ParamLayout layout = MakeLayout(point);
  std::vector<int> used(static_cast<size_t>(layout.total));
  for (const TensorSpec& tensor : layout.tensors) {
    for (int64_t i = 0; i < tensor.size(); ++i) ++used[static_cast<size_t>(tensor.offset + i)];
    EXPECT_EQ(tensor.frozen, tensor.offset >= layout.train) << tensor.name;
  }
  EXPECT_EQ(used, std::vector<int>(static_cast<size_t>(layout.total), 1));
}

TEST(LayoutTest, QueryKeyValueAreAdjacent) {
  PointSpec point;
  point.layers = 2;
  const ParamLayout layout = MakeLayout(point);
  for (int64_t layer = 0; layer < 2; ++layer) {
    const TensorSpec& query = layout.tensors[static_cast<size_t>(layout.Find(Role::kQuery, layer))];
    const TensorSpec& key = layout.tensors[static_cast<size_t>(layout.Find(Role::kKey, layer))];
    const TensorSpec& value = layout.tensors[static_cast<size_t>(layout.Find(Role::kValue, layer))];
    EXPECT_EQ(key.offset, query.offset + query.size());
    EXPECT_EQ(value.offset, key.offset + key.size());
  }
  EXPECT_EQ(layout.Find(Role::kQuery, 2), -1);
}

TEST(InitialWeightsTest, EveryTensorHasItsOwnScale) {
  PointSpec point;
  point.vocab = 500, point.seq_len = 200, point.width = 32, point.heads = 4, point.layers = 2;
  const ParamLayout layout = MakeLayout(point);
  const std::vector<float> weights = InitialWeights(layout, 7);
  for (const TensorSpec& tensor : layout.tensors) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const double w = weights[static_cast<size_t>(tensor.offset + i)];
      sum += w, squares += w * w;
    }
    const auto n = static_cast<double>(tensor.size());
    if (IsVector(tensor.role)) {
      const bool bias = tensor.role == Role::kUpBias || tensor.role == Role::kDownBias;
      EXPECT_EQ(sum, bias ? 0 : n) << tensor.name;
      continue;
    }
    const bool embedding = tensor.role == Role::kTokenEmbedding || tensor.role == Role::kPositionEmbedding;
    const double deviation = embedding ? 1 : 1 / std::sqrt(static_cast<double>(tensor.cols));
    EXPECT_NEAR(sum / n, 0, 5 * deviation / std::sqrt(n)) << tensor.name;
    EXPECT_NEAR(std::sqrt(squares / n) / deviation, 1, 4 / std::sqrt(n)) << tensor.name;
  }
}

TEST(InitialWeightsTest, Gpt2StartsSmallEverywhere) {
  PointSpec point;
  point.family = Family::kGpt2, point.width = 32, point.heads = 4, point.vocab = 64, point.seq_len = 64;
  const ParamLayout layout = MakeLayout(point);
  const std::vector<float> weights = InitialWeights(layout, 7);
  for (const TensorSpec& tensor : layout.tensors) {
    double squares = 0;
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const double w = weights[static_cast<size_t>(tensor.offset + i)];
      squares += w * w / static_cast<double>(tensor.size());
    }
    const bool gain = tensor.name.find("norm") != std::string::npos && tensor.name.find("bias") == std::string::npos;
    const double expected = gain ? 1 : IsVector(tensor.role) ? 0 : 0.02;
    EXPECT_NEAR(std::sqrt(squares), expected, 0.1 * expected) << tensor.name;
  }
}

TEST(InitialWeightsTest, FreezingMovesTensorsButKeepsTheirValues) {
  PointSpec point;
  point.layers = 2;
  const ParamLayout all = MakeLayout(point);
  point.freeze_mlp = true;
  const ParamLayout frozen = MakeLayout(point);
  const std::vector<float> a = InitialWeights(all, 1), b = InitialWeights(frozen, 1), c = InitialWeights(all, 2);
  EXPECT_NE(a, c);
  for (size_t t = 0; t < all.tensors.size(); ++t) {
    const auto* x = a.data() + all.tensors[t].offset;
    const auto* y = b.data() + frozen.tensors[t].offset;
    EXPECT_TRUE(std::equal(x, x + all.tensors[t].size(), y)) << all.tensors[t].name;
  }
}

}  // namespace
}  // namespace capsweep::trainer
