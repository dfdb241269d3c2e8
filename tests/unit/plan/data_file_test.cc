// A library of the user's own, from the sweep file to the points.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "common/hash.h"
#include "common/sweep/data_files.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/grid.h"

namespace capsweep::plan {
namespace {

using ::testing::HasSubstr;

class DataFileTest : public ::testing::Test {
 protected:
  DataFileTest() : folder_(StrCat(::testing::TempDir(), "data-file-", RandomHexId())) {
    std::filesystem::create_directory(folder_);
  }
  ~DataFileTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) { std::ofstream(folder_ + "/" + name) << text; }

  absl::StatusOr<std::vector<PointSpec>> Points(const std::string& data, const std::string& task = "seq_len: 3") {
    auto spec = ParseSweep(
        StrCat("sweep: own\ntask: {vocab: 16, ", task, "}\ndata: {", data, "}\ntrain: {steps: 100}\nrepeats: 2\n"),
        "own.yaml");
    if (!spec.ok()) return spec.status();
    spec->folder = folder_;
    if (absl::Status loaded = sweep::LoadDataFiles(*spec); !loaded.ok()) return loaded;
    return EnumerateGrid(*spec);
  }
  std::string ErrorOf(const std::string& data, const std::string& task = "seq_len: 3") {
    return std::string(Points(data, task).status().message());
  }

  const std::string folder_;
};

TEST_F(DataFileTest, PointsKnowPathAndHashAndTheKeyOnlyTheHash) {
  Write("a.csv", "1,2,3,4\n5,6,7,8\n9,10,11,12\n");
  const auto points = Points("file: a.csv, dataset_size: 2");
  ASSERT_TRUE(points.ok()) << points.status();
  ASSERT_EQ(points->size(), 2u);
  EXPECT_EQ((*points)[0].file, folder_ + "/a.csv");
  EXPECT_EQ((*points)[0].file_hash, Sha256Hex("1,2,3,4\n5,6,7,8\n9,10,11,12\n"));
  const std::string key = PointKey((*points)[0]);
  std::filesystem::rename(folder_ + "/a.csv", folder_ + "/b.csv");
  EXPECT_EQ(PointKey(Points("file: b.csv, dataset_size: 2")->at(0)), key);
  Write("b.csv", "1,2,3,4\n5,6,7,8\n9,10,11,13\n");
  EXPECT_NE(PointKey(Points("file: b.csv, dataset_size: 2")->at(0)), key);
}

TEST_F(DataFileTest, AStudyMayHaveAFileOfItsOwn) {
  Write("a.csv", "1,2,3,4\n5,6,7,8\n");
  Write("b.csv", "1,2,3,5\n5,6,7,8\n");
  const auto points =
      Points("file: a.csv, dataset_size: 2}\nstudies: [{name: other, data: {file: b.csv}}]\nlimits: {attempts: 1");
  ASSERT_TRUE(points.ok()) << points.status();
  ASSERT_EQ(points->size(), 4u);
  EXPECT_EQ((*points)[0].file, folder_ + "/a.csv");
  EXPECT_EQ((*points)[2].file, folder_ + "/b.csv");
  EXPECT_EQ((*points)[2].file_hash, Sha256Hex("1,2,3,5\n5,6,7,8\n"));
}

TEST_F(DataFileTest, SeveralFilesAreAnAxis) {
  Write("a.csv", "1,2,3,4\n5,6,7,8\n");
  Write("b.jsonl", "[1,2,3,4]\n[4,3,2,1]\n");
  const auto points = Points("file: [a.csv, b.jsonl], dataset_size: [1, 2]");
  ASSERT_TRUE(points.ok()) << points.status();
  EXPECT_EQ(points->size(), 8u);
}

TEST_F(DataFileTest, WhatDoesNotFitIsAnErrorOfTheSweepFile) {
  Write("a.csv", "1,2,3,4\n5,6,7,8\n");
  EXPECT_THAT(ErrorOf("file: none.csv, dataset_size: 2"), HasSubstr("own.yaml:3: file: "));
  EXPECT_THAT(ErrorOf("file: a.csv, dataset_size: 3"), HasSubstr("own.yaml:3: dataset_size: 3"));
  EXPECT_THAT(ErrorOf("file: a.csv, dataset_size: 2", "seq_len: 4"), HasSubstr("seq_len: 4 is not the 3 tokens"));
  EXPECT_THAT(ErrorOf("file: a.csv, dataset_size: 2", "mode: lm, seq_len: 3"), HasSubstr("use 4"));
  Write("big.csv", "1,2,3,4\n5,6,77,8\n");
  EXPECT_THAT(ErrorOf("file: big.csv, dataset_size: 2"), HasSubstr("77 is not in 0..15; use vocab 78"));
  Write("ragged.csv", "1,2,3,4\n5,6,7\n");
  EXPECT_THAT(ErrorOf("file: ragged.csv, dataset_size: 2"), HasSubstr("ragged.csv:2: "));
  Write("twice.csv", "1,2,3,4\n1,2,3,5\n");
  EXPECT_THAT(ErrorOf("file: twice.csv, dataset_size: 2"), HasSubstr("twice.csv:2"));
  EXPECT_THAT(ErrorOf(StrCat("file: a.csv, file_hash: ", std::string(64, 'a'), ", dataset_size: 2")),
              HasSubstr("file_hash: is worked out from the file"));
  EXPECT_THAT(ErrorOf("file: a.csv, tokens: zipf, dataset_size: 2"), HasSubstr("a file brings its own tokens"));
}

TEST_F(DataFileTest, RelativePathsNeedAFolder) {
  auto spec = ParseSweep("sweep: own\ndata: {file: a.csv, dataset_size: 2}\ntrain: {steps: 100}\n", "own.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(std::string(sweep::LoadDataFiles(*spec).message()), HasSubstr("a.csv is a relative path"));
}

}  // namespace
}  // namespace capsweep::plan
