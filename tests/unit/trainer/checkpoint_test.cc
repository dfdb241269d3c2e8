#include "worker/trainer/checkpoint.h"

#include "common/hash.h"
#include "gtest/gtest.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer {
namespace {

CheckpointContent Sample(const PointSpec& point) {
  const ParamLayout layout = MakeLayout(point);
  CheckpointContent content;
  content.backend = "torch";
  content.build = "1 2 3";
  content.point_key = PointKey(point);
  content.run.step = 17;
  content.run.epoch_loss_sum = 1.0 / 3;
  content.run.evaluation_due = true;
  content.run.curve = {{1, 2, 3, 4, 5.5, 6.25}, {2, 4, 6, 8, 10.5, 12.25}};
  content.run.neighbours = {1.5, 2.25};
  content.run.seconds_train = 0.125;
  content.weights.assign(static_cast<size_t>(layout.total), 0.1f);
  content.first_moment.assign(static_cast<size_t>(layout.train), 0.2f);
  content.second_moment.assign(static_cast<size_t>(layout.train), 0.3f);
  return content;
}

PointSpec Point() {
  PointSpec point;
  point.steps = 100;
  return point;
}

TEST(CheckpointTest, EverythingSurvivesTheRoundTrip) {
  const CheckpointContent content = Sample(Point());
  const auto read = DecodeCheckpoint(EncodeCheckpoint(content));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, content);
}

TEST(CheckpointTest, AnyFlippedBitOrMissingByteIsRefused) {
  const std::string bytes = EncodeCheckpoint(Sample(Point()));
  for (size_t i = 0; i < bytes.size(); i += 97) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_TRUE(absl::IsDataLoss(DecodeCheckpoint(damaged).status())) << i;
    EXPECT_TRUE(absl::IsDataLoss(DecodeCheckpoint(bytes.substr(0, i)).status())) << i;
  }
  EXPECT_FALSE(DecodeCheckpoint("").ok());
  EXPECT_FALSE(DecodeCheckpoint(bytes + "x").ok());
}

TEST(CheckpointTest, LengthsBeyondTheDataAreRefusedWithoutAllocating) {
  // A well-signed file whose first text claims 2^60 characters.
  const std::string whole = EncodeCheckpoint(Sample(Point()));
  std::string forged = whole.substr(0, 20 + 4);
  forged += std::string("\0\0\0\0\0\0\0\x10", 8);
  forged += Sha256Hex(forged);
  EXPECT_TRUE(absl::IsDataLoss(DecodeCheckpoint(forged).status()));
}

TEST(CheckpointTest, OtherPointBackendBuildOrSizeCannotResume) {
  const PointSpec point = Point();
  const CheckpointContent content = Sample(point);
  EXPECT_TRUE(CheckResumable(content, point, "torch", "1 2 3").ok());
  PointSpec other = point;
  other.init_seed = 9;
  for (const absl::Status& status :
       {CheckResumable(content, other, "torch", "1 2 3"), CheckResumable(content, point, "cpu", "1 2 3"),
        CheckResumable(content, point, "torch", "1 2 4")}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  }
  CheckpointContent small = content;
  small.second_moment.pop_back();
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckResumable(small, point, "torch", "1 2 3")));
}

}  // namespace
}  // namespace capsweep::trainer
