// The schema matches the lists of fields, and migrations are whole or absent.
#include "coordinator/store/schema.h"

#include <gmock/gmock.h>

#include "coordinator/store/columns.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::HasSubstr;

class SchemaTest : public ::testing::Test {
 protected:
  void Apply(const std::vector<Migration>& steps, absl::StatusCode expected = absl::StatusCode::kOk) {
    auto db = Database::Open(path_, Database::Access::kWrite);
    ASSERT_TRUE(db.ok());
    const absl::Status status = Migrate(*db, path_, steps);
    EXPECT_EQ(status.code(), expected) << status;
  }
  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
  const std::vector<Migration> one_ = {{1, "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7)"}};
  const std::vector<Migration> two_ = {one_[0], {2, "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 3"}};
};

TEST_F(SchemaTest, TablesHaveAColumnPerFieldOfPointAndResult) {
  TestStore(path_).Close();
  const auto has_column = [&](const std::string& table, const std::string& column) {
    return Ask(path_, "SELECT COUNT(*) FROM pragma_table_info('" + table + "') WHERE name = '" + column + "'") == "1";
  };
  PointSpec point;
  VisitFields(point, [&](std::string_view name, auto&) {
    EXPECT_TRUE(has_column("points", std::string(SpecColumn(name)))) << name;
  });
  PointResult result;
  VisitResultFields(
      result, [&](std::string_view name, auto&) { EXPECT_TRUE(has_column("results", std::string(name))) << name; });
}

TEST_F(SchemaTest, MigrationNumbersRiseByOneFromOne) {
  int expected = 1;
  for (const Migration& step : Migrations()) {
    EXPECT_EQ(step.version, expected++);
  }
}

TEST_F(SchemaTest, NewFileGetsTheNewestVersionWithoutBackup) {
  Apply(two_);
  EXPECT_EQ(Ask(path_, "PRAGMA user_version"), "2");
  EXPECT_EQ(Ask(path_, "PRAGMA application_id"), std::to_string(kApplicationId));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".v0.backup"));
}

TEST_F(SchemaTest, OlderFileIsBackedUpThenMigratedWithItsRows) {
  Apply(one_);
  Apply(two_);
  EXPECT_EQ(Ask(path_, "SELECT a||'/'||b FROM t"), "7/3");
  EXPECT_EQ(Ask(path_ + ".v1.backup", "PRAGMA user_version"), "1");
  EXPECT_EQ(Ask(path_ + ".v1.backup", "SELECT a FROM t"), "7");
}

TEST_F(SchemaTest, MigrationThatFailsHalfWayLeavesTheOldVersion) {
  Apply(one_);
  Apply({two_[0], two_[1], {3, "CREATE TABLE u (x INTEGER); INSERT INTO nowhere VALUES (1)"}},
        absl::StatusCode::kInternal);
  EXPECT_EQ(Ask(path_, "PRAGMA user_version"), "1");
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM pragma_table_info('t')"), "1");
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'u'"), "0");
}

TEST_F(SchemaTest, CurrentFileIsLeftAlone) {
  Apply(two_);
  Apply(two_);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".v2.backup"));
}

TEST_F(SchemaTest, ReaderOfAnOlderFileSaysHowToMigrate) {
  Apply({{0, ""}});
  {
    auto db = Database::Open(path_, Database::Access::kWrite);
    ASSERT_TRUE(db->Execute("CREATE TABLE t (a); PRAGMA application_id = " + std::to_string(kApplicationId)).ok());
  }
  const auto reader = Reader::Open(path_);
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("migrates it"));
}

}  // namespace
}  // namespace capsweep::store
