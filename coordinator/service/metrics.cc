#include "coordinator/service/metrics.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <map>

#include "common/build_info.h"
#include "common/text.h"
#include "coordinator/service/engine.h"

namespace capsweep::service {
namespace {

// Sweeps with a time left of their own; with more than so many running ones the rest is only in the sums.
constexpr size_t kMaxSweepSeries = 200;

double Value(const Counter& counter) {
  return static_cast<double>(counter.value());
}

void ByCode(MetricsText& text, const std::array<Counter, kStatusCodes>& counters, MetricsText::Labels labels = {}) {
  labels.emplace_back("code", "");
  for (size_t i = 0; i < counters.size(); ++i) {
    if (i == 0 || counters[i].value() > 0) {
      labels.back().second = absl::StatusCodeToString(static_cast<absl::StatusCode>(i));
      text.Sample(Value(counters[i]), labels);
    }
  }
}

void Points(MetricsText& text, const std::vector<core::SweepCounts>& sweeps) {
  core::SweepCounts sum;
  double rate = 0;
  for (const core::SweepCounts& sweep : sweeps) {
    // What a paused or ended sweep leaves pending is in no queue.
    sum.pending += sweep.state == core::SweepState::kRunning ? sweep.pending : 0;
    sum.running += sweep.running;
    sum.done += sweep.done;
    sum.failed += sweep.failed;
    sum.cancelled += sweep.cancelled;
    rate += sweep.rate_per_second;
  }
  text.Family("capsweep_queue_depth_points", "gauge",
              "Points of running sweeps that wait for a device (a point of two sweeps counts in both)");
  text.Sample(static_cast<double>(sum.pending));
  text.Family("capsweep_leases", "gauge", "Points that are leased to workers now");
  text.Sample(static_cast<double>(sum.running));
  text.Family("capsweep_sweep_points", "gauge", "Points of all sweeps by state");
  for (const auto& [state, count] :
       {std::pair{"done", sum.done}, {"failed", sum.failed}, {"cancelled", sum.cancelled}}) {
    text.Sample(static_cast<double>(count), {{"state", state}});
  }
  text.Family("capsweep_points_per_second", "gauge", "Results accepted per second over the last minutes");
  text.Sample(rate);
  text.Family("capsweep_sweep_time_left_seconds", "gauge",
              "Estimated time left of a running sweep, from remaining cost and measured speed; NaN: not known");
  size_t series = 0;
  for (const core::SweepCounts& sweep : sweeps) {
    if (sweep.state == core::SweepState::kRunning && ++series <= kMaxSweepSeries) {
      text.Sample(sweep.eta_seconds < 0 ? std::nan("") : sweep.eta_seconds, {{"sweep", sweep.name}});
    }
  }
}

void Workers(MetricsText& text, const std::vector<core::WorkerView>& workers) {
  std::map<std::string, int64_t> worker_states = {
      {"idle", 0}, {"busy", 0}, {"draining", 0}, {"quarantined", 0}, {"lost", 0}};
  std::map<std::string, int64_t> device_states = {{"idle", 0}, {"busy", 0}, {"failed", 0}, {"quarantined", 0}};
  for (const core::WorkerView& worker : workers) {
    ++worker_states[std::string(core::ToWord(worker.state))];
    for (const core::DeviceView& device : worker.devices) {
      ++device_states[device.state];
    }
  }
  text.Family("capsweep_workers", "gauge", "Workers by state; lost ones are kept for an hour");
  for (const auto& [state, count] : worker_states) {
    text.Sample(static_cast<double>(count), {{"state", state}});
  }
  text.Family("capsweep_devices", "gauge", "Devices of workers by state");
  for (const auto& [state, count] : device_states) {
    text.Sample(static_cast<double>(count), {{"state", state}});
  }
}

void Attempts(MetricsText& text, const Metrics& metrics) {
  text.Family("capsweep_attempts_started_total", "counter", "Attempts given out");
  text.Sample(Value(metrics.attempts_started));
  text.Family("capsweep_attempts_ended_total", "counter", "Attempts that ended, by outcome");
  for (size_t i = 0; i < metrics.attempts_ended.size(); ++i) {
    text.Sample(Value(metrics.attempts_ended[i]),
                {{"outcome", std::string(core::ToWord(static_cast<core::AttemptOutcome>(i)))}});
  }
}

void Store(MetricsText& text, const Engine& engine, const Metrics& metrics) {
  text.Family("capsweep_store_writable", "gauge", "1 if the database can be written, else 0");
  text.Sample(engine.StoreHealth().ok() ? 1 : 0);
  text.Family("capsweep_store_commit_seconds", "histogram",
              "Time of a group commit, from the first row to the disk; its count is the number of transactions");
  text.Sample(metrics.commit_seconds);
  text.Family("capsweep_store_fsync_seconds", "histogram",
              "Time of the COMMIT alone: the log's write and its one fsync; its count is the number of fsyncs");
  text.Sample(metrics.fsync_seconds);
}

void Calls(MetricsText& text, const Metrics& metrics) {
  text.Family("capsweep_sync_seconds", "histogram", "Time to answer a Sync that asks not to be held open");
  text.Sample(metrics.sync_seconds);
  text.Family("capsweep_syncs_total", "counter", "Sync calls answered, by status");
  ByCode(text, metrics.syncs);
  text.Family("capsweep_open_syncs", "gauge", "Sync calls that are open now");
  text.Sample(static_cast<double>(metrics.open_syncs.load()));
  text.Family("capsweep_verbs_total", "counter", "Users' verbs answered, by transport and status");
  ByCode(text, metrics.grpc_verbs, {{"transport", "grpc"}});
  ByCode(text, metrics.http_verbs, {{"transport", "http"}});
  text.Family("capsweep_refused_calls_total", "counter", "Calls that were not let in, by status");
  ByCode(text, metrics.refusals);
  text.Family("capsweep_http_responses_total", "counter", "HTTP responses by class of status");
  for (size_t i = 2; i < metrics.http_requests.size(); ++i) {
    text.Sample(Value(metrics.http_requests[i]), {{"class", StrCat(i, "xx")}});
  }
}

double ResidentBytes() {
  long pages = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re"); file != nullptr) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) {
      resident = 0;
    }
    std::fclose(file);
  }
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace

void Metrics::CountMutations(const core::Persist& batch) {
  for (const core::Mutation& mutation : batch.mutations) {
    if (std::holds_alternative<core::AttemptStarted>(mutation)) {
      attempts_started.Add();
    } else if (std::holds_alternative<core::ResultAccepted>(mutation)) {
      attempts_ended[static_cast<size_t>(core::AttemptOutcome::kAccepted)].Add();
    } else if (const auto* ended = std::get_if<core::AttemptEnded>(&mutation)) {
      attempts_ended[static_cast<size_t>(ended->outcome)].Add();
    }
  }
}

std::string MetricsPage(const Engine& engine, const Metrics& metrics) {
  MetricsText text;
  text.Family("capsweep_build_info", "gauge", "1, with the version as a label");
  text.Sample(1, {{"version", std::string(kVersion)}});
  text.Family("capsweep_uptime_seconds", "gauge", "Since the coordinator opened its database");
  text.Sample(engine.UptimeSeconds());
  text.Family("process_resident_memory_bytes", "gauge", "Resident memory of the coordinator");
  text.Sample(ResidentBytes());
  Points(text, engine.Sweeps());
  Workers(text, engine.Workers());
  Attempts(text, metrics);
  Store(text, engine, metrics);
  Calls(text, metrics);
  if (const int64_t expiry = metrics.certificate_expiry.load(); expiry > 0) {
    text.Family("capsweep_certificate_expiry_timestamp_seconds", "gauge", "When the coordinator's certificate expires");
    text.Sample(static_cast<double>(expiry));
  }
  return text.Take();
}

}  // namespace capsweep::service
