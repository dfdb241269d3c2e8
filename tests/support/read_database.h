// Questions asked of a database past the store, so that the store cannot colour the answer.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <string>
#include <vector>

namespace capsweep {

// The first column of a query, as text. A log left beside the file is folded in.
inline std::vector<std::string> Read(const std::string& database, const std::string& sql) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open_v2(database.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  std::vector<std::string> out;
  while (sqlite3_step(statement) == SQLITE_ROW) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    out.emplace_back(text == nullptr ? "NULL" : text);
  }
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return out;
}

}  // namespace capsweep
