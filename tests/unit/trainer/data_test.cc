#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "common/file.h"
#include "common/hash.h"
#include "gtest/gtest.h"
#include "worker/trainer/data/distribution.h"
#include "worker/trainer/data/dropout_mask.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/data/order.h"
#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {
namespace {

// Known answers of the generator's authors (Random123, kat_vectors, philox4x32 with 10 rounds).
TEST(PhiloxTest, PublishedVectorsAreReproduced) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, EveryPartOfTheKeyChangesTheDraw) {
  const std::set<PhiloxWords> draws = {
      Draw(1, Purpose::kTokens, 0),    Draw(2, Purpose::kTokens, 0),       Draw(uint64_t{1} << 40, Purpose::kTokens, 0),
      Draw(1, Purpose::kTargets, 0),   Draw(1, Purpose::kTokens, 1),       Draw(1, Purpose::kTokens, uint64_t{1} << 40),
      Draw(1, Purpose::kTokens, 0, 1), Draw(1, Purpose::kTokens, 0, 0, 1),
  };
  EXPECT_EQ(draws.size(), 8u);
}

TEST(PhiloxTest, NormalsHaveMeanZeroAndVarianceOne) {
  constexpr int kDraws = 40000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = Normal(3, Purpose::kInit, static_cast<uint64_t>(i), 0);
    sum += x, squares += x * x, fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.02);
  EXPECT_NEAR(squares / kDraws, 1, 0.03);
  EXPECT_NEAR(fourth / kDraws, 3, 0.25);
}

PointSpec LibraryPoint(Mode mode, int64_t items, int64_t seq_len, int64_t vocab) {
  PointSpec point;
  point.mode = mode;
  point.dataset_size = items;
  point.seq_len = seq_len;
  point.vocab = vocab;
  return point;
}

std::vector<std::vector<int32_t>> Items(const Library& library) {
  std::vector<std::vector<int32_t>> items;
  for (int64_t i = 0; i < library.items; ++i) {
    items.emplace_back(library.tokens.begin() + i * library.seq_len,
                       library.tokens.begin() + (i + 1) * library.seq_len);
  }
  return items;
}

TEST(LibraryTest, CrowdedSpaceYieldsUniqueItemsAndCountsRedraws) {
  const auto library = MakeLibrary(LibraryPoint(Mode::kLabel, 64, 4, 4));  // a quarter of 4^4
  ASSERT_TRUE(library.ok());
  const auto items = Items(*library);
  EXPECT_EQ(std::set<std::vector<int32_t>>(items.begin(), items.end()).size(), 64u);
  EXPECT_GT(library->redraws, 0);
  EXPECT_LT(library->redraws, 40);
}

TEST(LibraryTest, SmallerLibraryIsPrefixOfLarger) {
  for (const Mode mode : {Mode::kLabel, Mode::kSeq}) {
    const auto small = MakeLibrary(LibraryPoint(mode, 100, 5, 4));
    const auto large = MakeLibrary(LibraryPoint(mode, 250, 5, 4));
    ASSERT_TRUE(small.ok() && large.ok());
    EXPECT_TRUE(std::equal(small->tokens.begin(), small->tokens.end(), large->tokens.begin()));
    EXPECT_TRUE(std::equal(small->target_tokens.begin(), small->target_tokens.end(), large->target_tokens.begin()));
  }
}

TEST(LibraryTest, TokensAndLabelsAreUniformAndDifferBySeed) {
  PointSpec point = LibraryPoint(Mode::kLabel, 8000, 8, 16);
  const auto library = MakeLibrary(point);
  point.data_seed = 2;
  const auto other = MakeLibrary(point);
  ASSERT_TRUE(library.ok() && other.ok());
  EXPECT_NE(library->tokens, other->tokens);
  for (const std::vector<int32_t>* values : {&library->tokens, &library->target_tokens}) {
    std::vector<double> counts(16);
    for (const int32_t v : *values) {
      ASSERT_TRUE(v >= 0 && v < 16);
      ++counts[static_cast<size_t>(v)];
    }
    const double expected = static_cast<double>(values->size()) / 16;
    double chi_square = 0;
    for (const double n : counts) chi_square += (n - expected) * (n - expected) / expected;
    EXPECT_LT(chi_square, 37.7);  // 99.9 % point, 15 degrees of freedom
  }
}

TEST(LibraryTest, ModesSetTheNumberOfTargets) {
  const auto label = MakeLibrary(LibraryPoint(Mode::kLabel, 10, 8, 16));
  const auto seq = MakeLibrary(LibraryPoint(Mode::kSeq, 10, 8, 16));
  ASSERT_TRUE(label.ok() && seq.ok());
  EXPECT_EQ(label->targets, 1);
  EXPECT_EQ(label->target_tokens.size(), 10u);
  EXPECT_EQ(seq->targets, 8);
  EXPECT_EQ(seq->target_tokens.size(), 80u);
  EXPECT_NE(seq->target_tokens, seq->tokens);
}

TEST(LibraryTest, LmStartsAtTheFirstPositionWhosePrefixesAllDiffer) {
  const auto library = MakeLibrary(LibraryPoint(Mode::kLm, 200, 12, 8));
  ASSERT_TRUE(library.ok());
  const int64_t first = library->first_target;
  const auto distinct_prefixes = [&](int64_t length) {
    std::set<std::vector<int32_t>> prefixes;
    for (const auto& item : Items(*library)) prefixes.insert({item.begin(), item.begin() + length});
    return static_cast<int64_t>(prefixes.size());
  };
  ASSERT_GT(first, 0);
  EXPECT_EQ(distinct_prefixes(first), 200);
  EXPECT_LT(distinct_prefixes(first - 1), 200);
  EXPECT_EQ(library->targets, 12 - first);
  EXPECT_EQ(library->target_tokens[0], library->tokens[static_cast<size_t>(first)]);
}

TEST(LibraryTest, LmWithAllTargetsIsTheWholeSequence) {
  PointSpec point = LibraryPoint(Mode::kLm, 50, 6, 8);
  point.lm_targets = LmTargets::kAll;
  const auto library = MakeLibrary(point);
  ASSERT_TRUE(library.ok());
  EXPECT_EQ(library->first_target, 0);
  EXPECT_EQ(library->target_tokens, library->tokens);
}

TEST(LibraryTest, LmWithoutDeterminedPositionIsRefusedWithTheWayOut) {
  const auto library = MakeLibrary(LibraryPoint(Mode::kLm, 60, 4, 4));  // 64 prefixes of 3 tokens: some repeat
  ASSERT_FALSE(library.ok());
  EXPECT_TRUE(absl::IsInvalidArgument(library.status()));
  EXPECT_NE(library.status().ToString().find("lm_targets"), std::string::npos);
}

// Of every kind of skewed token: counts against the formula, chi-square in groups of at least 20 expected.
TEST(LibraryTest, SkewedTokensFollowTheirFormula) {
  PointSpec zipf = LibraryPoint(Mode::kLabel, 4000, 10, 64);
  zipf.tokens = Tokens::kZipf, zipf.zipf_s = 1.2;
  PointSpec negbin = LibraryPoint(Mode::kLabel, 4000, 10, 64);
  negbin.tokens = Tokens::kNegbin, negbin.negbin_r = 2.5, negbin.negbin_p = 0.2;
  for (const PointSpec& point : {zipf, negbin}) {
    const auto library = MakeLibrary(point);
    ASSERT_TRUE(library.ok()) << library.status();
    std::vector<double> counts(64), weights(64);
    for (const int32_t v : library->tokens) ++counts.at(static_cast<size_t>(v));
    double sum = 0;
    for (int k = 0; k < 64; ++k) {
      weights[k] = point.tokens == Tokens::kZipf ? std::pow(k + 1, -1.2)
                                                 : std::tgamma(k + 2.5) / std::tgamma(k + 1.0) * std::pow(0.8, k);
      sum += weights[k];
    }
    double chi_square = 0, seen = 0, expected = 0;
    int groups = 0;
    for (int k = 0; k < 64; ++k) {
      seen += counts[k], expected += 40000 * weights[k] / sum;
      if (expected < 20 && k < 63) continue;
      chi_square += (seen - expected) * (seen - expected) / expected;
      seen = expected = 0, ++groups;
    }
    EXPECT_GT(groups, 20);
    EXPECT_LT(chi_square, groups + 4 * std::sqrt(2.0 * groups)) << ToWord(point.tokens);
    // Labels stay uniform: far fewer than half of them are the likeliest token.
    EXPECT_LT(std::count(library->target_tokens.begin(), library->target_tokens.end(), 0), 120);
  }
}

TEST(LibraryTest, ExtremeNegativeBinomialsStayProbabilities) {
  for (const auto& [r, p] : {std::pair(1e6, 1e-6), {1e-6, 0.999}, {1e6, 0.999999}, {1e-6, 1e-6}}) {
    PointSpec point = LibraryPoint(Mode::kLabel, 1, 8, 1000);
    point.tokens = Tokens::kNegbin, point.negbin_r = r, point.negbin_p = p;
    double sum = 0;
    for (const double probability : TokenProbabilities(point)) {
      ASSERT_TRUE(probability >= 0 && probability <= 1) << r << " " << p;
      sum += probability;
    }
    EXPECT_NEAR(sum, 1, 1e-9);
    const TokenDistribution distribution(point);
    EXPECT_GE(distribution(0), 0);
    EXPECT_LT(distribution(~0u), 1000);
  }
}

TEST(LibraryTest, SkewedVectorAndHeldOutLibrariesAreNested) {
  PointSpec zipf = LibraryPoint(Mode::kSeq, 100, 6, 16);
  zipf.tokens = Tokens::kZipf;
  PointSpec negbin = LibraryPoint(Mode::kLabel, 100, 6, 16);
  negbin.tokens = Tokens::kNegbin, negbin.negbin_p = 0.3;
  PointSpec vectors = LibraryPoint(Mode::kLabel, 100, 3, 2);
  vectors.tokens = Tokens::kVectors, vectors.family = Family::kKs, vectors.vector_dim = 5;
  for (PointSpec point : {zipf, negbin, vectors}) {
    const auto small = MakeLibrary(point);
    point.heldout_size = 40;
    const auto both = MakeLibrary(point);
    point.dataset_size = 140, point.heldout_size = 0;
    const auto large = MakeLibrary(point);
    ASSERT_TRUE(small.ok() && both.ok() && large.ok());
    EXPECT_EQ(small->heldout, nullptr);
    EXPECT_EQ(small->tokens, both->tokens);
    EXPECT_EQ(small->vectors, both->vectors);
    EXPECT_EQ(small->target_tokens, both->target_tokens);
    EXPECT_EQ(small->redraws, both->redraws);
    ASSERT_NE(both->heldout, nullptr);
    EXPECT_EQ(both->heldout->items, 40);
    const auto joined = [](auto a, const auto& b) {
      a.insert(a.end(), b.begin(), b.end());
      return a;
    };
    EXPECT_EQ(joined(both->tokens, both->heldout->tokens), large->tokens);
    EXPECT_EQ(joined(both->vectors, both->heldout->vectors), large->vectors);
    EXPECT_EQ(joined(both->target_tokens, both->heldout->target_tokens), large->target_tokens);
  }
}

TEST(LibraryTest, VectorsAreUniformOnTheUnitInterval) {
  PointSpec point = LibraryPoint(Mode::kLabel, 2000, 3, 2);
  point.tokens = Tokens::kVectors, point.family = Family::kMlp, point.vector_dim = 5;
  const auto library = MakeLibrary(point);
  ASSERT_TRUE(library.ok());
  EXPECT_TRUE(library->tokens.empty());
  ASSERT_EQ(library->vectors.size(), 30000u);
  std::vector<double> counts(10);
  for (const float v : library->vectors) ++counts.at(static_cast<size_t>(v * 10));
  double chi_square = 0;
  for (const double n : counts) chi_square += (n - 3000) * (n - 3000) / 3000;
  EXPECT_LT(chi_square, 27.9);  // 99.9 % point, 9 degrees of freedom
}

TEST(LibraryTest, HeldOutItemsOfLmHaveTheTargetsOfTheLibrary) {
  PointSpec point = LibraryPoint(Mode::kLm, 100, 10, 8);
  point.heldout_size = 30;
  const auto library = MakeLibrary(point);
  ASSERT_TRUE(library.ok());
  EXPECT_EQ(library->heldout->first_target, library->first_target);
  EXPECT_EQ(library->heldout->targets, library->targets);
  EXPECT_EQ(library->heldout->target_tokens.size(), static_cast<size_t>(30 * library->targets));
  EXPECT_EQ(library->heldout->target_tokens[0], library->heldout->tokens[static_cast<size_t>(library->first_target)]);
}

TEST(LibraryTest, TooFewDifferentItemsAreRefusedByFieldInsteadOfDrawnForEver) {
  PointSpec zipf = LibraryPoint(Mode::kLabel, 60, 2, 16);  // nearly all items are (0, 0)
  zipf.tokens = Tokens::kZipf, zipf.zipf_s = 10;
  PointSpec negbin = LibraryPoint(Mode::kLabel, 60, 2, 16);
  negbin.tokens = Tokens::kNegbin, negbin.negbin_p = 0.999;
  PointSpec heldout = LibraryPoint(Mode::kLabel, 60, 2, 16);
  heldout.heldout_size = 1000;  // of 256 sequences
  for (const auto& [point, field] : {std::pair(zipf, "zipf_s"), {negbin, "negbin_p"}, {heldout, "heldout_size"}}) {
    const auto library = MakeLibrary(point);
    ASSERT_TRUE(absl::IsInvalidArgument(library.status()));
    EXPECT_NE(library.status().ToString().find(field), std::string::npos) << library.status();
    EXPECT_NE(library.status().ToString().find("lower"), std::string::npos) << library.status();
  }
}

TEST(LibraryTest, FileGivesItsFirstItemsAndTheNextOnesAreHeldOut) {
  const std::string path = testing::TempDir() + "library_" + RandomHexId() + ".csv";
  const std::string text = "a,b,c,d\n1,2,3,4\n5,6,7,8\n1,0,3,2\n9,9,9,9\n";
  ASSERT_TRUE(WriteFileAtomic(path, text).ok());
  PointSpec point = LibraryPoint(Mode::kLabel, 2, 3, 10);
  point.file = path, point.file_hash = Sha256Hex(text), point.heldout_size = 1, point.steps = 1;
  ASSERT_TRUE(ValidatePoint(point).ok()) << ValidatePoint(point);
  const auto label = MakeLibrary(point);
  ASSERT_TRUE(label.ok()) << label.status();
  EXPECT_EQ(label->items, 2);
  EXPECT_EQ(label->tokens, (std::vector<int32_t>{1, 2, 3, 5, 6, 7}));
  EXPECT_EQ(label->target_tokens, (std::vector<int32_t>{4, 8}));
  EXPECT_EQ(label->heldout->tokens, (std::vector<int32_t>{1, 0, 3}));
  EXPECT_EQ(label->heldout->target_tokens, (std::vector<int32_t>{2}));
  point.mode = Mode::kSeq, point.seq_len = 2;
  EXPECT_EQ(MakeLibrary(point)->target_tokens, (std::vector<int32_t>{3, 4, 7, 8}));
  point.mode = Mode::kLm, point.seq_len = 4;
  const auto lm = MakeLibrary(point);
  EXPECT_EQ(lm->first_target, 1);
  EXPECT_EQ(lm->target_tokens, (std::vector<int32_t>{2, 3, 4, 6, 7, 8}));
  EXPECT_EQ(lm->heldout->target_tokens, (std::vector<int32_t>{0, 3, 2}));
  point.file_hash[0] = point.file_hash[0] == '0' ? '1' : '0';
  EXPECT_TRUE(absl::IsFailedPrecondition(MakeLibrary(point).status()));
  EXPECT_EQ(unlink(path.c_str()), 0);
  EXPECT_TRUE(absl::IsNotFound(MakeLibrary(point).status()));
}

// The integers of format 1: they are part of a point's identity and must never move.
TEST(LibraryTest, UniformLibrariesKeepTheirIntegers) {
  const auto library = MakeLibrary(LibraryPoint(Mode::kLabel, 3, 5, 16));
  ASSERT_TRUE(library.ok());
  EXPECT_EQ(library->tokens, (std::vector<int32_t>{9, 8, 7, 15, 8, 8, 5, 8, 3, 14, 8, 12, 13, 8, 7}));
  EXPECT_EQ(library->target_tokens, (std::vector<int32_t>{0, 6, 1}));
}

std::vector<float> Mask(const DropoutKey& key, double rate, int64_t first_row, int64_t stride, int64_t rows,
                        int64_t width) {
  std::vector<float> mask(static_cast<size_t>(rows * width), -1);
  FillDropoutMask(key, rate, first_row, stride, width, mask);
  return mask;
}

TEST(DropoutMaskTest, DropsTheFractionAndScalesTheRest) {
  for (const double rate : {0.1, 0.5, 0.75}) {
    const std::vector<float> mask = Mask({3, 1, 0, 0}, rate, 0, 1, 2000, 10);
    double dropped = 0;
    for (const float m : mask) {
      ASSERT_TRUE(m == 0.0f || m == static_cast<float>(1 / (1 - rate)));
      dropped += m == 0.0f ? 1 : 0;
    }
    EXPECT_NEAR(dropped / 20000, rate, 4 * std::sqrt(rate * (1 - rate) / 20000));
  }
}

TEST(DropoutMaskTest, ARowIsTheSameWhicheverOthersAreAskedFor) {
  for (const int64_t width : {1, 4, 6}) {
    const std::vector<float> all = Mask({3, 9, 2, 1}, 0.5, 0, 1, 40, width),
                             every_eighth = Mask({3, 9, 2, 1}, 0.5, 7, 8, 5, width);
    for (int64_t row = 0; row < 5; ++row) {
      const auto from = all.begin() + (7 + 8 * row) * width;
      EXPECT_TRUE(std::equal(from, from + width, every_eighth.begin() + row * width));
    }
  }
}

TEST(DropoutMaskTest, EveryPartOfTheKeyChangesTheMask) {
  const std::set<std::vector<float>> masks = {
      Mask({3, 1, 0, 0}, 0.5, 0, 1, 8, 8), Mask({4, 1, 0, 0}, 0.5, 0, 1, 8, 8),
      Mask({3, 2, 0, 0}, 0.5, 0, 1, 8, 8), Mask({3, 1 + (int64_t{1} << 33), 0, 0}, 0.5, 0, 1, 8, 8),
      Mask({3, 1, 1, 0}, 0.5, 0, 1, 8, 8), Mask({3, 1, 0, 1}, 0.5, 0, 1, 8, 8)};
  EXPECT_EQ(masks.size(), 6u);
}

std::vector<int64_t> WholeOrder(uint64_t seed, int64_t epoch, int64_t items) {
  const EpochOrder order(seed, epoch, items);
  std::vector<int64_t> places;
  for (int64_t i = 0; i < items; ++i) places.push_back(order.At(i));
  return places;
}

TEST(EpochOrderTest, AnySizeIsAPermutation) {
  for (const int64_t items : {1, 2, 3, 5, 16, 17, 100, 1000, 4097}) {
    std::vector<int64_t> places = WholeOrder(1, 0, items);
    std::sort(places.begin(), places.end());
    std::vector<int64_t> wanted(static_cast<size_t>(items));
    std::iota(wanted.begin(), wanted.end(), 0);
    EXPECT_EQ(places, wanted) << items;
  }
}

TEST(EpochOrderTest, EpochsAndSeedsGiveDifferentOrders) {
  std::set<std::vector<int64_t>> orders;
  for (const uint64_t seed : {1, 2}) {
    for (int64_t epoch = 0; epoch < 50; ++epoch) orders.insert(WholeOrder(seed, epoch, 100));
  }
  EXPECT_EQ(orders.size(), 100u);
}

TEST(EpochOrderTest, EveryItemVisitsEveryPartOfTheEpoch) {
  // Mean place of each of 32 items over 400 epochs: 15.5, standard error 0.46.
  std::vector<double> sums(32);
  for (int64_t epoch = 0; epoch < 400; ++epoch) {
    const auto places = WholeOrder(5, epoch, 32);
    for (size_t place = 0; place < places.size(); ++place) {
      sums[static_cast<size_t>(places[place])] += static_cast<double>(place);
    }
  }
  for (const double sum : sums) EXPECT_NEAR(sum / 400, 15.5, 2.1);
}

}  // namespace
}  // namespace capsweep::trainer
