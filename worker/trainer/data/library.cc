#include "worker/trainer/data/library.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/types/span.h"
#include "common/text.h"
#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {
namespace {

// Redraw numbers have 24 bits in the generator's counter. ValidatePoint keeps libraries below a quarter of V^N, so that
// even a hundred redraws of one item never happen.
constexpr uint32_t kMaxRedraws = 1u << 24;

void DrawTokens(const PointSpec& point, Purpose purpose, int64_t item, uint32_t redraw, absl::Span<int32_t> out) {
  const auto vocab = static_cast<uint32_t>(point.vocab);
  for (size_t t = 0; t < out.size(); t += 4) {
    const PhiloxWords words =
        Draw(point.data_seed, purpose, static_cast<uint64_t>(item), static_cast<uint32_t>(t / 4), redraw);
    for (size_t k = 0; k < 4 && t + k < out.size(); ++k) {
      out[t + k] = static_cast<int32_t>(UniformBelow(words[k], vocab));
    }
  }
}

absl::Span<const int32_t> Item(const std::vector<int32_t>& tokens, int64_t length, int64_t item) {
  return absl::MakeConstSpan(tokens).subspan(static_cast<size_t>(item * length), static_cast<size_t>(length));
}

// Sets of items by number, compared by content: no copy of the tokens.
struct ItemHash {
  const Library* library;
  size_t operator()(int64_t item) const { return absl::HashOf(Item(library->tokens, library->seq_len, item)); }
};
struct ItemEqual {
  const Library* library;
  bool operator()(int64_t a, int64_t b) const {
    return Item(library->tokens, library->seq_len, a) == Item(library->tokens, library->seq_len, b);
  }
};

absl::Status DrawUniqueItems(const PointSpec& point, Library& library) {
  library.tokens.resize(static_cast<size_t>(library.items * library.seq_len));
  absl::flat_hash_set<int64_t, ItemHash, ItemEqual> seen(0, ItemHash{&library}, ItemEqual{&library});
  seen.reserve(static_cast<size_t>(library.items));
  const absl::Span<int32_t> tokens = absl::MakeSpan(library.tokens);
  for (int64_t item = 0; item < library.items; ++item) {
    const auto slot = tokens.subspan(static_cast<size_t>(item * library.seq_len), static_cast<size_t>(library.seq_len));
    uint32_t redraw = 0;
    DrawTokens(point, Purpose::kTokens, item, redraw, slot);
    while (!seen.insert(item).second) {
      if (++redraw == kMaxRedraws) {
        return absl::InvalidArgumentError(StrCat("dataset_size ", point.dataset_size, ": no new item found after ",
                                                 redraw, " draws; lower dataset_size or raise vocab or seq_len"));
      }
      DrawTokens(point, Purpose::kTokens, item, redraw, slot);
    }
    library.redraws += redraw;
  }
  return absl::OkStatus();
}

// Smallest t such that the prefixes tokens[0..t-1] of all items differ: one more than the longest common prefix of two
// neighbours in sorted order.
int64_t FirstDeterminedPosition(const Library& library) {
  std::vector<int64_t> order(static_cast<size_t>(library.items));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const auto x = Item(library.tokens, library.seq_len, a);
    const auto y = Item(library.tokens, library.seq_len, b);
    return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
  });
  int64_t first = 0;
  for (size_t i = 1; i < order.size(); ++i) {
    const auto x = Item(library.tokens, library.seq_len, order[i - 1]);
    const auto y = Item(library.tokens, library.seq_len, order[i]);
    const int64_t common = std::mismatch(x.begin(), x.end(), y.begin()).first - x.begin();
    first = std::max(first, common + 1);
  }
  return first;
}

absl::Status SetOwnTokensAsTargets(const PointSpec& point, Library& library) {
  library.first_target = point.lm_targets == LmTargets::kDetermined ? FirstDeterminedPosition(library) : 0;
  library.targets = library.seq_len - library.first_target;
  if (library.targets <= 0) {
    return absl::InvalidArgumentError(
        StrCat("mode lm, dataset_size ", point.dataset_size, ", seq_len ", point.seq_len, ", vocab ", point.vocab,
               ": no position is determined by the tokens before it, because two items differ only in their last "
               "token; raise seq_len or vocab, lower dataset_size, or set lm_targets to all"));
  }
  library.target_tokens.reserve(static_cast<size_t>(library.items * library.targets));
  for (int64_t item = 0; item < library.items; ++item) {
    const auto tail = Item(library.tokens, library.seq_len, item).subspan(static_cast<size_t>(library.first_target));
    library.target_tokens.insert(library.target_tokens.end(), tail.begin(), tail.end());
  }
  return absl::OkStatus();
}

void DrawTargets(const PointSpec& point, Library& library) {
  library.targets = point.mode == Mode::kLabel ? 1 : library.seq_len;
  library.target_tokens.resize(static_cast<size_t>(library.items * library.targets));
  const absl::Span<int32_t> all = absl::MakeSpan(library.target_tokens);
  for (int64_t item = 0; item < library.items; ++item) {
    DrawTokens(point, Purpose::kTargets, item, 0,
               all.subspan(static_cast<size_t>(item * library.targets), static_cast<size_t>(library.targets)));
  }
}

}  // namespace

absl::StatusOr<Library> MakeLibrary(const PointSpec& point) {
  Library library;
  library.items = point.dataset_size;
  library.seq_len = point.seq_len;
  if (absl::Status drawn = DrawUniqueItems(point, library); !drawn.ok()) {
    return drawn;
  }
  if (point.mode == Mode::kLm) {
    if (absl::Status set = SetOwnTokensAsTargets(point, library); !set.ok()) {
      return set;
    }
  } else {
    DrawTargets(point, library);
  }
  return library;
}

}  // namespace capsweep::trainer
