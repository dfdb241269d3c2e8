// What several agent tests share: valid points, results that belong to them, folders.
#pragma once

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "common/hash.h"
#include "common/param_count.h"
#include "common/point.h"
#include "common/result.h"
#include "common/text.h"
#include "worker/agent/state.h"

namespace capsweep::agent {

// Differs from other seeds in nothing but the seed.
inline PointSpec TestPoint(uint64_t seed) {
  PointSpec point;
  point.dataset_size = 50;
  point.epochs = 10;
  point.init_seed = seed;
  return point;
}

inline std::shared_ptr<const PointResult> TestResult(const PointSpec& point, size_t curve_rows = 1) {
  auto result = std::make_shared<PointResult>();
  result->point_key = PointKey(point);
  result->targets = 1;
  result->items_mem = result->items_mem_best = result->tokens_mem = 7;
  result->nll_bits = 1.0 / 3.0;
  result->stop_reason = "budget";
  result->params_total = CountParams(point).total;
  result->params_train = CountParams(point).train;
  result->curve.resize(curve_rows, Evaluation{10, 10, 7, 7, 0.1, 0.2});
  return result;
}

inline AttemptId Id(int64_t point, int32_t attempt) {
  return {PointId(point), AttemptNumber(attempt)};
}

inline Report ResultReport(int64_t point, int32_t attempt, const std::string& database = "db1", size_t curve_rows = 1) {
  Report report;
  report.kind = ReportKind::kResult;
  report.database_id = database;
  report.id = Id(point, attempt);
  report.device = "cpu:0";
  report.result = TestResult(TestPoint(static_cast<uint64_t>(point)), curve_rows);
  return report;
}

// A folder of its own, removed at the end.
class TempFolder {
 public:
  TempFolder() : path_(StrCat(TempRoot(), "/agent_test_", getpid(), "_", RandomHexId().substr(0, 8))) {
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  static std::string TempRoot() {
    const char* root = std::getenv("TEST_TMPDIR");
    return root != nullptr ? root : "/tmp";
  }
  std::string path_;
};

}  // namespace capsweep::agent
