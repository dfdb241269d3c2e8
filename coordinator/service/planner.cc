#include "coordinator/service/planner.h"

#include <algorithm>
#include <utility>

#include "common/status.h"
#include "common/sweep/data_files.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/service/advise.h"

namespace capsweep::service {
namespace {

// Between two rounds: results come in bursts, and a round reads all points of its sweeps.
constexpr Duration kPause = std::chrono::milliseconds(20);
constexpr int kPauseOverWork = 4;

// May pass: the store cannot write at the moment, or the coordinator is about to end.
bool MayPass(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kCancelled || status.code() == absl::StatusCode::kAborted;
}

plan::Outcomes OutcomesOf(const store::SearchInput& input) {
  plan::Outcomes outcomes;
  outcomes.reserve(input.probes.size());
  for (const store::SearchInput::Probe& probe : input.probes) {
    plan::Outcome outcome;
    outcome.state = probe.state == core::PointState::kDone     ? plan::Outcome::State::kDone
                    : probe.state == core::PointState::kFailed ? plan::Outcome::State::kFailed
                                                               : plan::Outcome::State::kOpen;
    outcome.items_mem = probe.items_mem;
    outcome.items_corr = probe.items_corr;
    outcome.seconds = probe.seconds;
    outcome.failure = probe.reason;
    outcomes.emplace(probe.point_key, std::move(outcome));
  }
  return outcomes;
}

std::vector<store::SearchRow> RowsOf(const std::vector<plan::Finding>& findings) {
  std::vector<store::SearchRow> rows;
  for (const plan::Finding& f : findings) {
    store::SearchRow row;
    row.cell = f.cell;
    row.point_key = f.point_key;
    row.state = std::string(plan::ToWord(f.state));
    row.reason = f.reason;
    row.probes = f.probes;
    row.mac = f.mac;
    row.mac_unsettled = f.mac_unsettled;
    row.mls = f.mls;
    row.size = f.size;
    row.target = f.target;
    row.rounds = f.rounds;
    row.seconds = f.seconds;
    row.predicted = f.predicted;
    row.low = f.low;
    row.high = f.high;
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

Planner::Planner(store::Store* store, Mutex* submitting, std::function<PlannerLook()> look,
                 std::function<void(const core::Event&)> apply)
    : store_(store), submitting_(submitting), look_(std::move(look)), apply_(std::move(apply)) {
  thread_ = std::thread([this] { Work(); });
}

Planner::~Planner() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Planner::Wake() {
  {
    MutexLock lock(&mu_);
    woken_ = true;
  }
  wake_.notify_one();
}

bool Planner::WaitForWork() {
  MutexLock lock(&mu_);
  while (!woken_ && !stop_) {
    wake_.wait(mu_);
  }
  woken_ = false;
  return !stop_;
}

void Planner::Work() {
  while (WaitForWork()) {
    const auto start = std::chrono::steady_clock::now();
    fitted_ = {};
    PlanAll();
    // Fits keep nobody waiting and come once a round: only what reads the database is paced.
    const Duration worked = std::chrono::steady_clock::now() - start - fitted_;
    const auto until = std::chrono::steady_clock::now() + std::max<Duration>(kPause, kPauseOverWork * worked);
    MutexLock lock(&mu_);
    while (!stop_ && std::chrono::steady_clock::now() < until) {
      wake_.wait_until(mu_, until);
    }
  }
}

void Planner::PlanAll() {
  const PlannerLook look = look_();
  for (const core::Searching& sweep : look.sweeps) {
    Planned& planned = planned_[sweep.sweep];
    if (planned.mark == sweep.mark && planned.slots >= look.slots) {
      continue;
    }
    const absl::Status status = PlanOne(sweep, look.slots, planned);
    if (!status.ok() && !MayPass(status)) {
      core::SweepPlanned event;
      event.sweep = sweep.sweep;
      event.error = std::string(status.message());
      apply_(event);
    }
  }
}

bool Planner::stopping() {
  MutexLock lock(&mu_);
  return stop_;
}

absl::Status Planner::Understand(const store::SearchInput& input, Planned& planned) {
  if ((planned.search != nullptr || planned.adaptive != nullptr) && planned.text == input.text) {
    return absl::OkStatus();
  }
  planned.search.reset();
  planned.adaptive.reset();
  ASSIGN_OR_RETURN(SweepSpec spec, ParseSweep(input.text, input.file_name));
  spec.folder = input.folder;
  RETURN_IF_ERROR(sweep::LoadDataFiles(spec));
  if (spec.measure == "adaptive") {
    ASSIGN_OR_RETURN(planned.adaptive, plan::Adaptive::Create(std::move(spec)));
  } else {
    ASSIGN_OR_RETURN(planned.search, plan::Search::Create(std::move(spec)));
  }
  planned.text = input.text;
  planned.stored.clear();
  return absl::OkStatus();
}

absl::StatusOr<plan::SearchPlan> Planner::Ask(const store::SearchInput& input, int64_t slots, Planned& planned) {
  const plan::Outcomes known = OutcomesOf(input);
  if (planned.search != nullptr) {
    return planned.search->Plan(known, slots);
  }
  return planned.adaptive->Plan(known, [this](const plan::AdaptiveQuestion& question) {
    if (stopping()) {
      return absl::StatusOr<plan::AdaptiveAnswer>(absl::CancelledError("the coordinator is stopping"));
    }
    const auto start = std::chrono::steady_clock::now();
    absl::StatusOr<plan::AdaptiveAnswer> answer = Advise(question);
    fitted_ += std::chrono::steady_clock::now() - start;
    return answer;
  });
}

absl::Status Planner::PlanOne(const core::Searching& sweep, int64_t slots, Planned& planned) {
  // What the core had taken in when it gave the mark is on disk from here on.
  RETURN_IF_ERROR(store_->Flush());
  if (planned.search == nullptr) {
    ASSIGN_OR_RETURN(const store::SearchInput input, store_->ReadSearch(sweep.sweep));
    RETURN_IF_ERROR(Understand(input, planned));
    if (planned.adaptive != nullptr) {
      // Fits now, without the lock; below they are remembered.
      RETURN_IF_ERROR(Ask(input, slots, planned).status());
    }
  }
  MutexLock lock(submitting_);
  ASSIGN_OR_RETURN(const store::SearchInput input, store_->ReadSearch(sweep.sweep));
  RETURN_IF_ERROR(Understand(input, planned));
  ASSIGN_OR_RETURN(const plan::SearchPlan wants, Ask(input, slots, planned));
  const std::vector<store::SearchRow> found = RowsOf(wants.cells);
  if (!wants.wanted.empty() || found != planned.stored) {
    ASSIGN_OR_RETURN(store::StoredSweep stored, store_->AddProbes(sweep.sweep, wants.wanted, found));
    planned.stored = found;
    if (!stored.event.points.empty()) {
      apply_(std::move(stored.event));
    }
  }
  core::SweepPlanned event;
  event.sweep = sweep.sweep;
  event.mark = sweep.mark;
  event.cells = static_cast<int64_t>(wants.cells.size());
  event.settled = wants.settled;
  event.complete = wants.complete;
  apply_(event);
  planned.mark = sweep.mark;
  planned.slots = slots;
  return absl::OkStatus();
}

}  // namespace capsweep::service
