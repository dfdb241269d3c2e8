// What a sweep says beyond a fitted capacity: bits per parameter, the balance of an associative memory, the least
// network for a task, families beside each other. Pure functions from rows to numbers and tables; `capsweep analyze`
// puts them on the screen, figures and reports draw and print the same numbers.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ecm/associative.h"
#include "ecm/bits.h"
#include "ecm/scaling.h"

namespace capsweep::cli {

// One result of v_results, as far as the analyses read it.
struct ResultRow {
  int64_t point_id = 0;
  std::string architecture;  // every field that is neither data size, budget nor seed, where it varies in the sweep
  std::string variant;  // the same without family, seq_len and mlp_width, which follow from each other in `families`
  std::string family, mode, stop_reason;
  int64_t layers = 0, width = 0, vocab = 0, seq_len = 0, dataset_size = 0, targets = 0;
  int64_t budget_steps = 0, budget_epochs = 0;
  int64_t items_mem = 0, params_total = 0, params_train = 0;
  double items_corr = 0, bits_mem = 0, train_loss = 0, lr = 0, warmup = 0;
  double heldout_loss = 0, neighbour_mean = 0, neighbour_median = 0;  // NaN where not measured
};

// An analysis for people: a table, what it found, and how to read it. Sentences without line breaks.
struct AnalysisView {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> findings, notes;
};
std::string ViewText(const AnalysisView& view);

// Per architecture, in the order of the rows.
struct BitsAnalysis {
  std::vector<std::pair<ResultRow, ecm::BitsCapacity>> architectures;  // a row of each, for its names
};
BitsAnalysis AnalyzeBits(const std::vector<ResultRow>& rows);
AnalysisView BitsView(const BitsAnalysis& analysis);
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
AnalysisView AssocView(const AssocAnalysis& analysis);
std::string AssocText(const AssocAnalysis& analysis);
std::string AssocJson(const AssocAnalysis& analysis);
// Amount of data of a point in tokens, the D of the associative memory.
inline double TokensOf(const ResultRow& row) {
  return static_cast<double>(row.dataset_size) * static_cast<double>(row.seq_len);
}

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
  // The same library size at several sequence lengths: does the least network grow with the sequence? Kajitsuka and
  // Sato find the same number of blocks from 10 to 10,000 tokens of random data.
  struct Length {
    LeastNetwork least, shortest;  // at this length; at the shortest at which one was found
    bool alike = false;            // within one block, or within 25 % of the parameters
  };
  std::vector<Length> lengths;  // by family, dataset_size, seq_len; those without a network are left out
};
MinnetAnalysis AnalyzeMinnet(const std::vector<ResultRow>& rows);
AnalysisView MinnetView(const MinnetAnalysis& analysis);
std::string MinnetText(const MinnetAnalysis& analysis);
std::string MinnetJson(const MinnetAnalysis& analysis);

// Families at one sequence length: the capacity of each, means over seeds. Of several budgets the smallest counts, of
// several libraries the one that gives most.
struct FamilyCell {
  std::string family, variant;
  int64_t seq_len = 0, dataset_size = 0, params_total = 0, params_train = 0;
  double capacity = 0, capacity_sd = std::numeric_limits<double>::quiet_NaN();  // items beyond guessing
  double error = 0, error_sd = std::numeric_limits<double>::quiet_NaN();        // share of items not memorized
  int repeats = 0;
  bool full = false;  // every repeat memorized its library: the capacity is a lower bound
};
struct FamiliesAnalysis {
  std::vector<FamilyCell> cells;                // by variant, seq_len, family
  std::vector<std::string> families, variants;  // that occur
  // Largest over smallest number of trained parameters among the families of one variant and length; 1 = equal.
  double largest_ratio = 1;
};
FamiliesAnalysis AnalyzeFamilies(const std::vector<ResultRow>& rows);
AnalysisView FamiliesView(const FamiliesAnalysis& analysis);
std::string FamiliesText(const FamiliesAnalysis& analysis);
std::string FamiliesJson(const FamiliesAnalysis& analysis);

// How the prediction of an adaptive sweep became surer, round by round. A round ends when all its points have.
struct AdaptiveAnalysis {
  std::string target;       // what is predicted, in the words of the sweep file
  bool by_seconds = false;  // the budget is in seconds of training, else in points
  double budget = 0;
  double stop_at = 0;                         // half of the interval over the prediction; 0 = none
  std::string why_ended;                      // "" = it goes on
  int64_t heads = 0, width = 0, seq_len = 0;  // of the prediction; 0 until there is one
  struct Round {
    double spent = 0;               // with those before, in units of the budget
    int64_t points = 0, cells = 0;  // measured so far
    std::string unfitted;           // not empty: why nothing was predicted; NaN below then
    double predicted = std::numeric_limits<double>::quiet_NaN();
    double low = std::numeric_limits<double>::quiet_NaN(), high = std::numeric_limits<double>::quiet_NaN();
    double Width() const { return (high - low) / 2 / predicted; }  // of half the interval, relative
  };
  std::vector<Round> rounds;
  struct Cell {
    int64_t heads = 0, width = 0, seq_len = 0;
    int first = 0, later = 0;  // runs of the first round, and of those after it
    bool target = false;       // what is predicted; it is never trained
  };
  std::vector<Cell> cells;  // of the grid
};
AnalysisView AdaptiveView(const AdaptiveAnalysis& analysis);
std::string AdaptiveText(const AdaptiveAnalysis& analysis);
std::string AdaptiveJson(const AdaptiveAnalysis& analysis);

// What a sweep can be asked, beside its capacities.
enum class Topic { kCapacity, kAdaptive, kBits, kAssoc, kMinnet, kFamilies };
// The questions that a sweep answers, in the order of a report; never empty. A search for least networks answers that
// alone; an adaptive sweep its prediction and capacities. Bits: several libraries of some architecture (three or more).
// Associative memory: held-out losses of an `lm` sweep. Families: two or more. Capacity: searches for it, recipes with
// three or more pairs of heads and width, or nothing else. `largest_recipe`: the largest number of such pairs.
std::vector<Topic> TopicsOf(const std::string& measure, const std::vector<ResultRow>& rows, size_t largest_recipe);
// "bits", "assoc", …: as in `analyze --of`; "" for capacity.
const char* TopicWord(Topic topic);
// "Bits per parameter", …
const char* TopicTitle(Topic topic);

}  // namespace capsweep::cli
