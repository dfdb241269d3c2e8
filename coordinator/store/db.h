// The thin layer over SQLite's C interface that store and reader share: handles with owners, bound values with types,
// and the one place that turns result codes into absl::Status. Internal to coordinator/store.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/open_files.h"

namespace capsweep::store {

// The status of an SQLite result code, "WHAT: message". FULL and a write refused for space are ResourceExhausted,
// READONLY FailedPrecondition, BUSY Unavailable, CORRUPT, NOTADB and a failed fsync DataLoss.
absl::Status StatusFromSqlite(sqlite3* db, int code, std::string_view what);

// Whether the failed write may succeed later without anybody doubting the file: no space, read-only, busy, a refused
// write. A failed fsync, corruption, a broken constraint and everything not from SQLite are not transient.
bool IsTransient(const absl::Status& status);

class Database;

// A prepared statement. Bound text and blobs must live until Step or Run. Not thread-safe.
class Statement {
 public:
  static Statement Adopt(sqlite3_stmt* statement) { return Statement(statement); }  // finalizes it; null is allowed

  // Parameters count from 1, columns from 0, as in SQLite. A failed bind is reported by the next Step.
  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, int32_t value) { return Bind(index, static_cast<int64_t>(value)); }
  // Overloads for what would otherwise convert to bool or be ambiguous.
  Statement& Bind(int index, const std::string& value) { return Bind(index, std::string_view(value)); }
  // Seeds use all 64 bits; SQLite integers are signed, so the bit pattern is kept.
  Statement& Bind(int index, uint64_t value) { return Bind(index, static_cast<int64_t>(value)); }
  Statement& Bind(int index, bool value) { return Bind(index, static_cast<int64_t>(value)); }
  Statement& Bind(int index, double value);
  Statement& Bind(int index, std::string_view value);
  Statement& Bind(int index, const char* value) { return Bind(index, std::string_view(value)); }
  Statement& BindNull(int index);
  Statement& BindBlob(int index, std::string_view value);

  absl::StatusOr<bool> Step();  // true: a row is there
  absl::Status Run();           // steps to the end and resets
  void Reset();

  int64_t Int(int column) { return sqlite3_column_int64(statement_.get(), column); }
  double Real(int column) { return sqlite3_column_double(statement_.get(), column); }
  // Valid until the next Step or Reset; also the bytes of a blob.
  std::string_view Text(int column);
  bool IsNull(int column) { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }
  sqlite3_stmt* handle() { return statement_.get(); }

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  void Note(int code);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_error_ = SQLITE_OK;
};

// A connection. One thread at a time.
class Database {
 public:
  enum class Access {
    kWrite,      // may create
    kRead,       // mode=ro: works beside a writer and recovers the log of a killed one
    kImmutable,  // for a file nobody can write, on a folder that cannot hold SQLite's side files
  };
  static absl::StatusOr<Database> Open(const std::string& path, Access access);

  absl::Status Execute(const std::string& sql);  // any number of statements, rows ignored
  absl::StatusOr<Statement> Prepare(std::string_view sql);
  absl::StatusOr<int64_t> QueryInt(const std::string& sql);
  absl::StatusOr<std::string> QueryText(const std::string& sql);
  int64_t Changes() { return sqlite3_changes64(db_.get()); }
  int64_t LastRowId() { return sqlite3_last_insert_rowid(db_.get()); }
  sqlite3* handle() { return db_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  Database(OpenFile file, sqlite3* db) : file_(std::move(file)), db_(db) {}
  OpenFile file_;  // outlives the connection
  std::unique_ptr<sqlite3, Close> db_;
};

// Rolls back unless committed.
class Transaction {
 public:
  static absl::StatusOr<Transaction> Begin(Database& db);  // takes the write lock now
  // One snapshot for several reads; ends with the object.
  static absl::StatusOr<Transaction> BeginRead(Database& db);
  absl::Status Commit();

  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

 private:
  explicit Transaction(Database* db) : db_(db) {}
  Database* db_;
};

}  // namespace capsweep::store
