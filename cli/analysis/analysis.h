// What a sweep says beyond a fitted capacity: bits per parameter, the balance of an associative memory, the least
// network for a task. Pure functions from rows to tables; `capsweep analyze` puts them on the screen.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/store/reader.h"
#include "ecm/associative.h"
#include "ecm/bits.h"
#include "ecm/scaling.h"

namespace capsweep::cli {

// One result of v_results, as far as the analyses read it.
struct ResultRow {
  int64_t point_id = 0;
  std::string architecture;  // every field that is neither data size, budget nor seed, where it varies in the sweep
  std::string family, mode, stop_reason;
  int64_t layers = 0, width = 0, vocab = 0, seq_len = 0, dataset_size = 0, targets = 0;
  int64_t budget_steps = 0, budget_epochs = 0;
  int64_t items_mem = 0, params_total = 0, params_train = 0;
  double bits_mem = 0, train_loss = 0, lr = 0, warmup = 0;
  double heldout_loss = 0, neighbour_mean = 0, neighbour_median = 0;  // NaN where not measured
};

// InternalError for a column that v_results lacks.
absl::StatusOr<std::vector<ResultRow>> ReadResultRows(const store::Table& results);

// Per architecture, in the order of the rows.
struct BitsAnalysis {
  std::vector<std::pair<ResultRow, ecm::BitsCapacity>> architectures;  // a row of each, for its names
};
BitsAnalysis AnalyzeBits(const std::vector<ResultRow>& rows);
std::string BitsText(const BitsAnalysis& analysis);
std::string BitsJson(const BitsAnalysis& analysis);

struct AssocSettings {
  double sigma2 = 0.04;  // of the paper's rule
  int window = 10;       // evaluations
};
struct AssocSize {
  ResultRow row;                 // names the architecture
  std::map<double, double> gap;  // by tokens D = items * seq_len; mean over seeds
  ecm::CriticalSize critical;
  double neighbour_mean = 0, neighbour_median = 0;  // at the largest D; NaN where not measured
};
struct AssocAnalysis {
  AssocSettings settings;
  std::vector<AssocSize> sizes;
  absl::StatusOr<ecm::PowerLaw> law = absl::UnknownError("");  // parameters over D*: theory says exponent 2
};
// `curves`: evaluations in order, by point id; points without held-out losses are left out.
AssocAnalysis AnalyzeAssoc(const std::vector<ResultRow>& rows,
                           const std::map<int64_t, std::vector<ecm::LossPair>>& curves, const AssocSettings& settings);
std::string AssocText(const AssocAnalysis& analysis);
std::string AssocJson(const AssocAnalysis& analysis);

// The least network that memorized a library, among those tried.
struct LeastNetwork {
  std::string family;
  int64_t seq_len = 0, dataset_size = 0;
  int64_t params = 0;          // of the smallest that memorized every item in some trial; 0 = none did
  int64_t params_by_loss = 0;  // of the smallest with a training loss below 0.01; 0 = none
  int64_t largest_failed = 0;  // parameters of the largest below it that did not; 0 = none was tried
  int64_t layers = 0, width = 0;
  double lr = 0, warmup = 0;
  int trials = 0;  // of this task, all sizes
};
struct MinnetAnalysis {
  std::vector<LeastNetwork> networks;  // by family, seq_len, dataset_size
  struct Law {
    std::string family;
    absl::StatusOr<ecm::PowerLaw> law = absl::UnknownError("");
    std::vector<ecm::Overlay> overlays;
  };
  std::vector<Law> laws;  // one per family
};
MinnetAnalysis AnalyzeMinnet(const std::vector<ResultRow>& rows);
std::string MinnetText(const MinnetAnalysis& analysis);
std::string MinnetJson(const MinnetAnalysis& analysis);

}  // namespace capsweep::cli
