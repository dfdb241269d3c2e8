// The schema (docs/schema.md explains it) and how a file gets from one version to the next.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/store/db.h"

namespace capsweep::store {

// "caps" in the header of every capsweep database (PRAGMA application_id).
inline constexpr int32_t kApplicationId = 0x63617073;

// One numbered step. `sql` turns version-1 into version; it never changes once released: later changes are new steps.
// Only the views, which hold no data, are dropped by every step and made by the last.
struct Migration {
  int version = 0;
  std::string sql;
};

// All steps, ascending and without gaps, from the empty file (version 0).
const std::vector<Migration>& Migrations();
inline int NewestVersion() {
  return Migrations().back().version;
}

// Brings an open database to the last version of `migrations` in one transaction. A file that holds a version already
// is first copied to "PATH.vN.backup" (complete or absent, never partial). Nothing is done if it is current.
absl::Status Migrate(Database& db, const std::string& path, const std::vector<Migration>& migrations);

// SQL of the public views of the newest version, in views.cc.
std::string_view ViewsSql();

}  // namespace capsweep::store
