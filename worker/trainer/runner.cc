#include "worker/trainer/runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "common/build_info.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/checkpoint.h"

namespace capsweep::trainer {
namespace {

constexpr Duration kReportInterval = std::chrono::seconds(1);
constexpr int64_t kMaxCheckpointBytes = int64_t{1} << 32;

FailureCause CauseOfLoadFailure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return FailureCause::kOutOfMemory;
    case absl::StatusCode::kInvalidArgument:
      return FailureCause::kBadPoint;
    case absl::StatusCode::kUnimplemented:
      return FailureCause::kUnsupported;
    default:
      return FailureCause::kInternal;
  }
}

// Attempt names are free text; files need a tame name.
std::string FileNameFor(const PointSpec& point, std::string attempt) {
  for (char& c : attempt) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return StrCat(PointKey(point), "-", attempt.substr(0, 64), ".checkpoint");
}

std::string Text(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

}  // namespace

Runner::Runner(std::vector<std::unique_ptr<Backend>> backends, DeviceFacts facts, bool report_all, Emit emit,
               const Clock& clock, std::function<void()> flush)
    : backends_(std::move(backends)),
      facts_(std::move(facts)),
      report_all_(report_all),
      emit_(std::move(emit)),
      clock_(clock),
      flush_(std::move(flush)) {}

int Runner::running() const {
  return static_cast<int>(
      std::count_if(slots_.begin(), slots_.end(), [](const auto& slot) { return slot.has_value(); }));
}

void Runner::RejectLine(std::string_view reason) {
  any_bad_input_ = true;
  spdlog::error("input: {}", reason);
  emit_(ErrorLine(reason));
}

void Runner::Handle(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
    return;  // an empty line asks for nothing
  }
  absl::StatusOr<Command> command = ParseCommand(line);
  if (!command.ok()) {
    RejectLine(Text(command.status()));
    return;
  }
  switch (command->kind) {
    case Command::Kind::kTrain:
      Train(*std::move(command));
      break;
    case Command::Kind::kCancel:
      Cancel(command->attempt);
      break;
    case Command::Kind::kStop:
      Stop(command->folder);
      break;
  }
}

void Runner::Train(Command command) {
  if (command.attempt.empty()) {
    command.attempt = StrCat(++bare_points_);
  }
  if (known_.contains(command.attempt)) {
    RejectLine(StrCat("attempt '", command.attempt, "' is held already; give every attempt its own name"));
    return;
  }
  if (!command.bad_point.ok()) {
    any_bad_input_ = true;
    Fail(command.attempt, FailureCause::kBadPoint, Text(command.bad_point), 1);
    return;
  }
  std::string why_not;
  Backend* backend = Choose(command.point, why_not);
  if (backend == nullptr) {
    Fail(command.attempt, FailureCause::kUnsupported, why_not, 1);
    return;
  }
  if (backend != backends_.front().get() && command.point.backend.empty() && !std::exchange(told_fallback_, true)) {
    spdlog::info("back end {} trains what {} cannot: {}", backend->name(), backends_.front()->name(), why_not);
  }
  std::string shape = ShapeKey(command.point);
  known_.insert(command.attempt);
  queue_.push_back(
      {std::move(command.attempt), std::move(command.point), std::move(shape), std::move(command.checkpoint), backend});
}

void Runner::Cancel(const std::string& attempt) {
  known_.erase(attempt);
  std::erase_if(queue_, [&](const Attempt& a) { return a.name == attempt; });
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i] && slots_[i]->attempt.name == attempt) {
      active_->Unload(static_cast<int>(i));
      slots_[i].reset();
    }
  }
  // An attempt that is unknown here is as good as forgotten: the answer is the same, so that it may be asked again.
  if (report_all_) {
    emit_(CancelledLine(attempt));
  }
}

void Runner::Stop(const std::string& folder) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i]) {
      const std::string file = SaveSlot(static_cast<int>(i), folder);
      active_->Unload(static_cast<int>(i));
      if (report_all_) {
        emit_(StoppedLine(slots_[i]->attempt.name, file));
      }
      slots_[i].reset();
    }
  }
  for (const Attempt& attempt : queue_) {
    if (report_all_) {
      emit_(StoppedLine(attempt.name, ""));
    }
  }
  queue_.clear();
  known_.clear();
  stopped_ = true;
}

std::string Runner::SaveSlot(int slot, const std::string& folder) {
  const Attempt& attempt = slots_[static_cast<size_t>(slot)]->attempt;
  const std::string path = StrCat(folder, "/", FileNameFor(attempt.point, attempt.name));
  Reach(FailPoint::kTrainerSaves).IgnoreError();
  absl::StatusOr<Checkpoint> checkpoint = active_->Save(slot);
  absl::Status saved = checkpoint.status();
  if (saved.ok()) {
    saved = MakeFolders(folder);
  }
  if (saved.ok()) {
    saved = WriteFileAtomic(path, checkpoint->bytes);
  }
  if (!saved.ok()) {
    spdlog::warn("attempt {}: no checkpoint: {}", attempt.name, Text(saved));
    return "";
  }
  Reach(FailPoint::kTrainerSaved).IgnoreError();
  return path;
}

Backend* Runner::Choose(const PointSpec& point, std::string& why_not) const {
  for (const auto& backend : backends_) {
    if (!point.backend.empty() && point.backend != backend->name()) {
      StrAppend(&why_not, why_not.empty() ? "" : "; ", backend->name(), ": the point asks for back end '",
                point.backend, "'");
      continue;
    }
    const absl::Status can = backend->CanTrain(point);
    if (can.ok()) {
      return backend.get();
    }
    StrAppend(&why_not, why_not.empty() ? "" : "; ", backend->name(), ": ", Text(can));
  }
  return nullptr;
}

absl::Status Runner::Advance(Duration slice) {
  FillSlots();
  if (running() == 0) {
    return active_ == nullptr ? absl::OkStatus() : active_->Health();
  }
  flush_();
  active_->Run(slice);
  RETURN_IF_ERROR(active_->Health());
  CollectSlots();
  flush_();
  if (std::exchange(said_result_, false)) {
    Reach(FailPoint::kTrainerSaid).IgnoreError();
  }
  return absl::OkStatus();
}

void Runner::FillSlots() {
  while (!queue_.empty()) {
    if (running() == 0) {
      active_ = queue_.front().backend;
      slots_.clear();
      most_running_ = std::numeric_limits<int>::max();
    }
    if (running() >= most_running_ || active_->Full()) {
      return;
    }
    const auto next = std::find_if(queue_.begin(), queue_.end(), [&](const Attempt& a) {
      return a.backend == active_ && active_->Takes(a.point, a.shape);
    });
    if (next == queue_.end()) {
      return;
    }
    const auto free = std::find(slots_.begin(), slots_.end(), std::nullopt);
    const auto slot = static_cast<int>(free - slots_.begin());
    if (free == slots_.end()) {
      slots_.emplace_back();
    }
    Attempt attempt = std::move(*next);
    queue_.erase(next);
    if (!Start(slot, std::move(attempt))) {
      return;
    }
  }
}

absl::StatusOr<int64_t> Runner::LoadFromCheckpoint(int slot, const Attempt& attempt) {
  absl::StatusOr<std::string> bytes = ReadFile(attempt.checkpoint, kMaxCheckpointBytes);
  if (!bytes.ok()) {
    return bytes.status();
  }
  const Checkpoint checkpoint{std::string(active_->name()), *std::move(bytes)};
  if (absl::Status loaded = active_->Load(slot, attempt.point, &checkpoint); !loaded.ok()) {
    return loaded;
  }
  return active_->Look(slot).step;
}

bool Runner::Start(int slot, Attempt attempt) {
  Reach(FailPoint::kTrainerStarts).IgnoreError();
  int64_t resumed_from = 0;
  absl::Status loaded;
  bool start_over = attempt.checkpoint.empty();
  if (!attempt.checkpoint.empty()) {
    const absl::StatusOr<int64_t> step = LoadFromCheckpoint(slot, attempt);
    start_over = !step.ok();
    if (step.ok()) {
      resumed_from = *step;
    } else {
      // A point's result does not depend on its checkpoint, only its time does: start over rather than fail.
      spdlog::warn("attempt {}: starts over: {}", attempt.name, Text(step.status()));
    }
  }
  if (start_over) {
    loaded = active_->Load(slot, attempt.point, nullptr);
  }
  if (!active_->Health().ok()) {
    return false;
  }
  if (absl::IsResourceExhausted(loaded) && running() > 0) {
    // Its neighbours may leave room for it later; less of them need more time, not more memory.
    most_running_ = std::max(1, running() / 2);
    spdlog::warn("attempt {} waits: {}; from now on {} at once", attempt.name, Text(loaded), most_running_);
    queue_.push_front(std::move(attempt));
    return false;
  }
  if (!loaded.ok()) {
    const FailureCause cause = CauseOfLoadFailure(loaded);
    any_bad_input_ = any_bad_input_ || cause == FailureCause::kBadPoint;
    Fail(attempt.name, cause, Text(loaded), running() + 1);
    return true;
  }
  if (report_all_) {
    emit_(StartedLine(attempt.name, resumed_from));
  }
  slots_[static_cast<size_t>(slot)] = Running{std::move(attempt), clock_.Now()};
  return true;
}

void Runner::CollectSlots() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i]) {
      continue;
    }
    const SlotView view = active_->Look(static_cast<int>(i));
    if (view.finished || !view.failure.ok()) {
      Finish(static_cast<int>(i), view);
    } else if (report_all_ && clock_.Now() - slots_[i]->last_report >= kReportInterval) {
      slots_[i]->last_report = clock_.Now();
      emit_(ProgressLine(slots_[i]->attempt.name, view));
    }
  }
}

void Runner::Finish(int slot, const SlotView& view) {
  const Running done = *std::move(slots_[static_cast<size_t>(slot)]);
  slots_[static_cast<size_t>(slot)].reset();
  const absl::StatusOr<PointResult> result =
      view.failure.ok() ? active_->Result(slot) : absl::StatusOr<PointResult>(view.failure);
  const FailureCause cause = view.failure.ok() ? FailureCause::kInternal : view.cause;
  // Neighbours may cost a point its memory, but never its loss: no use in trying it alone.
  const int pack_size = cause == FailureCause::kNanLoss ? 1 : running() + 1;
  active_->Unload(slot);
  if (!result.ok()) {
    Fail(done.attempt.name, cause, Text(result.status()), pack_size);
    return;
  }
  EmitResult(done, *result);
}

void Runner::EmitResult(const Running& running, PointResult result) {
  result.device_kind = facts_.kind;
  result.device_name = facts_.name;
  result.version = kVersion;
  result.torch_version = facts_.torch_version;
  result.blas = facts_.blas;
  result.threads = facts_.threads;
  Reach(FailPoint::kTrainerResult).IgnoreError();
  known_.erase(running.attempt.name);
  emit_(ResultLine(running.attempt.name, result));
  said_result_ = true;
}

void Runner::Fail(const std::string& attempt, FailureCause cause, std::string_view message, int pack_size) {
  any_failed_ = true;
  known_.erase(attempt);
  spdlog::warn("attempt {} failed: {}: {}", attempt, ToWord(cause), message);
  emit_(FailedLine(attempt, cause, message, pack_size));
}

}  // namespace capsweep::trainer
