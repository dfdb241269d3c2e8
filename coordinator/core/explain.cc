// The state in words for people: workers, and why something is not running.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

namespace {

std::string Ago(Instant then, Instant now) {
  return absl::StrFormat("%.0f s ago", ToSeconds(now - then));
}

DeviceView ViewOf(const Device& d, int32_t running) {
  DeviceView v{.name = d.name,
               .kind = d.kind,
               .state = running > 0 ? "busy" : "idle",
               .reason = "",
               .slots = d.slots,
               .running = running,
               .points_done = d.points_done};
  if (!d.quarantine.empty()) {
    v.state = "quarantined";
    v.reason = d.quarantine;
  } else if (!d.ready) {
    v.state = "failed";
    v.reason = d.reason;
  }
  return v;
}

}  // namespace

std::vector<WorkerView> Core::Workers(Instant now) const {
  const State& s = *state_;
  std::vector<WorkerView> out;
  for (const auto& [id, worker] : s.workers) {
    if (worker->left) {
      continue;
    }
    WorkerView v{.worker = worker->id,
                 .host = worker->host,
                 .state = s.StateOf(*worker),
                 .last_seen_seconds = ToSeconds(now - worker->last_seen),
                 .reason = "",
                 .devices = {}};
    if (!worker->heard) {
      v.reason = "not heard since the coordinator started; its attempts wait for it a while";
    } else if (worker->lost) {
      v.reason = absl::StrCat("not heard for ", static_cast<int64_t>(v.last_seen_seconds), " s");
    } else if (worker->stop) {
      v.reason = "removed by an operator";
    } else if (worker->drain) {
      v.reason = "drained by an operator";
    } else if (worker->draining) {
      v.reason = "asks for no new work";
    } else {
      v.reason = s.WhyNoWork(*worker);
    }
    std::vector<int32_t> running(worker->devices.size());
    for (PointIndex index : worker->held) {
      ++running[s.leases.at(index).device];
    }
    for (size_t d = 0; d < worker->devices.size(); ++d) {
      if (worker->devices[d].present) {
        v.devices.push_back(ViewOf(worker->devices[d], running[d]));
      }
    }
    out.push_back(std::move(v));
  }
  return out;
}

// Why a point that could run has no device.
std::string Core::State::ExplainMachines() const {
  if (unwritable) {
    return absl::StrCat("The database cannot be written (", *unwritable, "), so no work is given out.");
  }
  int64_t live = 0, draining = 0, broken = 0, usable = 0;
  for (const auto& [id, worker] : workers) {
    if (worker->lost || !worker->heard) {
      continue;
    }
    ++live;
    draining += DrainsOrStops(*worker) ? 1 : 0;
    for (const Device& d : worker->devices) {
      usable += d.counted_slots > 0 ? 1 : 0;
      broken += d.present && (!d.ready || !d.quarantine.empty()) ? 1 : 0;
    }
  }
  if (live == 0) {
    return "No worker is connected.";
  }
  if (usable == 0) {
    return absl::StrCat("No device can take work: of ", live, " connected workers ", draining, " are draining, and ",
                        broken, " devices have failed or are quarantined; `capsweep workers` says why.");
  }
  return absl::StrCat("It waits for a free slot: ", usable, " devices hold ", leases.size(), " attempts, and ",
                      ready_points, " points are pending in running sweeps.");
}

std::string Core::ExplainPoint(PointId point, Instant now) const {
  const State& s = *state_;
  const Point* p = s.FindPoint(point);
  if (p == nullptr) {
    return absl::StrCat("There is no point ", point.value(), " in this database.");
  }
  std::vector<std::string> said = {absl::StrCat("Point ", point.value(), " is ", Word(p->state), ".")};
  if (p->state == PointState::kDone && p->reported > 0) {
    said.push_back(absl::StrCat("Attempt ", p->reported, " delivered its result."));
  }
  if (p->state == PointState::kFailed) {
    said.push_back(absl::StrCat("It failed ", p->failures, " times and lost its worker ", p->lost,
                                " times; `capsweep retry` makes it pending again."));
  }
  if (p->state == PointState::kRunning) {
    const Lease& lease = s.leases.at(s.IndexOf(*p));
    const Worker& worker = *s.worker_by_index.at(lease.worker);
    said.push_back(absl::StrFormat("Attempt %d is held by worker %s, device %s, %.0f %% done; the worker was heard %s.",
                                   lease.number.value(), worker.id.value(), worker.devices[lease.device].name,
                                   lease.progress * 100, Ago(worker.last_seen, now)));
    if (lease.recovered) {
      said.push_back("It was running before the coordinator restarted, and its worker has not confirmed it yet.");
    }
  }
  if (const auto twin = s.twins.find(s.IndexOf(*p)); twin != s.twins.end()) {
    said.push_back(absl::StrCat("Attempt ", twin->second.number.value(), " on worker ",
                                s.worker_by_index.at(twin->second.worker)->id.value(),
                                " was far slower than expected and may still deliver; the first result counts."));
  }
  if (p->state == PointState::kPending) {
    bool any_running = false;
    std::vector<std::string> others;
    for (SweepIndex i : s.SweepsOf(*p)) {
      const Sweep& sweep = s.sweeps[i];
      any_running = any_running || sweep.row.state == SweepState::kRunning;
      others.push_back(absl::StrCat(sweep.row.name, " is ", Word(sweep.row.state)));
    }
    if (!any_running) {
      said.push_back(absl::StrCat("No running sweep asks for it: ", absl::StrJoin(others, ", "), "."));
    } else {
      said.push_back(s.ExplainMachines());
    }
    if (p->alone) {
      said.push_back("A pack died with it on board, so it only runs by itself, after the points that can share.");
    }
    if (p->failures + p->lost > 0) {
      said.push_back(absl::StrCat("It has failed ", p->failures, " of ", s.AllowedFailures(*p),
                                  " times and lost its worker ", p->lost, " times."));
    }
  }
  return absl::StrJoin(said, " ");
}

std::string Core::ExplainSweep(SweepId sweep_id, Instant now) const {
  const State& s = *state_;
  const auto found = s.sweep_by_id.find(sweep_id);
  if (found == s.sweep_by_id.end()) {
    return absl::StrCat("There is no sweep with id ", sweep_id.value(), ".");
  }
  const Sweep& sweep = s.sweeps[found->second];
  std::vector<std::string> said = {absl::StrCat("Sweep ", sweep.row.name, " is ", Word(sweep.row.state),
                                                sweep.reason.empty() ? "" : ": ", sweep.reason, ".")};
  said.push_back(absl::StrCat("Of its points ", sweep.Count(PointState::kDone), " are done, ",
                              sweep.Count(PointState::kRunning), " running, ", sweep.Count(PointState::kPending),
                              " pending, ", sweep.Count(PointState::kFailed), " failed, ",
                              sweep.Count(PointState::kCancelled), " cancelled."));
  switch (sweep.row.state) {
    case SweepState::kPaused:
      said.push_back("Running attempts go on, nothing new starts; `capsweep resume` goes on.");
      break;
    case SweepState::kStopped:
      said.push_back(
          "`capsweep retry` makes its failed points pending and goes on; `capsweep resume` goes on without them.");
      break;
    case SweepState::kRunning:
      if (sweep.planning) {
        said.push_back(sweep.cells > 0 ? absl::StrCat("It searches: ", sweep.cells_settled, " of ", sweep.cells,
                                                      " architectures are settled, further points follow from results.")
                                       : "It searches: further points follow from results.");
      }
      if (sweep.Count(PointState::kPending) > 0) {
        const bool outranked = std::any_of(s.ready.begin(), s.ready.end(), [&](const auto& other) {
          return other.first < -int64_t{sweep.row.priority};
        });
        said.push_back(s.ExplainMachines());
        if (outranked) {
          said.push_back("Sweeps of higher priority go first.");
        }
      }
      if (const double rate = sweep.rate.PerSecond(now); rate > 0) {
        said.push_back(absl::StrFormat("Results arrive at %.3g per second.", rate));
      }
      break;
    case SweepState::kCancelled:
    case SweepState::kFinished:
      break;
  }
  return absl::StrJoin(said, " ");
}

}  // namespace capsweep::core
