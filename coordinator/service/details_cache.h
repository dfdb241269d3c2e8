// Points by id, read from the store once and kept: every assignment and every check of a delivered result needs one.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/ids.h"
#include "common/mutex.h"
#include "coordinator/core/events.h"
#include "coordinator/store/store.h"

namespace capsweep::service {

using DetailsPtr = std::shared_ptr<const store::PointDetails>;

// Thread-safe. Bounded: the least recently used entries go first. A point never changes, so entries never go stale;
// checkpoints do change and are therefore never kept.
class DetailsCache {
 public:
  DetailsCache(store::Store* store, size_t capacity) : store_(store), capacity_(capacity) {}

  // Parallel to `points`, null for ids the store does not know.
  absl::StatusOr<std::vector<DetailsPtr>> Find(const std::vector<PointId>& points);
  // The same with the latest checkpoint, for assignments. First attempts cannot have one and come from the cache.
  // Internal if the store lacks a point.
  absl::StatusOr<std::vector<DetailsPtr>> ForAssignments(const std::vector<core::Assignment>& assignments);

 private:
  using Order = std::list<std::pair<PointId, DetailsPtr>>;  // most recently used first

  DetailsPtr Cached(PointId point);
  void Keep(PointId point, DetailsPtr details);
  // Store::Details, one by one where it refuses the whole list because of an unknown id.
  absl::StatusOr<std::vector<DetailsPtr>> Read(const std::vector<PointId>& points);

  store::Store* const store_;
  const size_t capacity_;
  Mutex mu_;
  Order order_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<PointId, Order::iterator> index_ ABSL_GUARDED_BY(mu_);
};

}  // namespace capsweep::service
