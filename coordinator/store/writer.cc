#include "coordinator/store/writer.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <iterator>
#include <utility>

#include "common/fail_point.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::store {
namespace {

// Bounds one transaction, so that the log file and the first caller's wait stay small under a flood.
constexpr size_t kGroupMutations = 50'000;

std::string Text(const absl::Status& status) {
  return std::string(status.message());
}

absl::Status WithMessage(const absl::Status& status, const std::string& message) {
  return absl::Status(status.code(), message);
}

}  // namespace

Writer::Writer(std::string path, Database db, Mutations mutations, int64_t generation, Options options)
    : path_(std::move(path)),
      generation_(generation),
      options_(std::move(options)),
      db_(std::move(db)),
      mutations_(std::move(mutations)) {
  struct stat info;
  if (::stat(path_.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }
  thread_ = std::thread([this] { Loop(); });
}

Writer::~Writer() {
  Stop();
}

void Writer::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Writer::Enqueue(core::Persist batch) {
  {
    std::lock_guard lock(mutex_);
    queue_.emplace_back(std::move(batch));
  }
  wake_.notify_one();
}

absl::Status Writer::Run(const Work& work) {
  Job job;
  job.work = &work;
  return Submit(job);
}

absl::Status Writer::RunLong(const Work& work, const Undo& undo) {
  Job job;
  job.work = &work;
  job.undo = &undo;
  return Submit(job);
}

absl::Status Writer::Flush() {
  Job job;
  return Submit(job);
}

absl::Status Writer::Submit(Job& job) {
  std::unique_lock lock(mutex_);
  if (!blocked_.ok()) {
    return blocked_;
  }
  queue_.emplace_back(&job);
  wake_.notify_one();
  finish_.wait(lock, [&] { return job.done; });
  return job.status;
}

void Writer::Finish(Job* job, absl::Status status) {
  // Notified under the lock: once it is released the caller may return and its job be gone.
  std::lock_guard lock(mutex_);
  job->status = std::move(status);
  job->done = true;
  finish_.notify_all();
}

bool Writer::Take(std::vector<core::Persist>& group, Job*& job) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return stop_ || !queue_.empty(); });
  size_t mutations = 0;
  while (!queue_.empty() && mutations < kGroupMutations) {
    if (Job** next = std::get_if<Job*>(&queue_.front())) {
      if (group.empty()) {
        job = *next;
        queue_.pop_front();
      }
      break;
    }
    auto& batch = std::get<core::Persist>(queue_.front());
    mutations += batch.mutations.size();
    group.push_back(std::move(batch));
    queue_.pop_front();
  }
  return job != nullptr || !group.empty();
}

void Writer::Loop() {
  while (true) {
    std::vector<core::Persist> group;
    Job* job = nullptr;
    if (!Take(group, job)) {
      return;
    }
    if (job != nullptr) {
      Finish(job, ExecuteJob(*job));
      continue;
    }
    if (dead_ || !CommitGroup(group)) {
      spdlog::error("{}: {} batches could not be stored and were never acknowledged", path_, group.size());
    }
  }
}

absl::Status Writer::ExecuteJob(Job& job) {
  {
    std::lock_guard lock(mutex_);
    if (!blocked_.ok()) {
      return blocked_;
    }
  }
  if (job.work == nullptr) {
    return absl::OkStatus();
  }
  if (job.undo != nullptr) {
    long_job_ = &job;
    turn_begun_ = std::chrono::steady_clock::now();
  }
  const absl::Status status = DoWork(job);
  transaction_.reset();  // rolls back what was not committed
  if (status.code() == absl::StatusCode::kDataLoss) {
    if (!dead_) {
      Die(status);
    }
  } else if (!status.ok() && job.gave_way) {
    UndoParts(job);
  }
  long_job_ = job.undo != nullptr ? nullptr : long_job_;
  return status;
}

absl::Status Writer::DoWork(Job& job) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  transaction_.emplace(std::move(transaction));
  RETURN_IF_ERROR(Reach(FailPoint::kJobBegun));
  RETURN_IF_ERROR(CheckOwnership());
  RETURN_IF_ERROR((*job.work)(db_));
  RETURN_IF_ERROR(Reach(FailPoint::kJobWorked));
  RETURN_IF_ERROR(transaction_->Commit());
  Reach(FailPoint::kJobCommitted).IgnoreError();
  return CheckFile();
}

void Writer::UndoParts(const Job& job) {
  const absl::Status status = [&]() -> absl::Status {
    // On a full disk the log can only be written from its start again, once its pages are in the file.
    db_.Execute("PRAGMA wal_checkpoint").IgnoreError();
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
      ASSIGN_OR_RETURN(more, (*job.undo)(db_));
      RETURN_IF_ERROR(transaction.Commit());
      if (OthersWait()) {
        // A group that has no room now may have it after the next part is gone.
        ServeOthers().IgnoreError();
      }
    }
    return absl::OkStatus();
  }();
  if (!status.ok()) {
    spdlog::warn("{}: what a failed submission left is removed later: {}", path_, Text(status));
  }
}

bool Writer::OthersWait() {
  std::lock_guard lock(mutex_);
  return !queue_.empty();
}

absl::Status Writer::GiveWay() {
  if (std::chrono::steady_clock::now() - turn_begun_ < options_.long_job_turn || !OthersWait()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(transaction_->Commit());
  transaction_.reset();
  long_job_->gave_way = true;
  RETURN_IF_ERROR(Reach(FailPoint::kJobGaveWay));
  RETURN_IF_ERROR(CheckFile());
  RETURN_IF_ERROR(ServeOthers());
  if (dead_) {
    std::lock_guard lock(mutex_);
    return blocked_;  // another job found out
  }
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  transaction_.emplace(std::move(transaction));
  turn_begun_ = std::chrono::steady_clock::now();
  return CheckOwnership();
}

absl::Status Writer::ServeOthers() {
  const Instant end = std::chrono::steady_clock::now() + options_.long_job_turn;
  do {
    std::vector<core::Persist> group;
    Job* job = nullptr;
    Take(group, job);
    if (job != nullptr) {
      Finish(job, ExecuteJob(*job));
      continue;
    }
    if (absl::Status status = TryCommit(group); !status.ok()) {
      std::lock_guard lock(mutex_);
      queue_.insert(queue_.begin(), std::make_move_iterator(group.begin()), std::make_move_iterator(group.end()));
      return status;
    }
    Committed(group);
  } while (!dead_ && OthersWait() && std::chrono::steady_clock::now() < end);
  return absl::OkStatus();
}

absl::Status Writer::CheckOwnership() {
  if (!read_generation_.has_value()) {
    ASSIGN_OR_RETURN(Statement statement, db_.Prepare("SELECT generation FROM store_info"));
    read_generation_ = std::move(statement);
  }
  ASSIGN_OR_RETURN(const bool row, read_generation_->Step());
  const int64_t found = row ? read_generation_->Int(0) : -1;
  read_generation_->Reset();
  if (found != generation_) {
    return absl::DataLossError(StrCat("another coordinator has taken over ", path_, " (generation ", found,
                                      ", ours is ", generation_, "); let only one coordinator use a database"));
  }
  return absl::OkStatus();
}

absl::Status Writer::CheckFile() {
  struct stat info;
  if (::stat(path_.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::DataLossError(StrCat("the database ", path_,
                                                        " was deleted while it was in use; "
                                                        "put it back from a backup and start again"))
                           : absl::OkStatus();
  }
  if (info.st_dev != device_ || info.st_ino != inode_) {
    return absl::DataLossError(StrCat(
        "the database ", path_, " was replaced by another file while it was in use; start again with the right one"));
  }
  return absl::OkStatus();
}

absl::Status Writer::TryCommit(const std::vector<core::Persist>& group) {
  bool changes = false;
  for (const core::Persist& batch : group) {
    changes = changes || !batch.mutations.empty();
  }
  if (!changes) {
    return absl::OkStatus();
  }
  const int64_t now_ms = options_.clock->WallMillis();
  const Instant start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(Reach(FailPoint::kWriterTaken));
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_));
  RETURN_IF_ERROR(Reach(FailPoint::kWriterBegun));
  RETURN_IF_ERROR(CheckOwnership());
  for (const core::Persist& batch : group) {
    for (const core::Mutation& mutation : batch.mutations) {
      RETURN_IF_ERROR(Reach(FailPoint::kWriterMutation));
      RETURN_IF_ERROR(mutations_.Apply(mutation, now_ms));
    }
  }
  RETURN_IF_ERROR(Reach(FailPoint::kWriterApplied));
  const Instant written = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(transaction.Commit());
  if (options_.commit_timed) {
    const Instant end = std::chrono::steady_clock::now();
    options_.commit_timed(ToSeconds(end - start), ToSeconds(end - written));
  }
  Reach(FailPoint::kWriterCommitted).IgnoreError();
  return CheckFile();
}

void Writer::Committed(const std::vector<core::Persist>& group) {
  if (options_.committed) {
    options_.committed(group.back().ticket);
  }
  Reach(FailPoint::kWriterReported).IgnoreError();
}

bool Writer::CommitGroup(const std::vector<core::Persist>& group) {
  bool announced = false;
  while (true) {
    const absl::Status status = TryCommit(group);
    if (status.ok()) {
      if (announced) {
        Unblock();
      }
      Committed(group);
      return true;
    }
    if (!IsTransient(status)) {
      Die(status);
      return false;
    }
    if (!announced) {
      announced = true;
      Block(WithMessage(status, StrCat("cannot write ", path_, ": ", Text(status),
                                       "; free space or make it writable, the coordinator goes on by itself")));
    }
    if (!WaitForRetry()) {
      return TryCommit(group).ok();
    }
  }
}

bool Writer::WaitForRetry() {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, options_.retry_interval, [&] { return stop_; });
}

void Writer::Block(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    blocked_ = status;
    std::deque<Item> batches;
    for (Item& item : queue_) {
      if (Job** job = std::get_if<Job*>(&item)) {
        (*job)->status = status;
        (*job)->done = true;
      } else {
        batches.push_back(std::move(item));
      }
    }
    queue_ = std::move(batches);
    finish_.notify_all();
  }
  if (options_.unwritable && !dead_) {
    options_.unwritable(status);
  }
}

void Writer::Unblock() {
  {
    std::lock_guard lock(mutex_);
    blocked_ = absl::OkStatus();
  }
  if (options_.writable) {
    options_.writable();
  }
}

void Writer::Die(const absl::Status& status) {
  dead_ = true;
  const absl::Status reason =
      WithMessage(status, StrCat("the database ", path_, " cannot be trusted any more: ", Text(status)));
  Block(reason);
  if (options_.fatal) {
    options_.fatal(reason);
  }
}

}  // namespace capsweep::store
