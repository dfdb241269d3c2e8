// What the store's tests share: a folder of their own, small points, sweeps and results.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "coordinator/store/db.h"
#include "coordinator/store/reader.h"
#include "coordinator/store/store.h"

namespace capsweep::store {

// A fresh folder, removed at the end.
class TempFolder {
 public:
  TempFolder() : path_(std::filesystem::path(::testing::TempDir()) / ("capsweep-store-" + RandomHexId())) {
    std::filesystem::create_directories(path_);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }
  std::string File(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline PointSpec MakePoint(int64_t heads, uint64_t seed, int64_t dataset_size = 100) {
  PointSpec point;
  point.heads = heads;
  point.dataset_size = dataset_size;
  point.epochs = 50;
  point.data_seed = seed;
  point.init_seed = seed;
  return point;
}

inline std::vector<PointSpec> MakePoints(int64_t heads, uint64_t seeds) {
  std::vector<PointSpec> points;
  for (int64_t h = 1; h <= heads; ++h) {
    for (uint64_t s = 1; s <= seeds; ++s) {
      points.push_back(MakePoint(h, s));
    }
  }
  return points;
}

inline Store::PointStream StreamOf(std::vector<PointSpec> points) {
  return [points = std::move(points)](const Store::PointVisitor& visit) -> absl::Status {
    for (const PointSpec& point : points) {
      if (absl::Status status = visit(point); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  };
}

inline SweepSpec MakeSweep(const std::string& name, const std::string& text = "text") {
  SweepSpec sweep;
  sweep.name = name;
  sweep.text = text;
  sweep.file_name = name + ".yaml";
  return sweep;
}

inline std::shared_ptr<PointResult> MakeResult(const PointSpec& point, int64_t items_mem) {
  auto result = std::make_shared<PointResult>();
  result->point_key = PointKey(point);
  result->items_mem = items_mem;
  result->items_mem_best = items_mem;
  result->tokens_mem = items_mem;
  result->items_corr = static_cast<double>(items_mem) - 0.5;
  result->bits_mem = 4.0 * static_cast<double>(items_mem);
  result->targets = 1;
  result->epochs = 50;
  result->steps = 50;
  result->params_total = 1000;
  result->params_train = 1000;
  result->stop_reason = "budget";
  result->backend = "torch";
  result->seconds = 0.25;
  result->curve = {{10, 10, items_mem / 2, items_mem / 2, 1.5, 2.5}, {50, 50, items_mem, items_mem, 0.5, 1.0}};
  return result;
}

inline core::AttemptRef Ref(int64_t point, int32_t attempt) {
  return {PointId(point), AttemptNumber(attempt)};
}

inline core::AttemptStarted Started(int64_t point, int32_t attempt) {
  return {Ref(point, attempt), WorkerId("w1"), Incarnation("i1"), "cpu:0"};
}

inline core::ResultAccepted Accepted(int64_t point, int32_t attempt, std::shared_ptr<const PointResult> result) {
  return {Ref(point, attempt), WorkerId("w1"), "cpu:0", std::move(result)};
}

inline core::WorkerChanged BusyWorker() {
  core::DeviceReport device;
  device.name = "cpu:0";
  device.kind = "cpu";
  device.slots = 1;
  return {WorkerId("w1"), Incarnation("i1"), "host-a", "0.1.0", core::WorkerState::kBusy, "", {device}};
}

// A store with what tests do most often.
class TestStore {
 public:
  explicit TestStore(const std::string& path, Options options = {}) {
    absl::StatusOr<std::unique_ptr<Store>> opened = Store::Open(path, std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (opened.ok()) {
      store_ = *std::move(opened);
    }
  }
  Store* operator->() { return store_.get(); }
  void Close() { store_.reset(); }

  StoredSweep Add(const SweepSpec& sweep, std::vector<PointSpec> points, bool extend = false) {
    absl::StatusOr<StoredSweep> added = store_->AddSweep(sweep, 0, extend, StreamOf(std::move(points)));
    EXPECT_TRUE(added.ok()) << added.status();
    return added.ok() ? *std::move(added) : StoredSweep();
  }

  // One batch; waits until it is on disk.
  absl::Status Write(std::vector<core::Mutation> mutations) {
    store_->Enqueue({++ticket_, std::move(mutations)});
    return store_->Flush();
  }

  void Finish(const PointSpec& point, int64_t items_mem) {
    const auto id = store_->FindPoint(PointKey(point));
    ASSERT_TRUE(id.ok() && id->has_value());
    const int64_t p = (*id)->value();
    ASSERT_TRUE(Write({Started(p, 1), Accepted(p, 1, MakeResult(point, items_mem))}).ok());
  }

 private:
  std::unique_ptr<Store> store_;
  core::Ticket ticket_ = 0;
};

// First column of the first row, as text; an own connection.
inline std::string Ask(const std::string& path, const std::string& sql) {
  absl::StatusOr<Database> db = Database::Open(path, Database::Access::kRead);
  if (!db.ok()) {
    return "error: " + std::string(db.status().message());
  }
  absl::StatusOr<std::string> text = db->QueryText(sql);
  return text.ok() ? *text : "error: " + std::string(text.status().message());
}

}  // namespace capsweep::store
