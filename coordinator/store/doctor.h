// Looking at a database as a physician does: what is wrong, what that means, what to do. And saving what can be read of
// a damaged one.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::store {

struct Finding {
  enum class Level {
    kOk,       // looked at and sound
    kNote,     // no fault, but worth knowing
    kProblem,  // a fault
  };
  Level level = Level::kOk;
  std::string check;   // what was looked at: "header", "integrity", "results", …
  std::string what;    // one sentence
  std::string advice;  // of problems: what to do, one sentence
};

struct Diagnosis {
  std::vector<Finding> findings;
  bool healthy() const;
};

// Changes nothing in the file; a live coordinator is not disturbed. `spool`: also a worker's folder of undelivered
// reports, "" = none. An error only if there is nothing to look at: NotFound, or InvalidArgument for a folder.
absl::StatusOr<Diagnosis> Diagnose(const std::string& path, const std::string& spool);

struct Salvaged {
  struct Table {
    std::string name;
    int64_t copied = 0;
    int64_t gaps = 0;     // places where rows could not be read
    int64_t dropped = 0;  // read, but broken or without what they belong to
  };
  std::vector<Table> tables;
  int64_t reopened = 0;  // points marked done whose result is lost: they will be trained again
};

// Copies what can be read of the database `path` into the new file `target`, table by table and row by row, around
// damaged pages. A point is kept if its key is the hash of its fields, a result if it belongs to its point and its
// numbers belong together; what depends on rows that are gone is dropped; states are put right. AlreadyExists if there
// is a `target`; FailedPrecondition if a coordinator uses `path`, or if it is of a version that is not the newest and
// must be migrated first; DataLoss if not even the list of tables can be read.
absl::StatusOr<Salvaged> Salvage(const std::string& path, const std::string& target);

}  // namespace capsweep::store
