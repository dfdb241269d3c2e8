// The small parts of the service: tables on the wire, the pool, the configuration file.
#include <atomic>
#include <cmath>
#include <future>
#include <limits>
#include <string>

#include "common/file.h"
#include "coordinator/service/config_file.h"
#include "coordinator/service/limits.h"
#include "coordinator/service/table_reply.h"
#include "coordinator/service/task_pool.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(Utf8Test, OnlyShortestFormsOfScalarValuesPass) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("caps\xC2\xB5 \xE2\x82\xAC \xF0\x9F\x99\x82 \xED\x9F\xBF \xF4\x8F\xBF\xBF"));
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "a\xFFz"}) {
    EXPECT_FALSE(IsUtf8(bad)) << testing::PrintToString(std::string(bad));
  }
}

TEST(FillTableTest, EveryKindOfCellKeepsItsKindAndValue) {
  store::Table table;
  table.columns = {"a", "b", "c", "d", "e"};
  table.rows = {
      {std::monostate(), std::numeric_limits<int64_t>::min(), 0.1, std::string("x"), std::string("\xFF\x00", 2)}};
  v1::TableResponse response;
  const auto written = FillTable(table, &response);
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(*written, 1u);
  EXPECT_FALSE(response.truncated());
  EXPECT_THAT(response.columns(), ElementsAre("a", "b", "c", "d", "e"));
  const auto& values = response.rows(0).values();
  EXPECT_EQ(values[0].kind_case(), v1::Value::kNull);
  EXPECT_EQ(values[1].integer(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(values[2].real(), 0.1);
  EXPECT_EQ(values[3].text(), "x");
  EXPECT_EQ(values[4].blob(), std::string("\xFF\x00", 2));
}

TEST(FillTableTest, RowsBeyondTheSizeLimitAreCutAndSaidToBe) {
  store::Table table;
  table.columns = {"x"};
  table.rows.assign(5, {std::string(1 << 20, 'x')});
  v1::TableResponse response;
  const auto written = FillTable(table, &response);
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(*written, 2u);
  EXPECT_TRUE(response.truncated());
  EXPECT_LE(response.ByteSizeLong(), kMaxReplyBytes);
}

TEST(FillTableTest, ARowThatNoReplyCanCarryIsAnError) {
  store::Table table;
  table.columns = {"x"};
  table.rows.assign(1, {std::string(kMaxReplyBytes, 'x')});
  v1::TableResponse response;
  EXPECT_EQ(FillTable(table, &response).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(TaskPoolTest, EveryPostedTaskRunsBeforeTheEnd) {
  std::atomic<int> ran{0};
  {
    TaskPool pool(3, 1000);
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(pool.Post([&ran] { ++ran; }));
    }
  }
  EXPECT_EQ(ran, 500);
}

TEST(TaskPoolTest, TooManyWaitingTasksAreRefused) {
  std::promise<void> gate;
  const std::shared_future<void> open = gate.get_future().share();
  std::atomic<int> ran{0};
  {
    TaskPool pool(1, 2);
    const auto wait = [&] {
      open.wait();
      ++ran;
    };
    ASSERT_TRUE(pool.Post(wait));
    int taken = 1;
    while (pool.Post(wait)) {
      ++taken;
    }
    EXPECT_GE(taken, 2);
    EXPECT_LE(taken, 3);  // two wait, and perhaps one runs
    gate.set_value();
  }
  EXPECT_GE(ran, 2);
}

TEST(ConfigFileTest, EntriesComeInOrderAndAnEmptyFileHasNone) {
  const testing_support::TempFolder folder;
  ASSERT_TRUE(
      WriteFileAtomic(folder.Path("a.yaml"), "# comment\ndb: x.db\nlisten: 127.0.0.1:0\nlease-seconds: 12\n").ok());
  const auto entries = ReadConfigFile(folder.Path("a.yaml"));
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_THAT(*entries, ElementsAre(Pair("db", "x.db"), Pair("listen", "127.0.0.1:0"), Pair("lease-seconds", "12")));
  ASSERT_TRUE(WriteFileAtomic(folder.Path("b.yaml"), "").ok());
  EXPECT_TRUE(ReadConfigFile(folder.Path("b.yaml"))->empty());
}

TEST(ConfigFileTest, WhatIsNotAFlatMappingIsRefusedWithItsLine) {
  const testing_support::TempFolder folder;
  for (const char* text : {"- a\n- b\n", "just text\n", "db: x\nlisten: [1, 2]\n", "db: {a: b}\n", "db: [x\n"}) {
    ASSERT_TRUE(WriteFileAtomic(folder.Path("c.yaml"), text).ok());
    const auto entries = ReadConfigFile(folder.Path("c.yaml"));
    EXPECT_EQ(entries.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("c.yaml:")) << text;
  }
  EXPECT_FALSE(ReadConfigFile(folder.Path("missing.yaml")).ok());
}

}  // namespace
}  // namespace capsweep::service
