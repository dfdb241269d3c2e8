#include "tests/simulation/seeker.h"

#include <array>
#include <cmath>
#include <cstdlib>

#include "common/sweep/parse.h"
#include "common/text.h"
#include "tests/simulation/catalogue.h"

namespace capsweep::simulation {
namespace {

const std::array<std::string, 5>& Texts() {
  static const auto* const kTexts = [] {
    const auto text = [](const std::string& heads, const std::string& width, const std::string& rest) {
      return StrCat("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: ", heads, ", width: ", width,
                    "}\ntrain: {steps: 100}\n", rest);
    };
    return new std::array<std::string, 5>{
        text("[1, 2]", "8", "measure: mac\nrepeats: 2\nsearch: {start: 30, max_doublings: 3}\n"),
        text("1", "8", "measure: mls\nrepeats: 2\nsearch: {start: 40, restarts: 2, tolerance: 0.1}\n"),
        text("1", "[8, 12]", "measure: mls\nsearch: {start: 200, restarts: 1, tolerance: 0.05, largest: 320}\n"),
        StrCat("sweep: s\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: 1}\ndata: {dataset_size: 250}\n",
               "train: {steps: 100}\nmeasure: minnet\nsearch: {knob: width, from: 4, to: 40, step: 4, trials: 2}\n"),
        StrCat("sweep: s\ntask: {vocab: 16, seq_len: [4, 8, 16]}\nmodel: {heads: [1, 2], width: [8, 12, 16, 24]}\n",
               "data: {dataset_size: 50}\ntrain: {steps: \"=10 * width\"}\nrepeats: 3\nmeasure: adaptive\n",
               "search: {form: softmin, target: {heads: 3, width: 32, seq_len: 8}, budget_points: 14, start: 6, ",
               "round: 3}\n")};
  }();
  return *kTexts;
}

// No fit, but like one a pure function of all that it is asked.
absl::StatusOr<plan::AdaptiveAnswer> Advise(const plan::AdaptiveQuestion& question) {
  int64_t sum = 0;
  for (const auto& sample : question.samples)
    sum += sample.items_mem * (sample.cell + 1) + static_cast<int64_t>(sample.seed);
  plan::AdaptiveAnswer answer;
  double left = question.budget;
  const auto cells = static_cast<int64_t>(question.cells.size());
  for (int64_t i = 0; i < cells; ++i) {
    const auto cell = static_cast<size_t>((i + sum) % cells);
    const bool fits = question.cells[cell].left > 0 && question.cells[cell].cost <= left;
    if (!fits || static_cast<int>(answer.order.size()) >= question.points) continue;
    left -= question.cells[cell].cost;
    answer.order.push_back(static_cast<int>(cell));
  }
  answer.heads = question.search->target_heads;
  answer.width = question.search->target_width;
  answer.seq_len = question.search->target_seq_len;
  answer.predicted = static_cast<double>(sum);
  answer.low = answer.predicted / 2;
  answer.high = answer.predicted * 2;
  return answer;
}

// Parsed once; planners are made anew for every process.
const SweepSpec& SpecOf(int64_t number) {
  static const auto* const kSpecs = [] {
    auto* all = new std::array<SweepSpec, 5>();
    for (size_t i = 0; i < all->size(); ++i) {
      auto spec = ParseSweep(Texts()[i], "s.yaml");
      if (!spec.ok()) std::abort();
      (*all)[i] = *std::move(spec);
    }
    return all;
  }();
  return (*kSpecs)[static_cast<size_t>(number)];
}

plan::SearchPlan Play(int64_t number) {
  Seeker seeker(number);
  plan::Outcomes known;
  for (;;) {
    plan::SearchPlan plan = seeker.Plan(known, 1);
    if (plan.wanted.empty()) return plan;
    for (const PointSpec& point : plan.wanted) known[PointKey(point)] = TrueOutcome(point, true);
  }
}

}  // namespace

int64_t SearchCount() {
  return static_cast<int64_t>(Texts().size());
}

Seeker::Seeker(int64_t number) {
  const SweepSpec& spec = SpecOf(number);
  if (spec.measure == "adaptive") {
    auto adaptive = plan::Adaptive::Create(spec);
    if (!adaptive.ok()) std::abort();
    adaptive_ = *std::move(adaptive);
  } else {
    auto search = plan::Search::Create(spec);
    if (!search.ok()) std::abort();
    search_ = *std::move(search);
  }
}

plan::SearchPlan Seeker::Plan(const plan::Outcomes& known, int64_t workers) {
  if (search_ != nullptr) return search_->Plan(known, workers);
  auto plan = adaptive_->Plan(known, Advise);
  if (!plan.ok()) std::abort();
  return *std::move(plan);
}

const plan::SearchPlan& Undisturbed(int64_t number) {
  static const auto* const kPlans = [] {
    auto* all = new std::array<plan::SearchPlan, 5>();
    for (size_t i = 0; i < all->size(); ++i) (*all)[i] = Play(static_cast<int64_t>(i));
    return all;
  }();
  return (*kPlans)[static_cast<size_t>(number)];
}

std::string Difference(const plan::SearchPlan& a, const plan::SearchPlan& b) {
  if (a.complete != b.complete) return "one is complete";
  if (a.cells.size() != b.cells.size()) return "the number of cells";
  for (size_t c = 0; c < a.cells.size(); ++c) {
    const plan::Finding &x = a.cells[c], &y = b.cells[c];
    const bool same = x.state == y.state && x.reason == y.reason && x.probes == y.probes && x.mac == y.mac &&
                      x.mac_unsettled == y.mac_unsettled && x.mls == y.mls && x.size == y.size &&
                      x.rounds == y.rounds && x.predicted == y.predicted;
    if (!same) return StrCat("cell ", c, ": ", x.reason, " / ", y.reason);
  }
  return "";
}

}  // namespace capsweep::simulation
