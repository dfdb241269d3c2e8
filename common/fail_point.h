// Named places where a test lets a process die, stand still, wait or fail. They make "killed at any instant" a list
// that tests/fault goes through. Always compiled in; where nothing is asked for they cost one load.
//
//   CAPSWEEP_FAIL=NAME@N=ACTION[,…]   what happens when NAME is reached the N-th time: kill (SIGKILL), stop (SIGSTOP),
//                                     sleep:MILLISECONDS, or error (an input/output error, where the place can fail)
//   CAPSWEEP_FAIL_COUNTS=FILE         keeps the counts in FILE for all processes that name it and for their restarts,
//   so
//                                     that an action happens once; without it every process counts for itself
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace capsweep {

// In the order of a result's life. Before and after say on which side of the named step the place is.
#define CAPSWEEP_FAIL_POINTS(X)                                                                                  \
  X(kStoreLocked, "store.locked")                    /* the lock is held, nothing is open */                     \
  X(kBackupBegun, "backup.begun")                    /* of `capsweep backup`: an empty copy */                   \
  X(kBackupCopied, "backup.copied")                  /* all pages copied, not on disk */                         \
  X(kBackupSynced, "backup.synced")                  /* complete under its temporary name */                     \
  X(kBackupRenamed, "backup.renamed")                /* in place, the folder not synced */                       \
  X(kMigrateBackupWritten, "migrate.backup_written") /* the copy of the old version, temporary name */           \
  X(kMigrateBackupRenamed, "migrate.backup_renamed") /* */                                                       \
  X(kMigrateBegun, "migrate.begun")                  /* in the transaction */                                    \
  X(kMigrateStep, "migrate.step")                    /* after each version's step */                             \
  X(kMigrateApplied, "migrate.applied")              /* before the commit */                                     \
  X(kMigrateCommitted, "migrate.committed")          /* */                                                       \
  X(kTakeOver, "store.take_over")                    /* before the commit of the new generation */               \
  X(kStoreOpened, "store.opened")                    /* after it */                                              \
  X(kEngineRecovered, "engine.recovered")            /* the core knows what is stored; nothing is served */      \
  X(kJobBegun, "job.begun")                          /* a submission, a fit: transaction begun */                \
  X(kJobGaveWay, "job.gave_way")                     /* a part of a submission is committed, others come */      \
  X(kJobWorked, "job.worked")                        /* before its commit */                                     \
  X(kJobCommitted, "job.committed")                  /* before its caller knows */                               \
  X(kWriterTaken, "writer.taken")                    /* a group of batches left the queue */                     \
  X(kWriterBegun, "writer.begun")                    /* its transaction has begun */                             \
  X(kWriterMutation, "writer.mutation")              /* before each change of rows */                            \
  X(kResultInserted, "result.inserted")              /* the result's row, none of its other changes */           \
  X(kResultCurve, "result.curve")                    /* and its curve */                                         \
  X(kResultEnded, "result.ended")                    /* and its attempt */                                       \
  X(kResultDone, "result.done")                      /* and its point */                                         \
  X(kWriterApplied, "writer.applied")                /* before the commit */                                     \
  X(kWriterCommitted, "writer.committed")            /* on disk, nobody knows */                                 \
  X(kWriterReported, "writer.reported")              /* the core is told */                                      \
  X(kReplySync, "reply.sync")                        /* before a worker's reply */                               \
  X(kReplySyncSent, "reply.sync_sent")               /* after it was handed to gRPC */                           \
  X(kReplyChange, "reply.change")                    /* before a user's reply */                                 \
  X(kAgentStarted, "agent.started")                  /* the spool is read, no trainer runs */                    \
  X(kSyncSend, "sync.send")                          /* before a call */                                         \
  X(kSyncAnswered, "sync.answered")                  /* before its reply is looked at */                         \
  X(kAgentAnswer, "agent.answer")                    /* before a reply is carried out */                         \
  X(kAgentApplied, "agent.applied")                  /* after it */                                              \
  X(kSpoolAdd, "spool.add")                          /* before a report is written */                            \
  X(kSpoolRemove, "spool.remove")                    /* before an acknowledged report is deleted */              \
  X(kSpoolRemoved, "spool.removed")                  /* after it */                                              \
  X(kFileCreated, "file.created")                    /* spooled reports, checkpoints, …: the temporary file */ \
  X(kFileWritten, "file.written")                    /* written, not synced */                                   \
  X(kFileSynced, "file.synced")                      /* synced, not renamed */                                   \
  X(kFileRenamed, "file.renamed")                    /* renamed, the folder not synced */                        \
  X(kTrainerStarts, "trainer.starts")                /* before a point is loaded */                              \
  X(kTrainerSaves, "trainer.saves")                  /* before a checkpoint is written */                        \
  X(kTrainerSaved, "trainer.saved")                  /* before the agent is told of it */                        \
  X(kTrainerResult, "trainer.result")                /* before a result is said */                               \
  X(kTrainerSaid, "trainer.said")                    /* after it */

enum class FailPoint : uint8_t {
#define CAPSWEEP_FAIL_POINT_ENUM(id, name) id,
  CAPSWEEP_FAIL_POINTS(CAPSWEEP_FAIL_POINT_ENUM)
#undef CAPSWEEP_FAIL_POINT_ENUM
};

inline constexpr std::array kFailPointNames = {
#define CAPSWEEP_FAIL_POINT_NAME(id, name) std::string_view(name),
    CAPSWEEP_FAIL_POINTS(CAPSWEEP_FAIL_POINT_NAME)
#undef CAPSWEEP_FAIL_POINT_NAME
};
#undef CAPSWEEP_FAIL_POINTS

namespace fail_point_internal {
extern const bool armed;
absl::Status Reach(FailPoint point);
}  // namespace fail_point_internal

// This place is reached. An error that is asked for is Internal "NAME: …"; a place that cannot fail ignores it.
inline absl::Status Reach(FailPoint point) {
  return fail_point_internal::armed ? fail_point_internal::Reach(point) : absl::OkStatus();
}

// How often each place was reached according to a file of counts, in the order of kFailPointNames; zeros if there is
// none.
std::array<uint32_t, kFailPointNames.size()> ReadFailPointCounts(const std::string& path);

}  // namespace capsweep
