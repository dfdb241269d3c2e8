#include "worker/trainer/data/library.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/types/span.h"
#include "common/data_file.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/data/distribution.h"
#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {
namespace {

// Redraws allowed per item, on average over all of them: ValidatePoint keeps uniform libraries below a quarter of V^N,
// which need none to speak of, so only skewed tokens and held-out items come near.
constexpr int64_t kRedrawsPerItem = 100;
constexpr int64_t kRedrawsAtLeast = 10'000;
// Redraw numbers have 24 bits in the generator's counter.
constexpr uint32_t kMaxRedraws = 1u << 24;

// Calls put(element, word) with one random word per element of an item.
template <class Put>
void DrawWords(const PointSpec& point, Purpose purpose, int64_t item, uint32_t redraw, size_t elements,
               const Put& put) {
  for (size_t e = 0; e < elements; e += 4) {
    const PhiloxWords words =
        Draw(point.data_seed, purpose, static_cast<uint64_t>(item), static_cast<uint32_t>(e / 4), redraw);
    for (size_t k = 0; k < 4 && e + k < elements; ++k) {
      put(e + k, words[k]);
    }
  }
}

absl::Span<const int32_t> Item(const std::vector<int32_t>& tokens, int64_t length, int64_t item) {
  return absl::MakeConstSpan(tokens).subspan(static_cast<size_t>(item * length), static_cast<size_t>(length));
}

// The input of an item as bytes, be it tokens or vectors.
std::string_view Content(const Library& library, int64_t item) {
  const auto bytes = [&](const auto& values) {
    const size_t length = values.size() / static_cast<size_t>(library.items) * sizeof values[0];
    return std::string_view(reinterpret_cast<const char*>(values.data()) + static_cast<size_t>(item) * length, length);
  };
  return library.vectors.empty() ? bytes(library.tokens) : bytes(library.vectors);
}

// Sets of items by number, compared by content: no copy of the tokens.
struct ItemHash {
  const Library* library;
  size_t operator()(int64_t item) const {
    const std::string_view content = Content(*library, item);
    return absl::HashOf(absl::string_view(content.data(), content.size()));
  }
};
struct ItemEqual {
  const Library* library;
  bool operator()(int64_t a, int64_t b) const { return Content(*library, a) == Content(*library, b); }
};

absl::Status TooFewItems(const PointSpec& point, int64_t found, int64_t redraws) {
  std::string fix = "lower dataset_size or heldout_size, or raise vocab or seq_len";
  if (point.tokens == Tokens::kZipf) StrAppend(&fix, ", or lower zipf_s (", point.zipf_s, ")");
  if (point.tokens == Tokens::kNegbin) {
    StrAppend(&fix, ", or lower negbin_p (", point.negbin_p, ") or raise negbin_r (", point.negbin_r, ")");
  }
  return absl::InvalidArgumentError(StrCat("tokens: ", ToWord(point.tokens), " gave only ", found,
                                           " different items and ", redraws, " repetitions, but ",
                                           point.dataset_size + point.heldout_size, " are asked for; ", fix));
}

// Draws the inputs of library.items items. `first_heldout`: redraws count up to this item.
absl::Status DrawUniqueItems(const PointSpec& point, int64_t first_heldout, Library& library) {
  const bool vectors = point.tokens == Tokens::kVectors;
  const auto elements = static_cast<size_t>(library.seq_len * (vectors ? point.vector_dim : 1));
  const auto all = static_cast<size_t>(library.items) * elements;
  if (vectors) {
    library.vectors.resize(all);
  } else {
    library.tokens.resize(all);
  }
  const TokenDistribution distribution(point);
  const auto draw = [&](int64_t item, uint32_t redraw) {
    const size_t first = static_cast<size_t>(item) * elements;
    if (vectors) {
      DrawWords(point, Purpose::kVectors, item, redraw, elements, [&](size_t e, uint32_t word) {
        library.vectors[first + e] = static_cast<float>(word >> 8) * 0x1.0p-24f;
      });
    } else {
      DrawWords(point, Purpose::kTokens, item, redraw, elements,
                [&](size_t e, uint32_t word) { library.tokens[first + e] = distribution(word); });
    }
  };
  absl::flat_hash_set<int64_t, ItemHash, ItemEqual> seen(0, ItemHash{&library}, ItemEqual{&library});
  seen.reserve(static_cast<size_t>(library.items));
  const int64_t most = std::max(kRedrawsAtLeast, kRedrawsPerItem * library.items);
  int64_t redraws = 0;
  for (int64_t item = 0; item < library.items; ++item) {
    uint32_t redraw = 0;
    for (draw(item, redraw); !seen.insert(item).second; draw(item, redraw)) {
      if (++redraws > most || ++redraw == kMaxRedraws) return TooFewItems(point, item, redraws);
    }
    if (item < first_heldout) library.redraws = redraws;
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

// The targets of lm: the tokens from first_target on.
void CopyOwnTokens(Library& library) {
  library.targets = library.seq_len - library.first_target;
  library.target_tokens.reserve(static_cast<size_t>(library.items * library.targets));
  for (int64_t item = 0; item < library.items; ++item) {
    const auto tail = Item(library.tokens, library.seq_len, item).subspan(static_cast<size_t>(library.first_target));
    library.target_tokens.insert(library.target_tokens.end(), tail.begin(), tail.end());
  }
}

absl::Status SetOwnTokensAsTargets(const PointSpec& point, Library& library) {
  library.first_target = point.lm_targets == LmTargets::kDetermined ? FirstDeterminedPosition(library) : 0;
  if (library.first_target >= library.seq_len) {
    return absl::InvalidArgumentError(
        StrCat("mode lm, dataset_size ", point.dataset_size, ", seq_len ", point.seq_len, ", vocab ", point.vocab,
               ": no position is determined by the tokens before it, because two items differ only in their last "
               "token; raise seq_len or vocab, lower dataset_size, or set lm_targets to all"));
  }
  CopyOwnTokens(library);
  return absl::OkStatus();
}

void DrawTargets(const PointSpec& point, Library& library) {
  const auto vocab = static_cast<uint32_t>(point.vocab);
  library.targets = MaxTargets(point);
  const auto targets = static_cast<size_t>(library.targets);
  library.target_tokens.resize(static_cast<size_t>(library.items) * targets);
  for (int64_t item = 0; item < library.items; ++item) {
    DrawWords(point, Purpose::kTargets, item, 0, targets, [&](size_t t, uint32_t word) {
      library.target_tokens[static_cast<size_t>(item) * targets + t] = static_cast<int32_t>(UniformBelow(word, vocab));
    });
  }
}

// The first library.items items of the point's file.
absl::Status ReadItems(const PointSpec& point, Library& library) {
  ASSIGN_OR_RETURN(const DataFile file, LoadDataFile(point.file));
  RETURN_IF_ERROR(CheckDataFits(file, point));
  library.targets = point.mode == Mode::kLm ? 0 : MaxTargets(point);
  for (int64_t item = 0; item < library.items; ++item) {
    const auto row = file.values.begin() + item * file.columns;
    library.tokens.insert(library.tokens.end(), row, row + library.seq_len);
    library.target_tokens.insert(library.target_tokens.end(), row + library.seq_len, row + file.columns);
  }
  return absl::OkStatus();
}

// Moves the items from `items` on into the library's held-out part.
void SplitHeldout(int64_t items, Library& library) {
  if (items == library.items) {
    return;
  }
  auto heldout = std::make_shared<Library>();
  heldout->items = library.items - items;
  heldout->seq_len = library.seq_len;
  heldout->targets = library.targets;
  const auto split = [&](auto& from, auto& to) {
    const auto middle =
        from.begin() + static_cast<std::ptrdiff_t>(from.size() / static_cast<size_t>(library.items)) * items;
    to.assign(middle, from.end());
    from.erase(middle, from.end());
  };
  split(library.tokens, heldout->tokens);
  split(library.vectors, heldout->vectors);
  split(library.target_tokens, heldout->target_tokens);
  library.items = items;
  library.heldout = std::move(heldout);
}

}  // namespace

absl::StatusOr<Library> MakeLibrary(const PointSpec& point) {
  Library library;
  library.items = point.dataset_size + point.heldout_size;
  library.seq_len = point.seq_len;
  if (!point.file.empty()) {
    RETURN_IF_ERROR(ReadItems(point, library));
  } else {
    RETURN_IF_ERROR(DrawUniqueItems(point, point.dataset_size, library));
    if (point.mode != Mode::kLm) {
      DrawTargets(point, library);
    }
  }
  SplitHeldout(point.dataset_size, library);
  if (point.mode == Mode::kLm) {
    RETURN_IF_ERROR(SetOwnTokensAsTargets(point, library));
    if (library.heldout != nullptr) {
      auto heldout = std::make_shared<Library>(*library.heldout);
      heldout->first_target = library.first_target;
      CopyOwnTokens(*heldout);
      library.heldout = std::move(heldout);
    }
  }
  return library;
}

}  // namespace capsweep::trainer
