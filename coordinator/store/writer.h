// The one thread that writes. Batches are committed in groups: whatever has queued up while the last fsync ran is one
// transaction. Internal to coordinator/store.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/core/events.h"
#include "coordinator/store/db.h"
#include "coordinator/store/mutations.h"
#include "coordinator/store/store.h"

namespace capsweep::store {

class Writer {
 public:
  // `generation`: the value of store_info.generation this process wrote when it opened the file.
  Writer(std::string path, Database db, Mutations mutations, int64_t generation, Options options);
  ~Writer();  // stops, if Stop was not called

  // Commits what is queued and ends the thread; if the file cannot be written, tries once more and gives up.
  void Stop();

  void Enqueue(core::Persist batch);

  // Runs `work` in a transaction of its own after everything queued before it; blocks. While the store is unwritable
  // it fails at once with the reason, and a failed transaction leaves nothing behind.
  using Work = std::function<absl::Status(Database&)>;
  absl::Status Run(const Work& work);
  // The same for work that takes seconds and calls GiveWay. What it had committed when it fails, `undo` removes: called
  // again and again, a transaction each, until it returns false or fails.
  using Undo = std::function<absl::StatusOr<bool>(Database&)>;
  absl::Status RunLong(const Work& work, const Undo& undo);
  // For the work of RunLong, on the writer thread: if others wait, and a turn (Options::long_job_turn) is over, commits
  // what the work has written so far, serves them, and begins another transaction. After an error the work must end.
  absl::Status GiveWay();
  // Waits for everything queued before.
  absl::Status Flush();

 private:
  // Lives on the stack of the waiting caller until `done`.
  struct Job {
    const Work* work = nullptr;  // null: only waits for its turn
    const Undo* undo = nullptr;  // null: the work never gives way
    bool gave_way = false;
    bool done = false;
    absl::Status status;
  };
  using Item = std::variant<core::Persist, Job*>;

  void Loop();
  // Takes batches up to the next job, or one job. False: stopping and nothing left.
  bool Take(std::vector<core::Persist>& group, Job*& job);
  // Commits the group, retrying for as long as that can help. False: gave up (fatal, or stopping).
  bool CommitGroup(const std::vector<core::Persist>& group);
  absl::Status TryCommit(const std::vector<core::Persist>& group);
  void Committed(const std::vector<core::Persist>& group);
  absl::Status ExecuteJob(Job& job);
  absl::Status DoWork(Job& job);
  void UndoParts(const Job& job);
  bool OthersWait();
  // One turn for what is queued, while a long job is between two transactions. A group that cannot be stored goes back
  // to the head of the queue.
  absl::Status ServeOthers();
  absl::Status CheckOwnership();
  // The stored file is still the one at `path_`: data in a deleted file would be gone with this process.
  absl::Status CheckFile();
  void Finish(Job* job, absl::Status status);
  absl::Status Submit(Job& job);
  // The writer cannot go on (for now): every waiting job fails with `status`, and so does every new one until Unblock.
  void Block(const absl::Status& status);
  void Unblock();
  bool WaitForRetry();  // false: stopping
  void Die(const absl::Status& status);

  const std::string path_;
  const int64_t generation_;
  const Options options_;

  // Writer thread only.
  Database db_;
  Mutations mutations_;
  std::optional<Statement> read_generation_;
  uint64_t device_ = 0, inode_ = 0;
  bool dead_ = false;
  std::optional<Transaction> transaction_;  // of the job at work; empty while it gives way
  Job* long_job_ = nullptr;
  Instant turn_begun_{};

  std::mutex mutex_;
  std::condition_variable wake_;    // the writer: something queued, or stop
  std::condition_variable finish_;  // callers: a job is done
  std::deque<Item> queue_;          // guarded by mutex_
  absl::Status blocked_;            // guarded by mutex_; why jobs fail at once
  bool stop_ = false;               // guarded by mutex_

  std::thread thread_;  // last: starts when all else is made
};

}  // namespace capsweep::store
