#include "cli/table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "cli/console.h"
#include "nlohmann/json.hpp"

namespace capsweep::cli {
namespace {

store::Table Sample() {
  store::Table table;
  table.columns = {"heads", "freeze_mlp", "lr", "note"};
  table.rows = {{int64_t{2}, int64_t{1}, 0.003, std::string("plain")},
                {int64_t{16}, int64_t{0}, 1e-7, std::string("says \"a, b\"\nand more")},
                {int64_t{3}, std::monostate(), std::numeric_limits<double>::quiet_NaN(), std::string()}};
  return table;
}

std::string Written(Format format, const store::Table& table, const std::vector<std::string>& columns = {}) {
  std::ostringstream out;
  WriteTable(out, format, table, columns);
  return out.str();
}

TEST(CsvTest, FieldsWithCommasQuotesAndLineBreaksAreQuotedAsRfc4180Says) {
  EXPECT_EQ(CsvField("plain text"), "plain text");
  EXPECT_EQ(CsvField("a,b"), "\"a,b\"");
  EXPECT_EQ(CsvField("say \"x\""), "\"say \"\"x\"\"\"");
  EXPECT_EQ(CsvField("two\nlines"), "\"two\nlines\"");
  EXPECT_EQ(CsvField("two\r\nlines"), "\"two\r\nlines\"");
}

TEST(CsvTest, TableHasHeaderBooleansAndEmptyNulls) {
  EXPECT_EQ(Written(Format::kCsv, Sample()),
            "heads,freeze_mlp,lr,note\n"
            "2,true,0.003,plain\n"
            "16,false,1e-07,\"says \"\"a, b\"\"\nand more\"\n"
            "3,,nan,\n");
}

TEST(JsonTest, ArrayOfObjectsKeepsTypes) {
  const auto json = nlohmann::json::parse(Written(Format::kJson, Sample()));
  ASSERT_EQ(json.size(), 3U);
  EXPECT_EQ(json[0], (nlohmann::json{{"heads", 2}, {"freeze_mlp", true}, {"lr", 0.003}, {"note", "plain"}}));
  EXPECT_EQ(json[1]["freeze_mlp"], false);
  EXPECT_EQ(json[1]["note"], "says \"a, b\"\nand more");
  EXPECT_TRUE(json[2]["freeze_mlp"].is_null());
  EXPECT_TRUE(json[2]["lr"].is_null()) << "JSON has no NaN";
}

TEST(JsonTest, NoRowsAreAnEmptyArrayAndNoLines) {
  store::Table table = Sample();
  table.rows.clear();
  EXPECT_EQ(nlohmann::json::parse(Written(Format::kJson, table)), nlohmann::json::array());
  EXPECT_EQ(Written(Format::kJsonl, table), "");
  EXPECT_EQ(Written(Format::kCsv, table), "heads,freeze_mlp,lr,note\n");
}

TEST(JsonTest, LinesAreOneObjectEach) {
  std::istringstream lines(Written(Format::kJsonl, Sample()));
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    EXPECT_TRUE(nlohmann::json::parse(line).is_object());
    ++count;
  }
  EXPECT_EQ(count, 3);
}

TEST(JsonTest, DoublesReadBackExactly) {
  for (double value : {0.1, 1.0 / 3, 1e300, -2.5e-12, 123456789.123456789}) {
    EXPECT_EQ(nlohmann::json::parse(JsonNumber(value)).get<double>(), value);
  }
  EXPECT_EQ(JsonNumber(INFINITY), "null");
}

TEST(JsonTest, ControlCharactersAreEscaped) {
  EXPECT_EQ(nlohmann::json::parse(JsonString("a\x01\t\"\\ü")).get<std::string>(), "a\x01\t\"\\ü");
  EXPECT_EQ(nlohmann::json::parse(JsonString("a\xff")).get<std::string>(), "a\uFFFD");  // JSON is UTF-8
}

TEST(TextTest, NumbersAreRightAlignedAndTextLeftAligned) {
  TextTable table({"name", "points"});
  table.Add({"a", "7"});
  table.Add({"longer", "1,234"});
  EXPECT_EQ(table.ToString(),
            "name    points\n"
            "a            7\n"
            "longer   1,234\n");
}

TEST(TextTest, WidthCountsCharactersNotBytes) {
  TextTable table({"capacity", "n"});
  table.Add({"12 ± 3", "5"});
  table.Add({"1", "15"});
  const std::string text = table.ToString();
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    EXPECT_EQ(DisplayWidth(line), 12) << text;
  }
}

TEST(TextTest, WantedColumnsAreShownInTheWantedOrderAndMissingOnesLeftOut) {
  const std::string text = Written(Format::kTable, Sample(), {"lr", "no_such_column", "heads"});
  EXPECT_EQ(text.substr(0, text.find('\n')), "   lr  heads");
  EXPECT_EQ(text.find("note"), std::string::npos);
}

TEST(TextTest, LineBreaksInsideCellsDoNotBreakLines) {
  const std::string text = Written(Format::kTable, Sample());
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
}

TEST(RowWriterTest, PagesMakeOneAnswerWithOneHeader) {
  std::ostringstream paged;
  RowWriter writer(paged, Format::kCsv);
  const store::Table table = Sample();
  for (const auto& row : table.rows) {
    writer.Header(table.columns);
    writer.Row(row);
  }
  writer.Finish();
  EXPECT_EQ(paged.str(), Written(Format::kCsv, table));
  EXPECT_EQ(writer.rows(), 3);
}

TEST(FormatTest, WordsAreKnownAndOthersRefusedByName) {
  EXPECT_EQ(*FormatFromWord("jsonl"), Format::kJsonl);
  const auto bad = FormatFromWord("xml");
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(bad.status().message()).find("xml"), std::string::npos);
}

TEST(NumberTest, SignificantDigitsWithoutExponents) {
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(1234.5678), "1235");
  EXPECT_EQ(FormatNumber(0.00123456), "0.001235");
  EXPECT_EQ(FormatNumber(2.50), "2.5");
  EXPECT_EQ(FormatNumber(-1500000.0, 3), "-1500000");
  EXPECT_EQ(FormatNumber(1e-9), "1e-09");
}

TEST(NumberTest, CountsAreGroupedAndDurationsReadable) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-1234), "-1,234");
  EXPECT_EQ(FormatDuration(7), "0:07");
  EXPECT_EQ(FormatDuration(754), "12:34");
  EXPECT_EQ(FormatDuration(11045), "3:04:05");
  EXPECT_EQ(FormatDuration(2 * 86400 + 3 * 3600), "2d 03h");
  EXPECT_EQ(FormatDuration(-1), "?");
}

}  // namespace
}  // namespace capsweep::cli
