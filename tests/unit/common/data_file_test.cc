#include "common/data_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "common/file.h"
#include "common/hash.h"
#include "common/text.h"

namespace capsweep {
namespace {

using Values = std::vector<int32_t>;

absl::StatusOr<DataFile> Csv(std::string_view text) {
  return ParseData(text, DataFormat::kCsv, "d.csv");
}
absl::StatusOr<DataFile> Jsonl(std::string_view text) {
  return ParseData(text, DataFormat::kJsonl, "d.jsonl");
}

TEST(DataFileTest, CsvWithAndWithoutHeaderBlanksAndCarriageReturns) {
  for (const char* text : {"1,2,3\n4,5,6\n", "a,b,label\n1,2,3\n4,5,6",
                           "\xEF\xBB\xBF"
                           "1, 2 ,3\r\n4,5,6\r\n\r\n\n",
                           "\"x y\",z,u\n 1,2,3\n4,5,6\n"}) {
    const auto file = Csv(text);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->items, 2);
    EXPECT_EQ(file->columns, 3);
    EXPECT_EQ(file->inputs, 0);
    EXPECT_EQ(file->values, (Values{1, 2, 3, 4, 5, 6}));
  }
  EXPECT_EQ(Csv("h\n7\n")->first_line, 2);
}

TEST(DataFileTest, JsonlListsAndObjects) {
  const auto lists = Jsonl("[1, 2, 3]\n[4,5,6]\n");
  ASSERT_TRUE(lists.ok()) << lists.status();
  EXPECT_EQ(lists->values, (Values{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(lists->inputs, 0);
  const auto labels = Jsonl("{\"tokens\": [1, 2], \"label\": 3}\n{\"label\": 6, \"tokens\": [4, 5]}\n");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_EQ(labels->values, (Values{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(labels->inputs, 2);
  const auto pairs = Jsonl("{\"tokens\": [1], \"targets\": [3]}");
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  EXPECT_EQ(pairs->inputs, 1);
  EXPECT_EQ(Jsonl("{\"tokens\": [1, 2]}")->columns, 2);
}

TEST(DataFileTest, ModesSplitAnItem) {
  const DataFile file = *Csv("1,2,3,4\n5,6,7,8\n");
  const auto expect = [&](Mode mode, int64_t seq_len, int64_t targets) {
    const auto shape = ShapeOf(file, mode);
    ASSERT_TRUE(shape.ok()) << shape.status();
    EXPECT_EQ(shape->items, 2);
    EXPECT_EQ(shape->seq_len, seq_len);
    EXPECT_EQ(shape->targets, targets);
    EXPECT_EQ(shape->largest, 8);
  };
  expect(Mode::kLabel, 3, 1);
  expect(Mode::kSeq, 2, 2);
  expect(Mode::kLm, 4, 0);
  EXPECT_FALSE(ShapeOf(*Csv("1\n2\n"), Mode::kLabel).ok());
  EXPECT_FALSE(ShapeOf(*Csv("1,2,3\n"), Mode::kSeq).ok());
  EXPECT_FALSE(ShapeOf(*Jsonl("{\"tokens\": [1, 2], \"targets\": [1, 2]}"), Mode::kLabel).ok());
  EXPECT_FALSE(ShapeOf(*Jsonl("{\"tokens\": [1, 2], \"label\": 1}"), Mode::kSeq).ok());
  EXPECT_FALSE(ShapeOf(*Jsonl("{\"tokens\": [1, 2], \"label\": 1}"), Mode::kLm).ok());
  EXPECT_FALSE(ShapeOf(*Jsonl("{\"tokens\": [1, 2]}"), Mode::kLabel).ok());
  EXPECT_TRUE(ShapeOf(*Jsonl("{\"tokens\": [1, 2], \"label\": 1}"), Mode::kLabel).ok());
}

struct Wrong {
  DataFormat format;
  std::string text;
  std::vector<std::string> says;
};

TEST(DataFileTest, ErrorsNameFileLineFieldAndFix) {
  constexpr auto kCsv = DataFormat::kCsv, kJsonl = DataFormat::kJsonl;
  const std::vector<Wrong> wrongs = {
      {kCsv, "", {"d: the file holds no items"}},
      {kCsv, "a,b\n", {"holds no items"}},
      {kCsv, "\n\n", {"holds no items"}},
      {kCsv, "1,2\n1,2,3\n", {"d:2: has 3 numbers, but line 1 has 2"}},
      {kCsv, "x,y\n1,2\n3\n", {"d:3: has 1 number, but line 2 has 2"}},
      {kCsv, "1,2\n3,-4\n", {"d:2: column 2: '-4' is negative"}},
      {kCsv, "1,2.5\n", {"d:1: column 2: '2.5' is not a whole number"}},
      {kCsv, "1,two\n", {"d:1: column 2: 'two' is not a whole number"}},
      {kCsv, "1,,2\n", {"d:1: column 2: is empty"}},
      {kCsv, "1,2,\n", {"d:1: column 3: is empty"}},
      {kCsv, "1,1000000\n", {"'1000000' is above 999999"}},
      {kCsv, "1,99999999999999999999\n", {"is above 999999"}},
      {kCsv, "1,2\n\n3,4\n", {"d:2: is blank; remove it"}},
      {kCsv, "1,2\n3;4\n", {"d:2: column 1: '3;4' is not"}},
      {kCsv, std::string("1,2\n3,\0", 7), {"d:2: holds a NUL byte"}},
      {kCsv, "1,2\n\xFF,3\n", {"d:2: is not UTF-8"}},
      {kCsv, "\xC0\x80,1\n", {"d:1: is not UTF-8"}},
      {kJsonl, "[1, 2\n", {"d:1: is not JSON"}},
      {kJsonl, "[1, -2]\n", {"d:1: number 2: '-2' is negative"}},
      {kJsonl, "[1, 2.0]\n", {"d:1: number 2: '2.0' is not a whole number"}},
      {kJsonl, "[1, \"2\"]\n", {"is not a whole number"}},
      {kJsonl, "[1, [2]]\n", {"is not a whole number"}},
      {kJsonl, "[]\n", {"d:1: holds no numbers"}},
      {kJsonl, "3\n", {"neither a list nor an object"}},
      {kJsonl, "{\"tokens\": 3}\n", {"d:1: tokens: is not a list"}},
      {kJsonl, "{\"tokens\": []}\n", {"d:1: tokens: is empty"}},
      {kJsonl, "{\"label\": 3}\n", {"d:1: tokens: is missing"}},
      {kJsonl, "{\"tokens\": [1], \"lable\": 3}\n", {"'lable' is unknown"}},
      {kJsonl, "{\"tokens\": [1], \"label\": 3, \"targets\": [1]}\n", {"both given"}},
      {kJsonl, "{\"tokens\": [1], \"label\": 3.5}\n", {"d:1: label 1: '3.5' is not"}},
      {kJsonl,
       "[1, 2]\n{\"tokens\": [1], \"label\": 2}\n",
       {"d:2: has 1 tokens and 1 targets, but line 1 has 2 numbers"}},
      {kJsonl,
       "{\"tokens\": [1, 2], \"targets\": [1]}\n{\"tokens\": [1], \"targets\": [1, 2]}\n",
       {"d:2: has 1 tokens"}},
  };
  for (const Wrong& wrong : wrongs) {
    const auto file = ParseData(wrong.text, wrong.format, "d");
    ASSERT_FALSE(file.ok()) << wrong.text;
    EXPECT_TRUE(absl::IsInvalidArgument(file.status()));
    for (const std::string& part : wrong.says) {
      EXPECT_NE(std::string(file.status().message()).find(part), std::string::npos) << file.status() << "\n" << part;
    }
  }
}

TEST(DataFileTest, EqualInputsAreRefusedWithBothLines) {
  const DataFile file = *Csv("a,b,c\n1,2,3\n4,5,6\n1,2,7\n");
  const auto label = ShapeOf(file, Mode::kLabel);
  ASSERT_FALSE(label.ok());
  EXPECT_NE(std::string(label.status().message()).find("d.csv:4: has the same tokens as line 2"), std::string::npos)
      << label.status();
  EXPECT_TRUE(ShapeOf(file, Mode::kLm).ok());  // whole lines differ
}

TEST(DataFileTest, PiecesOfAnySizeGiveTheSameItems) {
  const std::string text = "h,i\n10,200\n3000,40000\n5,6\n";
  const DataFile whole = *Csv(text);
  for (size_t size = 1; size < text.size(); ++size) {
    DataParser parser("d.csv", DataFormat::kCsv);
    for (size_t at = 0; at < text.size(); at += size) {
      ASSERT_TRUE(parser.Feed(std::string_view(text).substr(at, size)).ok());
    }
    const auto file = parser.Finish();
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->values, whole.values);
    EXPECT_EQ(file->first_line, 2);
  }
}

TEST(DataFileTest, EndlessLinesAreRefusedBeforeTheyFillTheMemory) {
  DataParser parser("d.jsonl", DataFormat::kJsonl);
  const std::string piece(1 << 20, '[');
  absl::Status status;
  int fed = 0;
  for (; status.ok() && fed < 100; ++fed) status = parser.Feed(piece);
  EXPECT_LE(fed, 6);
  EXPECT_NE(std::string(status.message()).find("d.jsonl:1: is longer than"), std::string::npos) << status;
}

// Random damage: any outcome but a crash is fine, and errors name the file.
TEST(DataFileTest, DamagedFilesAreParsedOrRefused) {
  std::mt19937_64 random(5);
  const std::string_view pieces[] = {",",  "-",      "\n", "1",  "[", "]",  "{",       "}",
                                     "\"", "tokens", ":",  "e9", ".", "\r", "\xE2\x82"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text = round % 2 == 0 ? "a,b,c\n1,2,3\n4,5,6\n" : "{\"tokens\": [1, 2], \"label\": 3}\n[1, 2, 3]\n";
    for (size_t edits = 1 + random() % 5; edits > 0; --edits) {
      const size_t at = random() % (text.size() + 1);
      switch (random() % 3) {
        case 0:
          text.erase(at, 1 + random() % 4);
          break;
        case 1:
          text.insert(at, pieces[random() % std::size(pieces)]);
          break;
        default:
          text.insert(at, 1, static_cast<char>(random()));
      }
    }
    const auto file = ParseData(text, round % 2 == 0 ? DataFormat::kCsv : DataFormat::kJsonl, "d");
    if (!file.ok()) {
      EXPECT_EQ(std::string(file.status().message()).substr(0, 2), "d:");
      continue;
    }
    EXPECT_EQ(static_cast<int64_t>(file->values.size()), file->items * file->columns);
    for (const Mode mode : {Mode::kLabel, Mode::kSeq, Mode::kLm}) ShapeOf(*file, mode).status().IgnoreError();
  }
}

TEST(DataFileTest, AMillionItemsTakeNoQuadraticTime) {
  std::string text;
  for (int item = 0; item < 1'000'000; ++item) StrAppend(&text, item / 1000, ",", item % 1000, ",3\n");
  const auto start = std::chrono::steady_clock::now();
  const auto file = Csv(text);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(ShapeOf(*file, Mode::kLabel).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

class DataFileOnDiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "data_file_test_" + RandomHexId();
    ASSERT_TRUE(MakeFolders(folder_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Write(const std::string& name, std::string_view text) {
    EXPECT_TRUE(WriteFileAtomic(folder_ + "/" + name, text).ok());
    return folder_ + "/" + name;
  }
  std::string folder_;
};

TEST_F(DataFileOnDiskTest, HashIsThatOfTheBytes) {
  const std::string text = "1,2\n3,4\n";
  const auto file = LoadDataFile(Write("d.csv", text));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->sha256, Sha256Hex(text));
  EXPECT_EQ(file->values, (Values{1, 2, 3, 4}));
}

TEST_F(DataFileOnDiskTest, FilesThatCannotBeReadAreRefusedByName) {
  const auto says = [](const absl::StatusOr<DataFile>& file, std::string_view part) {
    ASSERT_FALSE(file.ok());
    EXPECT_NE(std::string(file.status().message()).find(part), std::string::npos) << file.status();
  };
  says(LoadDataFile(folder_ + "/none.csv"), "none.csv does not exist on this machine; put it there");
  says(LoadDataFile(folder_), "is a folder");
  says(LoadDataFile(Write("d.txt", "1,2\n")), "ends neither in .csv nor in .jsonl");
  says(LoadDataFile(Write("d.csv", "1,2\n3,4\n"), 5), "has 8 bytes, more than 5");
  const std::string huge = Write("huge.csv", "");
  ASSERT_EQ(truncate(huge.c_str(), int64_t{10} << 30), 0);  // sparse: refused by its size, never read
  says(LoadDataFile(huge), "has 10737418240 bytes");
}

TEST_F(DataFileOnDiskTest, FitNamesWhatDiffers) {
  const DataFile file = *LoadDataFile(Write("d.csv", "1,2,3\n4,5,6\n7,8,9\n"));
  PointSpec point;
  point.file = file.name, point.file_hash = file.sha256;
  point.seq_len = 2, point.vocab = 10, point.dataset_size = 3;
  EXPECT_TRUE(CheckDataFits(file, point).ok()) << CheckDataFits(file, point);
  const auto says = [&](void (*change)(PointSpec&), std::string_view part) {
    PointSpec other = point;
    change(other);
    const absl::Status status = CheckDataFits(file, other);
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
  };
  says([](PointSpec& p) { p.seq_len = 3; }, "seq_len: 3 is not the 2 tokens");
  says([](PointSpec& p) { p.vocab = 9; }, "d.csv:3: target 1: 9 is not in 0..8; use vocab 10");
  says([](PointSpec& p) { p.vocab = 5; }, "d.csv:2: token 2: 5 is not in 0..4; use vocab 10");
  says([](PointSpec& p) { p.dataset_size = 2, p.heldout_size = 2; }, "the 3 items of");
  says([](PointSpec& p) { p.file_hash = std::string(64, 'a'); }, StrCat("but the point means ", std::string(64, 'a')));
  EXPECT_TRUE(absl::IsFailedPrecondition([&] {
    PointSpec other = point;
    other.file_hash = std::string(64, 'a');
    return CheckDataFits(file, other);
  }()));
}

}  // namespace
}  // namespace capsweep
