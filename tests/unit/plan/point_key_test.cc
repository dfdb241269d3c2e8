// Keys identify points in databases that outlive this version: the texts and keys below must never change.
#include <gtest/gtest.h>

#include <string>

#include "common/point.h"
#include "common/sweep/parse.h"
#include "coordinator/plan/grid.h"

namespace capsweep::plan {
namespace {

std::vector<PointSpec> Points(std::string_view text) {
  const auto spec = ParseSweep(text, "s.yaml");
  EXPECT_TRUE(spec.ok()) << spec.status();
  const auto points = EnumerateGrid(*spec);
  EXPECT_TRUE(points.ok()) << points.status();
  return *points;
}

TEST(PointKeyTest, CanonicalTextOfALabelPointNeverChanges) {
  const auto points = Points(
      "sweep: a\ntask: {vocab: 16, seq_len: 4}\nmodel: {heads: 2, head_dim: split, width: 16, freeze_mlp: true}\n"
      "data: {dataset_size: \"=params_train / (2 * targets)\"}\n"
      "train: {lr: 3.0e-3, steps: \"=max(3000, 120 * sqrt(params_train))\"}\nseeds: [7]\n");
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(CanonicalText(points[0]),
            "mode=label\n"
            "vocab=16\n"
            "seq_len=4\n"
            "family=xt\n"
            "layers=1\n"
            "heads=2\n"
            "head_dim=8\n"
            "width=16\n"
            "freeze_mlp=true\n"
            "dataset_size=824\n"
            "data_seed=7\n"
            "optimizer=adam\n"
            "lr=0.003\n"
            "schedule=cosine\n"
            "lr_final=0.02\n"
            "batch_size=100\n"
            "steps=4871\n"
            "eval_every=10\n"
            "patience=200\n"
            "init_seed=7\n");
  EXPECT_EQ(PointKey(points[0]), "42eec6611a920872120e854898560850");
}

TEST(PointKeyTest, KeysOfOtherKindsOfPointsNeverChange) {
  const auto points = Points(
      "sweep: b\ntask: {mode: [seq, lm], seq_len: 12, lm_targets: all}\nmodel: {layers: 2, heads: 3, width: 24}\n"
      "data: {dataset_size: 500, data_seed: 12345678901}\n"
      "train: {lr: {geometric: {from: 1e-4, to: 1e-2, count: 3}}, schedule: constant, epochs: 20, backend: torch}\n");
  ASSERT_EQ(points.size(), 6u);
  const char* expected[] = {"a7812cc956c8b2a1306ef376428a2027", "707d9280245adb0d8f9553839b43712e",
                            "f097fd6d39f10993378c0ffc6ae7bc8a", "41ba58321ae4ca3addc2933f3a8f0087",
                            "ce777088a2cde18b2984fb1b4a0d5360", "09b9c99b27d7499498171d21bd089e20"};
  for (size_t i = 0; i < points.size(); ++i) EXPECT_EQ(PointKey(points[i]), expected[i]) << CanonicalText(points[i]);
}

}  // namespace
}  // namespace capsweep::plan
