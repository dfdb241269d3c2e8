#include "ecm/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ecm/parallel.h"
#include "ecm/random.h"
#include "ecm/starts.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

constexpr int kNestedStarts = 12;
constexpr int kHops = 24;
constexpr double kExactShare = 1e-18;  // RSS / Σ w C² of a fit that is exact up to rounding
constexpr double kAgreeShare = 1e-12;  // below this two fits agree whatever their ratio
constexpr double kNeedsLevelsPenalty = 10;

double WeightedSquares(const FitData& data) {
  double sum = 0;
  for (int i = 0; i < data.rows(); ++i) sum += data.weight[i] * data.capacity[i] * data.capacity[i];
  return sum;
}

// Local optima, best first, those of equal RSS once.
std::vector<Solution> Distinct(std::vector<Solution> solutions) {
  std::stable_sort(solutions.begin(), solutions.end(),
                   [](const Solution& x, const Solution& y) { return x.rss < y.rss; });
  std::vector<Solution> distinct;
  for (const Solution& s : solutions) {
    if (std::isfinite(s.rss) && (distinct.empty() || s.rss > distinct.back().rss * (1 + 1e-4))) distinct.push_back(s);
  }
  return distinct;
}

class VariantSearch {
 public:
  VariantSearch(const Variant& variant, const FitData& data, const SearchSettings& settings)
      : variant_(variant),
        data_(data),
        settings_(settings),
        bounds_(ParameterBounds(*variant.form, data)),
        squares_(WeightedSquares(data)) {}

  // Runs the starts and the hints and keeps their optima. Only the starts count as such.
  void Run(int starts, const std::vector<Theta>& hints) {
    std::vector<Theta> points = MakeStarts(variant_, data_, bounds_, starts, settings_.seed);
    starts_ = static_cast<int>(points.size());
    points.insert(points.end(), hints.begin(), hints.end());
    const std::vector<Solution> solved = Solve(points);
    costs_.clear();
    for (int i = 0; i < starts_; ++i) costs_.push_back(solved[i].rss);
    Keep(solved);
  }

  void Add(const std::vector<Theta>& hints) { Keep(Solve(hints)); }

  // From the best optimum, moves knots and exponents and keeps what is better, until nothing was found for a while.
  void Hop(int hops) {
    if (optima_.empty()) return;
    Random random(settings_.seed, 0x40b5);
    for (int tried = 0; tried < hops && !exact(); ++tried) {
      const Solution& from = optima_[tried % 4 == 3 && optima_.size() > 1 ? 1 : 0];
      const Theta start = Perturb(variant_, data_, bounds_, from.theta, random);
      const Solution solution = SolveFrom(variant_, data_, bounds_, start, Effort::kQuick);
      if (solution.rss < optima_.front().rss * (1 - 1e-4)) {
        optima_.insert(optima_.begin(), solution);
        Polish();
        tried = 0;
      }
    }
  }

  bool exact() const { return !optima_.empty() && optima_.front().rss <= kExactShare * squares_; }
  const std::vector<Solution>& optima() const { return optima_; }
  int starts() const { return starts_; }
  int agreeing() const {
    const double limit = 1.01 * optima_.front().rss + kAgreeShare * squares_;
    return static_cast<int>(std::count_if(costs_.begin(), costs_.end(), [&](double c) { return c <= limit; }));
  }

 private:
  std::vector<Solution> Solve(const std::vector<Theta>& points) const {
    std::vector<Solution> solved(points.size());
    ParallelFor(static_cast<int>(points.size()), settings_.threads,
                [&](int i) { solved[i] = SolveFrom(variant_, data_, bounds_, points[i], Effort::kQuick); });
    return solved;
  }

  void Keep(std::vector<Solution> solved) {
    solved.insert(solved.end(), optima_.begin(), optima_.end());
    optima_ = Distinct(std::move(solved));
    Polish();
  }

  void Polish() {
    const size_t count = std::min<size_t>(optima_.size(), 3);
    std::vector<Solution> polished = optima_;
    for (size_t i = 0; i < count; ++i) {
      polished[i] = SolveFrom(variant_, data_, bounds_, optima_[i].theta, Effort::kPolish);
      if (polished[i].rss <= kExactShare * squares_) break;
    }
    optima_ = Distinct(std::move(polished));
  }

  const Variant variant_;
  const FitData& data_;
  const SearchSettings& settings_;
  const Bounds bounds_;
  const double squares_;
  int starts_ = 0;
  std::vector<double> costs_;
  std::vector<Solution> optima_;
};

// Optima of one variant as starts of another.
std::vector<Theta> Hints(const VariantSearch& search, size_t count) {
  std::vector<Theta> hints;
  for (const Solution& s : search.optima()) {
    if (hints.size() < count) hints.push_back(s.theta);
  }
  return hints;
}

double VariantAicc(const Variant& variant, const FitData& data, const Theta& theta) {
  std::vector<double> predicted(data.rows());
  if (!Evaluate(variant, theta, data, predicted.data(), nullptr)) return std::numeric_limits<double>::infinity();
  return Aicc(FlooredRss(data.capacity, predicted, data.weight), data.rows(), variant.free_count());
}

}  // namespace

FormSearch SearchForm(const Form& form, const FitData& data, const SearchSettings& settings) {
  struct Tried {
    VariantChoice choice;
    VariantSearch search;
    double aicc;
  };
  std::vector<Tried> tried;
  for (const VariantChoice& choice : ListVariants(form, data)) {
    if (data.rows() < choice.variant.free_count() + 3) continue;
    tried.push_back({choice, VariantSearch(choice.variant, data, settings), 0});
  }
  FormSearch result;
  if (tried.empty()) return result;

  // The richest variant gets the whole search; its optima start the others, and theirs start it again, so that a nested
  // variant never fits better than the one it is nested in.
  Tried& richest = tried.front();
  richest.search.Run(settings.starts, settings.hints);
  std::vector<Theta> back;
  for (size_t v = 1; v < tried.size(); ++v) {
    std::vector<Theta> hints = Hints(richest.search, 4);
    hints.insert(hints.end(), settings.hints.begin(), settings.hints.end());
    tried[v].search.Run(kNestedStarts, hints);
    const Variant& variant = tried[v].choice.variant;
    if (variant.saturated && variant.linear) {
      for (const Theta& theta : Hints(tried[v].search, 1)) back.push_back(theta);
    }
  }
  richest.search.Add(back);
  richest.search.Hop(kHops);

  Tried* best = nullptr;
  double best_score = 0;
  result.linear_only_aicc = std::numeric_limits<double>::infinity();
  for (Tried& t : tried) {
    if (t.search.optima().empty()) continue;
    t.aicc = VariantAicc(t.choice.variant, data, t.search.optima().front().theta);
    if (!t.choice.variant.saturated) result.linear_only_aicc = std::min(result.linear_only_aicc, t.aicc);
    const double score = t.aicc + (t.choice.needs_more_levels ? kNeedsLevelsPenalty : 0);
    if (!std::isfinite(score)) continue;
    const bool tie = best != nullptr && std::abs(score - best_score) <= 1e-6;
    const bool simpler = tie && t.choice.variant.free_count() < best->choice.variant.free_count();
    if (best == nullptr || simpler || (!tie && score < best_score)) {
      best = &t;
      best_score = score;
    }
  }
  if (best == nullptr) return result;
  if (best != &richest) {
    best->search.Run(settings.starts, {});
    best->search.Hop(kHops / 2);
  }

  const std::vector<Solution>& optima = best->search.optima();
  result.found = true;
  result.variant = best->choice.variant;
  result.best = optima.front();
  for (size_t i = 1; i < optima.size() && i < 3 && optima[i].rss < 1.5 * optima.front().rss; ++i) {
    result.others.push_back(optima[i].theta);
  }
  result.aicc = VariantAicc(result.variant, data, result.best.theta);
  result.starts = best->search.starts();
  result.starts_agreeing = best->search.agreeing();
  result.needs_more_levels = best->choice.needs_more_levels;
  return result;
}

}  // namespace capsweep::ecm
