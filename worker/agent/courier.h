// When to call the coordinator, what to do when it does not answer, and which reports must be on disk.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "common/clock.h"
#include "worker/agent/spool.h"
#include "worker/agent/state.h"
#include "worker/agent/sync_client.h"

namespace capsweep::agent {

struct CourierOptions {
  SyncClientOptions client;
  Duration first_backoff = std::chrono::milliseconds(100);
  Duration max_backoff = std::chrono::seconds(10);
  Duration idle_hold = std::chrono::seconds(20);
  Duration allocation = Duration::zero();  // 0 = unlimited
};

// Not thread-safe: for the agent's loop, which owns `state` and `spool` and shows them here.
class Courier {
 public:
  Courier(CourierOptions options, State* state, Spool* spool, Instant now, std::function<void()> wake);

  // New reports: a call is due soon, batching what arrives within 20 ms, or longer while the devices have work for
  // longer, and at once when a device has none; an idle call that is held open is ended for it. SpoolDue takes a report
  // to disk at once when it cost a second or more of training or the coordinator is away; a cheaper one only when it
  // has waited a second, so that millisecond points do not wait for fsync.
  void Deliver(const std::vector<ReportPtr>& reports, Instant now);
  // A device's state changed: tell the coordinator soon.
  void Hasten(Instant now);
  // Carries out what a reply changed about reports: forgets settled ones, keeps parked ones, loads those of the new
  // database.
  void Settle(const Changes& changes, Instant now);
  void SetAside(const Report& report) { spool_->SetAside(report); }

  // From now on every call says that the worker leaves. An open call is ended.
  void Leave(Instant now);

  // The outcome of a finished call, after back-off and logging. nullopt: none, or it failed.
  struct Answer {
    SyncCall call;
    SyncReply reply;
  };
  std::optional<Answer> Take(Instant now);
  // Starts a call if one is due; ends an idle one that stands in the way of news.
  void Pump(Instant now);
  // Takes to disk what must be there by now, all that came since the last time with one sync.
  void SpoolDue(Instant now);
  // Writes every report that is worth it. Those that cannot be written stay in memory and are tried again.
  void SpoolAll();

  Instant NextDeadline() const;
  std::optional<Instant> unreachable_since() const { return unreachable_since_; }
  double RemainingSeconds(Instant now) const;  // of the allocation; 0 = unlimited

 private:
  struct Pending {
    ReportPtr report;
    Instant spool_at;
  };
  void OnFailure(const SyncOutcome& outcome, Instant now);
  void PlanNextCall(const SyncCall& call, const SyncReply& reply, Instant now);
  void CancelCall();
  Duration BatchTime() const;
  bool SpoolGroup(const std::vector<ReportPtr>& reports);

  CourierOptions options_;
  State* state_;
  Spool* spool_;
  const Instant started_;
  Instant next_call_;
  Instant call_started_{};
  bool open_call_is_idle_ = false;
  bool cancelled_ = false;  // the open call, by us
  bool news_ = false;       // something to say that the open call does not
  bool long_poll_next_ = false;
  bool leaving_ = false;
  int failures_ = 0;
  std::optional<Instant> unreachable_since_;
  Instant next_complaint_{};
  std::string last_notice_;
  std::map<AttemptId, Pending> unspooled_;
  double reports_per_second_ = 0;  // lately
  int64_t reports_counted_ = 0;    // since
  Instant counted_since_{};
  Instant spool_due_ = Instant::max();  // not after the first of unspooled_
  Instant spool_retry_{};               // after a failed write
  bool spool_failing_ = false;
  std::mt19937_64 random_;
  SyncClient client_;  // last: its thread ends first
};

}  // namespace capsweep::agent
