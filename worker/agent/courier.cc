#include "worker/agent/courier.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "worker/agent/agent.h"

namespace capsweep::agent {
namespace {

constexpr Duration kBatch = std::chrono::milliseconds(20);
constexpr Duration kLongestBatch = std::chrono::milliseconds(200);
constexpr Duration kRateWindow = std::chrono::milliseconds(100);
constexpr double kManyPerSlot = 64;  // four times what a core trains at once
// Of the time for which the devices have work: the rest is for the call itself.
constexpr double kBatchShare = 0.25;
// Of one file of the spool, in bytes on the wire.
constexpr size_t kMaxGroupBytes = 2 << 20;
constexpr Duration kSpoolCheapAfter = std::chrono::seconds(1);
constexpr Duration kSpoolRetry = std::chrono::seconds(5);
constexpr double kDearSeconds = 1.0;
constexpr Duration kComplainEvery = std::chrono::seconds(60);
// A reply may ask for the next call at once, but a loop of empty calls helps nobody.
constexpr Duration kShortestPause = std::chrono::milliseconds(5);
constexpr Duration kShortestIdlePause = std::chrono::milliseconds(100);
constexpr Duration kLongestPause = std::chrono::seconds(60);
// Before reports that a reply said nothing about are sent again.
constexpr Duration kUnansweredPause = std::chrono::milliseconds(500);

// What the next start could not make again for free.
bool WorthSpooling(const Report& report) {
  return report.kind != ReportKind::kHandBack || report.checkpoint != nullptr;
}

bool Dear(const Report& report) {
  if (report.kind == ReportKind::kResult) return report.result->seconds >= kDearSeconds;
  return report.kind == ReportKind::kHandBack && report.checkpoint != nullptr;
}

bool RefusesContent(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kResourceExhausted;
}

// The first reports, as many as one file may hold: of one database, and not too large together.
std::vector<ReportPtr> TakeGroup(std::vector<ReportPtr>& reports) {
  size_t count = 0, bytes = 0;
  while (count < reports.size() && bytes < kMaxGroupBytes && reports[count]->database_id == reports[0]->database_id) {
    bytes += WireBytes(*reports[count++]);
  }
  const auto end = reports.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<ReportPtr> group(reports.begin(), end);
  reports.erase(reports.begin(), end);
  return group;
}

}  // namespace

Courier::Courier(CourierOptions options, State* state, Spool* spool, Instant now, std::function<void()> wake)
    : options_(options),
      state_(state),
      spool_(spool),
      started_(now),
      next_call_(now),
      random_(std::random_device{}()),
      client_(std::move(options.client), std::move(wake)) {}

double Courier::RemainingSeconds(Instant now) const {
  if (options_.allocation == Duration::zero()) return 0;
  return std::max(1.0, ToSeconds(options_.allocation - (now - started_)));  // 0 would mean unlimited
}

void Courier::Hasten(Instant now) {
  news_ = true;
  if (failures_ > 0) return;
  next_call_ = std::min(next_call_, std::max(now + BatchTime(), call_started_ + kShortestPause));
}

// Every call lists all that is held and costs both sides time for it, so a worker whose devices all hold hundreds of
// points makes fewer and larger calls. It never waits so long that one of them could run dry.
Duration Courier::BatchTime() const {
  if (state_->AnyDeviceIdle()) return Duration::zero();  // nothing else will be ready soon, and a device waits for work
  if (reports_per_second_ <= 0 || state_->LeastHeldPerSlot() < kManyPerSlot) return kBatch;
  const double seconds = kBatchShare * static_cast<double>(state_->HeldCount()) / reports_per_second_;
  return std::clamp<Duration>(FromSeconds(std::min(seconds, 1.0)), kBatch, kLongestBatch);
}

void Courier::Deliver(const std::vector<ReportPtr>& reports, Instant now) {
  for (const ReportPtr& report : reports) {
    if (!WorthSpooling(*report)) continue;
    const bool at_once = Dear(*report) || failures_ > 0;
    const Instant spool_at = at_once ? now : now + kSpoolCheapAfter;
    unspooled_[report->id] = {report, spool_at};
    spool_due_ = std::min(spool_due_, spool_at);
  }
  reports_counted_ += static_cast<int64_t>(reports.size());
  if (now - counted_since_ >= kRateWindow) {
    reports_per_second_ = static_cast<double>(reports_counted_) / ToSeconds(now - counted_since_);
    reports_counted_ = 0;
    counted_since_ = now;
  }
  if (!reports.empty()) Hasten(now);
}

void Courier::Settle(const Changes& changes, Instant now) {
  for (const ReportPtr& report : changes.settled) {
    unspooled_.erase(report->id);
    spool_->Remove(report->database_id, report->id);
  }
  std::vector<ReportPtr> homeless;  // of a coordinator that is gone, and not on disk
  for (const ReportPtr& report : changes.parked) {
    if (unspooled_.erase(report->id) > 0) homeless.push_back(report);
  }
  while (!homeless.empty()) {
    const std::vector<ReportPtr> group = TakeGroup(homeless);
    if (SpoolGroup(group)) continue;
    spdlog::error("{} reports of database {} are lost: their coordinator is gone and they cannot be spooled",
                  group.size(), group.front()->database_id);
  }
  if (changes.new_database) {
    std::vector<Report> kept = spool_->Load(state_->database_id());
    if (!kept.empty()) spdlog::info("delivering {} reports kept in {}", kept.size(), spool_->folder());
    if (!kept.empty() || !changes.parked.empty()) Hasten(now);
    state_->Restore(std::move(kept));
  }
  Deliver(changes.reports, now);
}

void Courier::Leave(Instant now) {
  leaving_ = true;
  next_call_ = now;
  if (client_.open()) CancelCall();
}

void Courier::CancelCall() {
  client_.Cancel();
  cancelled_ = true;
  open_call_is_idle_ = false;
}

std::optional<Courier::Answer> Courier::Take(Instant now) {
  std::optional<SyncOutcome> outcome = client_.Take();
  if (!outcome.has_value()) return std::nullopt;
  if (outcome->reply.ok()) {
    if (failures_ > 0) spdlog::info("the coordinator at {} answers again", options_.client.coordinator);
    failures_ = 0;
    unreachable_since_.reset();
    if (outcome->reply->notice != last_notice_) {
      last_notice_ = outcome->reply->notice;
      if (!last_notice_.empty()) spdlog::info("coordinator: {}", last_notice_);
    }
    PlanNextCall(outcome->call, *outcome->reply, now);
    return Answer{std::move(outcome->call), std::move(*outcome->reply)};
  }
  OnFailure(*outcome, now);
  return std::nullopt;
}

void Courier::PlanNextCall(const SyncCall& call, const SyncReply& reply, Instant now) {
  const bool was_long_poll = call.max_wait_seconds > 0;
  const bool empty = call.reports.empty() && reply.assignments.empty();
  Duration pause = FromSeconds(std::clamp(reply.next_call_seconds, 0.0, ToSeconds(kLongestPause)));
  const bool refused_to_hold = was_long_poll && empty && now - call_started_ < kShortestIdlePause;
  // An idle worker waits at the coordinator, not at home: new work then reaches it at once.
  long_poll_next_ = state_->Idle() && reply.assignments.empty();
  if (long_poll_next_ && !refused_to_hold) pause = Duration::zero();
  pause = std::max(pause, refused_to_hold ? kShortestIdlePause : kShortestPause);
  if (reply.acknowledged.size() < call.reports.size()) pause = std::max(pause, kUnansweredPause);
  if (news_) pause = kShortestPause;
  next_call_ = now + pause;
}

void Courier::OnFailure(const SyncOutcome& outcome, Instant now) {
  const absl::Status& status = outcome.reply.status();
  if (std::exchange(cancelled_, false) && status.code() == absl::StatusCode::kCancelled) {  // to say something new
    next_call_ = now;
    return;
  }
  if (RefusesContent(status)) state_->OnRefused(outcome.call);
  if (!unreachable_since_.has_value()) unreachable_since_ = call_started_;
  const double draw = std::uniform_real_distribution<double>(0, 1)(random_);
  next_call_ = now + BackoffDelay(options_.first_backoff, options_.max_backoff, failures_, draw);
  if (failures_ == 0 || now >= next_complaint_) {
    spdlog::warn("the coordinator at {} does not take the call ({}); {} reports wait; trying again",
                 options_.client.coordinator, std::string(status.ToString()), state_->Unacknowledged().size());
    next_complaint_ = now + kComplainEvery;
  }
  ++failures_;
  news_ = true;  // what the call carried is still to be said
  for (auto& [id, pending] : unspooled_) pending.spool_at = now;
  spool_due_ = now;
}

void Courier::Pump(Instant now) {
  if (client_.open()) {
    if (open_call_is_idle_ && news_ && now >= next_call_) CancelCall();
    return;
  }
  if (now < next_call_) return;
  // A call with news is answered at once; only one that has nothing to say may be held open.
  const bool idle = long_poll_next_ && !news_ && !leaving_ && failures_ == 0 && state_->Unacknowledged().empty();
  news_ = false;
  open_call_is_idle_ = idle;
  call_started_ = now;
  cancelled_ = false;
  const double max_wait = idle ? ToSeconds(options_.idle_hold) : 0;
  SyncCall call = state_->BuildCall(max_wait, leaving_, leaving_, RemainingSeconds(now));
  // More than fits into one call: the rest follows at once, and only the last call may say goodbye.
  if (state_->HasUnsent(call)) {
    news_ = true;
    call.leaving = false;
  }
  next_call_ = now + kLongestPause;
  client_.Start(std::move(call));
}

bool Courier::SpoolGroup(const std::vector<ReportPtr>& reports) {
  absl::Status status = spool_->AddGroup(reports);
  if (!status.ok() && !spool_failing_) {
    spdlog::warn("reports stay in memory, the spool cannot be written: {}", std::string(status.message()));
  }
  if (status.ok() && spool_failing_) spdlog::info("the spool {} can be written again", spool_->folder());
  spool_failing_ = !status.ok();
  return status.ok();
}

void Courier::SpoolDue(Instant now) {
  if (now < std::max(spool_due_, spool_retry_)) return;
  std::vector<ReportPtr> due;
  spool_due_ = Instant::max();
  for (const auto& [id, pending] : unspooled_) {
    if (now >= pending.spool_at) {
      due.push_back(pending.report);
    } else {
      spool_due_ = std::min(spool_due_, pending.spool_at);
    }
  }
  while (!due.empty()) {
    const std::vector<ReportPtr> group = TakeGroup(due);
    if (!SpoolGroup(group)) {
      spool_due_ = now;
      spool_retry_ = now + kSpoolRetry;
      return;
    }
    for (const ReportPtr& report : group) unspooled_.erase(report->id);
  }
}

void Courier::SpoolAll() {
  const Instant now = std::chrono::steady_clock::now();
  for (auto& [id, pending] : unspooled_) pending.spool_at = now;
  spool_due_ = spool_retry_ = now;
  SpoolDue(now);
}

Instant Courier::NextDeadline() const {
  const Instant spool = spool_due_ == Instant::max() ? spool_due_ : std::max(spool_due_, spool_retry_);
  const bool call_can_change = !client_.open() || (open_call_is_idle_ && news_);
  return call_can_change ? std::min(spool, next_call_) : spool;
}

}  // namespace capsweep::agent
