// Capacity tables: from results or a CSV to one row per cell, the input of every fit.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::ecm {

// One measured point, as the caller reads it from v_results (or makes it in a test).
struct Measurement {
  // Everything that must be equal within a group: name -> value as text (mode, vocab, layers, head_dim, freeze_mlp,
  // optimizer, lr, schedule, batch_size, backend …). Not in here: heads, width, seq_len, dataset_size, budget, seeds.
  std::map<std::string, std::string> group;
  int64_t heads = 0, width = 0, seq_len = 0;
  int64_t layers = 1, head_dim = 0, vocab = 0;
  bool freeze_mlp = false;
  int64_t dataset_size = 0;
  int64_t targets = 1;
  int64_t budget_steps = 0, budget_epochs = 0;  // as asked; one of them 0
  int64_t steps = 0;                            // done
  uint64_t seed = 0;
  int64_t items_mem = 0;
  double items_corr = 0, bits_mem = 0;
  int64_t params_total = 0, params_train = 0;
};

// One cell: the mean over seeds at one (heads, width, seq_len) and training budget of a group. Where a cell was
// measured at several library sizes, the one with the largest mean capacity stands for it (MAC = max over D).
struct Row {
  double heads = 0, width = 0, seq_len = 0;
  double capacity = 0;  // mean
  double sd = -1;       // over repeats; < 0 = unknown
  int repeats = 1;
  std::vector<double> values;  // the repeats themselves; may be empty (CSV)
  double dataset_size = 0;     // 0 = unknown (CSV)
  double chance = 0;           // items a guess would get (before correction); 0 if already corrected or unknown
  bool censored = false;       // the library was (nearly) full in all repeats: capacity is a lower bound
  bool at_chance = false;      // within 3 SD of guessing: says nothing
  double params_total = 0, params_train = 0;  // 0 = unknown
  double budget_steps = 0;                    // asked for, or done where epochs were asked for; 0 = unknown
  double budget = 0;  // what tells budgets of one cell apart: steps, or epochs if those were given; 0 = unknown
  bool budget_in_epochs = false;
  std::array<double, 4> params_parts{};  // trained: embeddings, attention, MLP, head; all 0 = unknown
  double bits_per_item = 0;              // targets · log2(vocab); 0 = unknown
};

struct Group {
  std::map<std::string, std::string> key;  // what the rows share; empty for a CSV
  std::vector<Row> rows;
};

enum class CapacityKind { kItemsCorr, kItems, kBits };  // items_corr | items_mem | bits_mem / (T log2 V)

// Groups sorted by key, rows by (heads, seq_len, width, budget). A cell that was measured with several budgets has a
// row for each: the smallest budget is fitted, a row of at least three times its budget is the check on saturation.
std::vector<Group> BuildGroups(const std::vector<Measurement>& measurements,
                               CapacityKind kind = CapacityKind::kItemsCorr);

// CSV with a header: heads,width,seq_len,capacity and optionally dataset_size, capacity_sd, repeats, in any order.
// Several rows of one cell are taken as repeats; a row whose capacity reaches 95 % of its dataset_size is censored.
// BOM, CRLF, blank lines and quotes are fine. InvalidArgument with every error as "FILE:LINE: COLUMN: …".
absl::StatusOr<Group> ReadCapacityCsv(std::string_view text, const std::string& file_name);

}  // namespace capsweep::ecm
