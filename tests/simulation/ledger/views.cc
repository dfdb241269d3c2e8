// What users are shown: counts, rates, workers, and sentences.
#include <algorithm>
#include <array>
#include <cmath>

#include "common/text.h"
#include "tests/simulation/ledger/ledger.h"

namespace capsweep::simulation {

using core::PointState;
using core::SweepState;

namespace {

bool Close(double a, double b) {
  return std::isfinite(a) && std::fabs(a - b) <= 1e-9 * std::max(1.0, std::fabs(b));
}
bool Mentions(std::string_view text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

// Results that were accepted and are not on disk yet: nobody is told of them as done.
int64_t Ledger::Unstored(int64_t sweep) const {
  return std::count_if(unstored_.begin(), unstored_.end(), [&](const auto& u) { return u.second == sweep; });
}

// Results of the last five minutes, in steps of five seconds, over the time since the first work.
double Ledger::Rate(const Sweep& sweep, Instant now) const {
  if (!sweep.started) return 0;
  constexpr Duration kStep = std::chrono::seconds(5);
  const auto step = now.time_since_epoch() / kStep;
  const auto recent = std::count_if(sweep.results.begin(), sweep.results.end(),
                                    [&](Instant r) { return r.time_since_epoch() / kStep > step - 60; });
  const Instant begin = std::max(*sweep.started, Instant((step - 59) * kStep));
  return static_cast<double>(recent) / std::max(1.0, ToSeconds(now - begin));
}

double Ledger::Eta(const Sweep& sweep) const {
  if (sweep.planning) return -1;
  if (OpenPoints(sweep.row.sweep.value()) == 0) return 0;
  const double speed = Speed();
  if (sweep.row.state != SweepState::kRunning || speed <= 0) return -1;
  int64_t cost = OpenCost(sweep.row.sweep.value());
  for (const auto& [id, other] : sweeps_) {
    const bool first = other.row.state == SweepState::kRunning && other.row.priority > sweep.row.priority;
    cost += first ? OpenCost(id) : 0;
  }
  return static_cast<double>(cost) * 1e-6 / speed;
}

void Ledger::CompareSweep(const Sweep& sweep, const core::SweepCounts& shown, Instant now) const {
  const int64_t id = sweep.row.sweep.value(), unstored = Unstored(id);
  std::array<int64_t, 5> counts{};
  for (const auto& [number, point] : points_) {
    if (point.sweeps.contains(id)) ++counts[static_cast<size_t>(point.state)];
  }
  const auto count = [&](PointState state) { return counts[static_cast<size_t>(state)]; };
  const bool finishing = sweep.row.state == SweepState::kFinished && unstored > 0;
  const auto require = [&](bool good, const char* what) {
    judge_->Require(good, "sweep ", shown.name, " shows the wrong ", what);
  };
  require(shown.name == sweep.row.name, "name");
  require(shown.state == (finishing ? SweepState::kRunning : sweep.row.state), "state");
  require(shown.done == count(PointState::kDone) - unstored, "number of done points");
  require(shown.running == count(PointState::kRunning) + unstored, "number of running points");
  require(shown.pending == count(PointState::kPending), "number of pending points");
  require(shown.failed == count(PointState::kFailed), "number of failed points");
  require(shown.cancelled == count(PointState::kCancelled), "number of cancelled points");
  require(shown.points == shown.done + shown.running + shown.pending + shown.failed + shown.cancelled, "sum of points");
  require(shown.planning == sweep.planning, "planning");
  require(shown.cells == sweep.cells && shown.cells_settled == sweep.settled, "progress of its search");
  require(Close(shown.rate_per_second, Rate(sweep, now)), "rate");
  require(Close(shown.eta_seconds, Eta(sweep)), "time left");
  const bool has_reason = sweep.row.state == SweepState::kStopped || sweep.row.state == SweepState::kPaused;
  // Reasons are not stored: a restarted coordinator knows the state alone.
  require(has_reason || sweep.row.state == SweepState::kCancelled || shown.reason.empty(), "reason");
}

const char* Ledger::WhyIdle(const Worker& worker) const {
  if (unwritable_) return "cannot write";
  return StateOf(worker) == core::WorkerState::kQuarantined ? "quarantined" : "";
}

void Ledger::CompareWorker(const Worker& worker, const core::WorkerView& shown, Instant now) const {
  const auto require = [&](bool good, const char* what) {
    judge_->Require(good, "worker ", worker.name, " shows the wrong ", what);
  };
  require(shown.worker.value() == worker.name && shown.host == worker.host, "name");
  require(shown.state == StateOf(worker), "state");
  require(Close(shown.last_seen_seconds, ToSeconds(now - worker.last_seen)), "time since its last call");
  const char* why = !worker.heard     ? "not heard since"
                    : worker.lost     ? "not heard for"
                    : worker.stop     ? "removed"
                    : worker.drain    ? "drained"
                    : worker.draining ? "no new work"
                                      : WhyIdle(worker);
  require(Mentions(shown.reason, why) && shown.reason.empty() == (*why == 0), "reason");
  std::vector<const core::DeviceView*> devices;
  for (const core::DeviceView& d : shown.devices) devices.push_back(&d);
  size_t next = 0;
  for (size_t d = 0; d < worker.devices.size(); ++d) {
    const Device& device = worker.devices[d];
    if (!device.present) continue;
    if (next == devices.size()) return require(false, "number of devices");
    const core::DeviceView& view = *devices[next++];
    const auto running = std::count_if(leases_.begin(), leases_.end(), [&](const auto& l) {
      return l.second.worker == &worker && l.second.device == d;
    });
    const char* state = device.quarantine > 0 ? "quarantined"
                        : !device.ready       ? "failed"
                        : running > 0         ? "busy"
                                              : "idle";
    require(view.name == device.name && view.kind == device.kind && view.slots == device.slots, "device");
    require(view.state == state, "state of a device");
    require(view.running == running, "number of attempts of a device");
    require(view.points_done == device.points_done, "number of results of a device");
  }
  require(next == devices.size(), "number of devices");
}

void Ledger::CompareViews(const core::Core& core, Instant now) const {
  const std::vector<core::SweepCounts> counts = core.Sweeps(now);
  judge_->Require(counts.size() == sweeps_.size(), "the wrong number of sweeps is shown");
  for (const core::SweepCounts& shown : counts) {
    const auto sweep = sweeps_.find(shown.sweep.value());
    judge_->Require(sweep != sweeps_.end(), "a sweep is shown that does not exist");
    if (sweep != sweeps_.end()) CompareSweep(sweep->second, shown, now);
  }
  std::vector<const Worker*> listed;
  for (const auto& [name, worker] : workers_) {
    if (!worker->left) listed.push_back(worker.get());
  }
  const std::vector<core::WorkerView> views = core.Workers(now);
  judge_->Require(views.size() == listed.size(), "the wrong number of workers is shown");
  for (size_t i = 0; i < std::min(views.size(), listed.size()); ++i) CompareWorker(*listed[i], views[i], now);
  judge_->Require(core.Slots() == AllSlots(), "the wrong number of slots is shown");
  const double speed = Speed();
  judge_->Require(Close(core.EstimateWallSeconds(100), speed > 0 ? 100 / speed : -1), "the wrong estimate is shown");
}

void Ledger::CompareMarks(const core::Core& core) {
  std::set<int64_t> searching;
  for (const core::Searching& shown : core.SearchingSweeps()) {
    Sweep& sweep = sweeps_.at(shown.sweep.value());
    searching.insert(shown.sweep.value());
    judge_->Require(sweep.changed ? shown.mark > sweep.mark : shown.mark == sweep.mark, "sweep ", sweep.row.name,
                    " has mark ", shown.mark, " after ", sweep.mark,
                    sweep.changed ? " though something changed" : " though nothing changed");
    sweep.mark = shown.mark;
    sweep.changed = false;
  }
  for (const auto& [id, sweep] : sweeps_) {
    judge_->Require(searching.contains(id) == (sweep.planning && sweep.row.state == SweepState::kRunning), "sweep ",
                    sweep.row.name, " is searching or not, against its state");
  }
}

// Why something that could run does not.
const char* Ledger::WhyPending() const {
  if (unwritable_) return "cannot be written";
  bool live = false;
  for (const auto& [name, worker] : workers_) live = live || (worker->heard && !worker->lost);
  if (!live) return "No worker is connected";
  return AllSlots() == 0 ? "No device can take work" : "It waits for a free slot";
}

void Ledger::CompareTexts(const core::Core& core, Instant now, int64_t point_id, int64_t sweep_id) const {
  const std::string of_point = core.ExplainPoint(PointId(point_id), now);
  const auto point = points_.find(point_id);
  std::vector<std::string> wanted;
  if (point == points_.end()) {
    wanted.emplace_back("There is no point");
  } else {
    wanted.push_back(StrCat("is ", std::string(ToWord(point->second.state)), "."));
    if (const auto lease = leases_.find(point_id); lease != leases_.end()) {
      wanted.push_back(StrCat("Attempt ", lease->second.number, " is held by worker ", lease->second.worker->name));
      if (lease->second.recovered) wanted.emplace_back("not confirmed");
    }
    if (point->second.state == PointState::kPending) {
      wanted.push_back(InRunningSweep(point->second) ? WhyPending() : "No running sweep asks for it");
    }
    if (twins_.contains(point_id)) wanted.emplace_back("far slower");
  }
  const std::string of_sweep = core.ExplainSweep(SweepId(sweep_id), now);
  const auto sweep = sweeps_.find(sweep_id);
  for (const std::string& text : wanted) {
    judge_->Require(Mentions(of_point, text), "explained as '", of_point, "', which lacks '", text, "'");
  }
  const std::string state =
      sweep == sweeps_.end() ? "There is no sweep" : StrCat("is ", std::string(ToWord(sweep->second.row.state)));
  const bool waits = sweep != sweeps_.end() && sweep->second.row.state == SweepState::kRunning &&
                     Count(sweep_id, PointState::kPending) > 0;
  judge_->Require(Mentions(of_sweep, state) && (!waits || Mentions(of_sweep, WhyPending())), "explained as '", of_sweep,
                  "', against its state");
}

}  // namespace capsweep::simulation
