// The kernels of the cuda back end on the host: no result may depend on the order of the threads, on how many they are,
// on where memory stands or on what was in it; and every barrier is there for a reason.
#include <bit>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/host_slot.h"

namespace capsweep::trainer::cuda {
namespace {

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

// Everything a step leaves behind.
std::vector<uint32_t> Outcome(const HostSlot& slot) {
  std::vector<uint32_t> bits = Bits(slot.weights);
  for (const auto& more : {Bits(slot.moment1), Bits(slot.moment2)}) bits.insert(bits.end(), more.begin(), more.end());
  const auto loss = std::bit_cast<uint64_t>(slot.state.progress.train_loss);
  bits.push_back(static_cast<uint32_t>(loss));
  bits.push_back(static_cast<uint32_t>(loss >> 32));
  return bits;
}

struct Setting {
  int32_t threads = 96;
  ThreadOrder order = ThreadOrder::kForward;
  int64_t shared_floats = kAmpleShared;
};

std::vector<uint32_t> OneStep(const SlotCase& c, const Setting& setting) {
  HostSlot slot(c, setting.shared_floats);
  HostRun run(setting.threads, setting.order);
  slot.Step(run);
  return Outcome(slot);
}

class CudaBlockTest : public testing::TestWithParam<SlotCase> {};
INSTANTIATE_TEST_SUITE_P(Shapes, CudaBlockTest, testing::ValuesIn(kSlotCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(CudaBlockTest, BitsDependOnNeitherThreadsNorMemory) {
  const std::vector<uint32_t> wanted = OneStep(GetParam(), {});
  EXPECT_EQ(OneStep(GetParam(), {.order = ThreadOrder::kReversed}), wanted);
  EXPECT_EQ(OneStep(GetParam(), {.order = ThreadOrder::kShuffled}), wanted);
  EXPECT_EQ(OneStep(GetParam(), {.threads = 1}), wanted);
  EXPECT_EQ(OneStep(GetParam(), {.threads = 7}), wanted);
  EXPECT_EQ(OneStep(GetParam(), {.threads = 256}), wanted);
  // Less shared memory means smaller chunks and more in global memory.
  EXPECT_EQ(OneStep(GetParam(), {.shared_floats = 0}), wanted);
  EXPECT_EQ(OneStep(GetParam(), {.shared_floats = 2000}), wanted);
  EXPECT_EQ(OneStep(GetParam(), {.shared_floats = 8000}), wanted);
}

// What an evaluation's chunk leaves behind.
struct Counts {
  int64_t evaluated, items_mem, tokens_mem;
  uint64_t nll;
  friend bool operator==(const Counts&, const Counts&) = default;
};

Counts OneChunk(const SlotCase& c, HostRun& run) {
  HostSlot slot(c, kAmpleShared);
  slot.EvaluateChunk(run);
  const TaskState& s = slot.state;
  return {s.evaluated, s.items_mem, s.tokens_mem, std::bit_cast<uint64_t>(s.nll_nats)};
}

// Shapes with work for many threads in every phase: in the others a missing barrier may have nobody to harm.
std::vector<SlotCase> LargeEnough() {
  std::vector<SlotCase> cases;
  for (const SlotCase& c : kSlotCases) {
    if (c.width >= 8 && c.items > 9 && c.seq_len > 1) cases.push_back(c);
  }
  return cases;
}
class CudaBarrierTest : public testing::TestWithParam<SlotCase> {};
INSTANTIATE_TEST_SUITE_P(Shapes, CudaBarrierTest, testing::ValuesIn(LargeEnough()),
                         [](const auto& test) { return std::string(test.param.name); });

bool Shows(const SlotCase& c, int64_t barrier, const std::vector<uint32_t>& wanted) {
  for (const int32_t threads : {96, 13}) {
    for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kReversed, ThreadOrder::kShuffled}) {
      HostSlot slot(c, kAmpleShared);
      HostRun run(threads, order);
      run.LeaveOut(barrier);
      slot.Step(run);
      if (Outcome(slot) != wanted) return true;
    }
  }
  return false;
}

// Leaving out any barrier of a step must show: in what a step leaves behind under some order of the threads, or as NaN
// from memory that was read before it was written.
TEST_P(CudaBarrierTest, EveryBarrierOfAStepIsNeeded) {
  const std::vector<uint32_t> wanted = OneStep(GetParam(), {});
  HostRun counting(96, ThreadOrder::kForward);
  const int64_t barriers = HostSlot(GetParam(), kAmpleShared).Step(counting);
  // Behind the first and the last barrier all threads read what one of them decided.
  for (int64_t barrier = 1; barrier + 1 < barriers; ++barrier) {
    EXPECT_TRUE(Shows(GetParam(), barrier, wanted)) << barrier << " of " << barriers << " can be left out";
  }
}

TEST_P(CudaBarrierTest, EveryBarrierOfAnEvaluationIsNeeded) {
  HostRun counting(96, ThreadOrder::kForward);
  const Counts wanted = OneChunk(GetParam(), counting);
  EXPECT_GT(wanted.evaluated, 0);
  EXPECT_TRUE(std::isfinite(std::bit_cast<double>(wanted.nll)));
  for (int64_t barrier = 1; barrier + 1 < counting.barriers(); ++barrier) {
    bool shown = false;
    for (const int32_t threads : {96, 13}) {
      for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kReversed, ThreadOrder::kShuffled}) {
        HostRun run(threads, order);
        run.LeaveOut(barrier);
        shown = shown || OneChunk(GetParam(), run) != wanted;
      }
    }
    EXPECT_TRUE(shown) << barrier << " of " << counting.barriers() << " can be left out";
  }
}

// A whole run with epochs, evaluations and the end, cut into launches of any length.
TEST_P(CudaBlockTest, LaunchesOfAnyLengthGiveTheSameRun) {
  const auto train = [](uint64_t looks) {
    HostSlot slot(GetParam(), 4000);
    std::vector<TaskEvaluation> evaluations;
    while (slot.state.stop == Stop::kNone) {
      HostRun run(40, ThreadOrder::kForward);
      slot.RunFor(run, 1000 * looks);
      evaluations.insert(evaluations.end(), slot.state.evaluations, slot.state.evaluations + slot.state.count);
    }
    std::vector<uint32_t> bits = Outcome(slot);
    for (const TaskEvaluation& e : evaluations) {
      bits.push_back(static_cast<uint32_t>(e.items_mem));
      bits.push_back(static_cast<uint32_t>(e.tokens_mem));
      bits.push_back(std::bit_cast<uint32_t>(static_cast<float>(e.nll_nats)));
    }
    return bits;
  };
  const std::vector<uint32_t> wanted = train(1'000'000);
  EXPECT_EQ(train(1), wanted);
  EXPECT_EQ(train(7), wanted);
}

// ---- kernels whose shape the compiler knows ----

template <class S>
struct HostStaticKernel {
  using Shape = S;
  using Run = HostRun;
  Shape shape;
  float* shared;
  MemoryPlan Plan() const {
    constexpr MemoryPlan plan = MakeMemoryPlan(S{}, 1 << 30, 10'000);
    return plan;
  }
};

template <class S>
void ExpectTheBitsOfTheRunTimeShape(Mode mode) {
  const SlotCase c{"", mode, 1, S::heads, S::head_dim, S::width, S::seq_len, S::vocab, 37};
  HostSlot slot(c, 10'000);
  // Its plan has chunks for larger batches.
  slot.task.plan = MakeMemoryPlan(S{}, 1 << 30, 10'000);
  slot.memory = Poisoned(slot.task.plan.global_floats);
  slot.shared = Poisoned(slot.task.plan.shared_floats);
  slot.task.memory = &slot.memory.data()->x;
  const HostStaticKernel<S> kernel{S{}, &slot.shared.data()->x};
  HostRun run(64, ThreadOrder::kShuffled);
  Trainer<HostStaticKernel<S>> trainer(kernel, slot.task, slot.state, run);
  trainer.Begin();
  trainer.Step(1'000'000'000);
  EXPECT_EQ(Outcome(slot), OneStep(c, {}));
}

TEST(CudaStaticShapeTest, GivesTheBitsOfTheRunTimeShape) {
  ExpectTheBitsOfTheRunTimeShape<StaticShape<TaskMode::kLabel, 1, 8, 8, 8, 16>>(Mode::kLabel);
  ExpectTheBitsOfTheRunTimeShape<StaticShape<TaskMode::kSeq, 1, 8, 8, 8, 16>>(Mode::kSeq);
  ExpectTheBitsOfTheRunTimeShape<StaticShape<TaskMode::kLabel, 3, 5, 20, 6, 11>>(Mode::kLabel);
  ExpectTheBitsOfTheRunTimeShape<StaticShape<TaskMode::kLm, 2, 6, 12, 5, 30>>(Mode::kLm);
}

}  // namespace
}  // namespace capsweep::trainer::cuda
