#include "coordinator/plan/search.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/hash.h"
#include "common/param_count.h"
#include "common/status.h"
#include "common/sweep/fields.h"
#include "common/text.h"
#include "coordinator/plan/adaptive.h"
#include "coordinator/plan/grid.h"

namespace capsweep::plan {
namespace {

// At most 2^kDeepest - 1 runs of one bisection at a time.
constexpr int kDeepest = 5;
constexpr double kMacOverEstimate = 4;
constexpr int64_t kMostItems = 100'000'000;

// Items that an architecture may hold at one bit per trained parameter; at most what the alphabet allows.
int64_t EstimateItems(const PointSpec& point, double factor) {
  const double bits = static_cast<double>(MaxTargets(point)) * std::log2(static_cast<double>(point.vocab));
  const double items = factor * static_cast<double>(CountParams(point).train) / bits;
  const double sequences = std::pow(static_cast<double>(point.vocab), static_cast<double>(point.seq_len));
  return static_cast<int64_t>(
      std::max(1.0, std::min({std::floor(items), std::floor(sequences / 4), static_cast<double>(kMostItems)})));
}

std::string EstimateExpression(double factor) {
  return StrCat("max(1, min(floor(", factor, " * params_train / (targets * log2(vocab))), floor(vocab ^ seq_len / 4), ",
                kMostItems, "))");
}

void AddAxis(SweepSpec& sweep, Axis axis) {
  axis.line = sweep.search.line > 0 ? sweep.search.line : sweep.measure_line;
  const int id = sweep::FieldId(axis.field);
  const auto at = std::find_if(sweep.axes.begin(), sweep.axes.end(),
                               [id](const Axis& other) { return sweep::FieldId(other.field) > id; });
  sweep.axes.insert(at, std::move(axis));
}

// The grid of the first runs: the searched field has its first value everywhere.
SweepSpec FirstRound(const SweepSpec& sweep) {
  SweepSpec first = sweep;
  if (sweep.measure == "minnet") {
    const int64_t largest = sweep.search.to - (sweep.search.to - sweep.search.from) % sweep.search.step;
    AddAxis(first, {sweep.search.knob, 0, {Scalar(largest)}, ""});
  } else if (sweep.search.start > 0) {
    AddAxis(first, {"dataset_size", 0, {Scalar(sweep.search.start)}, ""});
  } else {
    AddAxis(first, {"dataset_size", 0, {}, EstimateExpression(sweep.measure == "mac" ? kMacOverEstimate : 1)});
  }
  return first;
}

// A number in [0, 1): the digits of a hash from `at` on.
double Fraction(const std::string& hash, size_t at) {
  return static_cast<double>(std::strtoull(hash.substr(at, 13).c_str(), nullptr, 16)) / 4503599627370496.0;
}

// Short to read, and the same whatever the mathematical library.
double FourDigits(double value) {
  return std::strtod(absl::StrFormat("%.3e", value).c_str(), nullptr);
}

std::string FailureText(int64_t failed, const std::string& one) {
  return StrCat(failed, failed == 1 ? " run failed and counts" : " runs failed and count", " as not memorized: ", one);
}

}  // namespace

std::string_view ToWord(CellState state) {
  switch (state) {
    case CellState::kSearching:
      return "searching";
    case CellState::kSettled:
      return "settled";
    case CellState::kStopped:
      return "stopped";
  }
  return "";
}

// ---------------------------------------------------------------- cells and points

absl::StatusOr<std::unique_ptr<Search>> Search::Create(SweepSpec sweep) {
  std::unique_ptr<Search> search(new Search(std::move(sweep)));
  RETURN_IF_ERROR(EnumerateGrid(FirstRound(search->sweep_), [](const PointSpec&) { return absl::OkStatus(); }));
  ASSIGN_OR_RETURN(PointMaker maker, PointMaker::Create(search->sweep_));
  search->maker_ = std::move(maker);
  search->knob_ = sweep::FieldId(search->sweep_.measure == "minnet" ? search->sweep_.search.knob : "dataset_size");
  RETURN_IF_ERROR(search->FindCells());
  return search;
}

absl::Status Search::FindCells() {
  const SweepSpec first = FirstRound(sweep_);
  ASSIGN_OR_RETURN(PointMaker maker, PointMaker::Create(first));
  const int64_t product = CountProduct(first);
  const auto seeds = static_cast<int64_t>(std::max<size_t>(1, sweep_.seeds.size()));
  int64_t last_cell = -1;
  for (int64_t number = 0; number < product; ++number) {
    maker.MoveTo(number);
    if (maker.verdict() != PointMaker::Verdict::kWanted) continue;
    const PointSpec& point = maker.point();
    const int64_t cell = sweep_.measure == "minnet" ? number : number / seeds;
    if (cell != last_cell) {
      cells_.push_back({{}, sweep_.measure == "mac" ? point.dataset_size : EstimateItems(point, kMacOverEstimate)});
      last_cell = cell;
    }
    cells_.back().numbers.push_back(number);
    if (sweep_.measure != "mac") {
      bisections_.push_back({cells_.size() - 1, number, point.dataset_size});
    }
  }
  return absl::OkStatus();
}

PointSpec Search::MakePoint(int64_t number, const Probe& probe, std::string& impossible) {
  maker_->Fix(knob_, Scalar(probe.size));
  const bool draws = sweep_.measure == "minnet";
  if (draws) {
    // The numbers of a trial depend on all that makes the point, but for themselves.
    static const int kLr = sweep::FieldId("lr"), kWarmup = sweep::FieldId("warmup");
    maker_->Fix(kLr, Scalar(PointSpec().lr));
    maker_->Fix(kWarmup, Scalar(PointSpec().warmup));
    maker_->MoveTo(number);
    const std::string hash = Sha256Hex(StrCat("minnet\n", CanonicalText(maker_->point()), "\n", probe.run));
    const SearchSpec& s = sweep_.search;
    maker_->Fix(kLr, Scalar(FourDigits(s.lr_low * std::pow(s.lr_high / s.lr_low, Fraction(hash, 0)))));
    maker_->Fix(kWarmup, Scalar(FourDigits(s.warmup_low + (s.warmup_high - s.warmup_low) * Fraction(hash, 16))));
  }
  maker_->MoveTo(number);
  PointSpec point = maker_->point();
  if (maker_->verdict() == PointMaker::Verdict::kExcluded) {
    impossible = StrCat(sweep::Fields()[knob_].name, " ", probe.size, " is excluded by where");
  } else if (maker_->verdict() == PointMaker::Verdict::kBad) {
    impossible = maker_->Problems().front().text;
  }
  if (!draws) point.init_seed += static_cast<uint64_t>(probe.run);
  return point;
}

const Search::Made& Search::Make(int64_t number, const Probe& probe) {
  const auto [entry, is_new] = made_.try_emplace({number, probe.size, probe.run});
  Made& made = entry->second;
  if (is_new) {
    const PointSpec point = MakePoint(number, probe, made.impossible);
    made.dataset_size = point.dataset_size;
    if (made.impossible.empty()) made.key = PointKey(point);
  }
  return made;
}

// ---------------------------------------------------------------- one round

// What is collected while one plan is made.
struct Search::Round {
  const Outcomes& known;
  int64_t busy = 0;  // points asked for that have no result, this round's included
  SearchPlan plan;
  absl::flat_hash_set<std::string> wanted;  // keys
};

void Search::Want(int64_t number, const Probe& probe, Round& round) {
  const Made& made = Make(number, probe);
  if (!made.impossible.empty() || round.known.contains(made.key) || !round.wanted.insert(made.key).second) return;
  std::string unused;
  round.plan.wanted.push_back(MakePoint(number, probe, unused));
  ++round.busy;
}

Ruling Search::Rule(const Bisection& bisection, const Outcomes& known, const Assumed& assumed, Finding* finding) {
  absl::flat_hash_set<std::string> failed;
  std::string failure;
  const Ask ask = [&](const Probe& probe) -> Told {
    const Made& made = Make(bisection.number, probe);
    if (!made.impossible.empty()) return {Answer::kImpossible, made.impossible};
    if (finding != nullptr && finding->point_key.empty()) finding->point_key = made.key;
    const auto outcome = known.find(made.key);
    if (outcome == known.end() || outcome->second.state == Outcome::State::kOpen) {
      for (const auto& [other, ok] : assumed) {
        if (other == probe) return {ok ? Answer::kYes : Answer::kNo, ""};
      }
      return {};
    }
    if (finding != nullptr) ++finding->probes;
    if (outcome->second.state == Outcome::State::kFailed && failed.insert(made.key).second) {
      failure = outcome->second.failure;
    }
    const bool ok = outcome->second.state == Outcome::State::kDone && outcome->second.items_mem == made.dataset_size;
    return {ok ? Answer::kYes : Answer::kNo, ""};
  };
  const Ruling ruling =
      sweep_.measure == "minnet" ? RuleMinnet(sweep_.search, ask) : RuleMls(sweep_.search, bisection.start, ask);
  if (finding != nullptr && !failed.empty()) {
    StrAppend(&finding->reason, finding->reason.empty() ? "" : "; ",
              FailureText(static_cast<int64_t>(failed.size()), failure));
  }
  return ruling;
}

LibraryRuns Search::Look(const Cell& cell, int64_t size, const Outcomes& known, Finding* finding) {
  LibraryRuns runs;
  runs.settled = true;
  for (const int64_t number : cell.numbers) {
    const Made& made = Make(number, {size, 0});
    if (!made.impossible.empty()) {
      runs.impossible = made.impossible;
      return runs;
    }
    if (finding->point_key.empty()) finding->point_key = made.key;
    const auto outcome = known.find(made.key);
    if (outcome == known.end() || outcome->second.state == Outcome::State::kOpen) {
      runs.settled = false;
    } else if (outcome->second.state == Outcome::State::kDone) {
      ++runs.done;
      runs.items_mem += static_cast<double>(outcome->second.items_mem);
      runs.items_corr += outcome->second.items_corr;
    }
  }
  if (runs.done > 0) {
    runs.items_mem /= static_cast<double>(runs.done);
    runs.items_corr /= static_cast<double>(runs.done);
  }
  return runs;
}

void Search::PlanMac(const Cell& cell, Round& round, Finding& finding) {
  absl::flat_hash_set<int64_t> looked;
  int64_t probes = 0, missing = 0;
  const auto look = [&](int64_t size) {
    const LibraryRuns runs = Look(cell, size, round.known, &finding);
    if (looked.insert(size).second && runs.settled && runs.impossible.empty()) {
      probes += runs.done;
      missing += static_cast<int64_t>(cell.numbers.size()) - runs.done;
    }
    return runs;
  };
  const MacRuling ruling = RuleMac(cell.mac_start, sweep_.search.max_doublings, look);
  finding.probes += probes;
  finding.mac_unsettled = ruling.unsettled;
  if (ruling.needs.empty()) finding.mac = ruling.mac;
  for (const int64_t size : ruling.needs) {
    for (const int64_t number : cell.numbers) Want(number, {size, 0}, round);
  }
  finding.state = !ruling.needs.empty()    ? CellState::kSearching
                  : ruling.stopped.empty() ? CellState::kSettled
                                           : CellState::kStopped;
  if (!ruling.stopped.empty()) finding.reason = StrCat("MAC: ", ruling.stopped);
  if (missing > 0) {
    StrAppend(&finding.reason, finding.reason.empty() ? "" : "; ", "MAC: ", missing,
              missing == 1 ? " run failed and is" : " runs failed and are", " left out of the means");
  }
}

void Search::Conclude(const Bisection& bisection, const Ruling& ruling, Finding& finding) {
  if (ruling.needs.has_value()) {
    finding.state = CellState::kSearching;
    return;
  }
  if (!ruling.stopped.empty()) {
    if (finding.state == CellState::kSettled) finding.state = CellState::kStopped;
    StrAppend(&finding.reason, finding.reason.empty() ? "" : "; ", sweep_.measure == "mls" ? "MLS: " : "",
              ruling.stopped);
  }
  if (sweep_.measure == "mls") {
    const auto seeds = static_cast<double>(cells_[bisection.cell].numbers.size());
    finding.mls = finding.mls.value_or(0) + static_cast<double>(ruling.value) / seeds;
  } else if (ruling.succeeded.has_value()) {
    finding.size = ruling.value;
    finding.point_key = Make(bisection.number, *ruling.succeeded).key;
  }
}

// Breadth first over what open runs may turn out to be, all bisections level by level, until every worker has a run.
void Search::Speculate(Round& round, int64_t workers) {
  std::vector<std::vector<Assumed>> fronts(bisections_.size(), std::vector<Assumed>(1));
  for (int level = 0; level < kDeepest && round.busy < workers; ++level) {
    for (size_t b = 0; b < bisections_.size() && round.busy < workers; ++b) {
      std::vector<Assumed> next;
      for (const Assumed& assumed : fronts[b]) {
        const Ruling ruling = Rule(bisections_[b], round.known, assumed, nullptr);
        if (!ruling.needs.has_value()) continue;
        if (round.busy < workers) Want(bisections_[b].number, *ruling.needs, round);
        for (const bool ok : {true, false}) {
          next.push_back(assumed);
          next.back().emplace_back(*ruling.needs, ok);
        }
      }
      fronts[b] = std::move(next);
    }
  }
}

SearchPlan Search::Plan(const Outcomes& known, int64_t workers) {
  Round round{known, 0, {}, {}};
  for (const auto& [key, outcome] : known) {
    round.busy += outcome.state == Outcome::State::kOpen ? 1 : 0;
  }
  std::vector<Finding> findings(cells_.size());
  for (size_t c = 0; c < cells_.size(); ++c) {
    findings[c].cell = static_cast<int64_t>(c);
    findings[c].state = CellState::kSettled;
    if (sweep_.measure != "minnet") PlanMac(cells_[c], round, findings[c]);
  }
  for (const Bisection& bisection : bisections_) {
    Finding& finding = findings[bisection.cell];
    const Ruling ruling = Rule(bisection, known, {}, &finding);
    if (ruling.needs.has_value()) Want(bisection.number, *ruling.needs, round);
    Conclude(bisection, ruling, finding);
  }
  for (Finding& finding : findings) {
    if (finding.state == CellState::kSearching) {
      finding.mls.reset();  // of some of its seeds at most
    } else {
      ++round.plan.settled;
    }
  }
  Speculate(round, workers);
  round.plan.complete = round.plan.settled == static_cast<int64_t>(findings.size());
  round.plan.cells = std::move(findings);
  return std::move(round.plan);
}

absl::Status EnumerateSweep(const SweepSpec& sweep, const std::function<absl::Status(const PointSpec&)>& visit) {
  if (!MeasureSearches(sweep.measure)) {
    return EnumerateGrid(sweep, visit);
  }
  if (sweep.measure == "adaptive") {
    ASSIGN_OR_RETURN(const std::unique_ptr<Adaptive> adaptive, Adaptive::Create(sweep));
    // Nothing is known, so nobody is asked.
    ASSIGN_OR_RETURN(const SearchPlan start, adaptive->Plan({}, nullptr));
    for (const PointSpec& point : start.wanted) {
      RETURN_IF_ERROR(visit(point));
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Search> search, Search::Create(sweep));
  for (const PointSpec& point : search->Plan({}, 0).wanted) {
    RETURN_IF_ERROR(visit(point));
  }
  return absl::OkStatus();
}

}  // namespace capsweep::plan
