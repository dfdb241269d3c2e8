#include "coordinator/service/details_cache.h"

#include "common/status.h"
#include "common/text.h"

namespace capsweep::service {

DetailsPtr DetailsCache::Cached(PointId point) {
  MutexLock lock(&mu_);
  const auto it = index_.find(point);
  if (it == index_.end()) {
    return nullptr;
  }
  order_.splice(order_.begin(), order_, it->second);
  return it->second->second;
}

void DetailsCache::Keep(PointId point, DetailsPtr details) {
  if (details->checkpoint != nullptr) {
    auto bare = std::make_shared<store::PointDetails>(*details);
    bare->checkpoint = nullptr;
    details = std::move(bare);
  }
  MutexLock lock(&mu_);
  if (index_.contains(point)) {
    return;
  }
  order_.emplace_front(point, std::move(details));
  index_[point] = order_.begin();
  if (order_.size() > capacity_) {
    index_.erase(order_.back().first);
    order_.pop_back();
  }
}

absl::StatusOr<std::vector<DetailsPtr>> DetailsCache::Read(const std::vector<PointId>& points) {
  std::vector<DetailsPtr> out;
  out.reserve(points.size());
  absl::StatusOr<std::vector<store::PointDetails>> rows = store_->Details(points);
  if (rows.ok() && rows->size() == points.size()) {
    for (size_t i = 0; i < points.size(); ++i) {
      out.push_back(std::make_shared<const store::PointDetails>(std::move((*rows)[i])));
      Keep(points[i], out.back());
    }
    return out;
  }
  if (!rows.ok() && !absl::IsNotFound(rows.status())) {
    return rows.status();
  }
  if (points.size() == 1) {
    out.push_back(nullptr);
    return out;
  }
  for (const PointId point : points) {
    ASSIGN_OR_RETURN(std::vector<DetailsPtr> one, Read({point}));
    out.push_back(std::move(one.front()));
  }
  return out;
}

absl::StatusOr<std::vector<DetailsPtr>> DetailsCache::Find(const std::vector<PointId>& points) {
  std::vector<DetailsPtr> out(points.size());
  std::vector<PointId> missing;
  std::vector<size_t> places;
  for (size_t i = 0; i < points.size(); ++i) {
    out[i] = Cached(points[i]);
    if (out[i] == nullptr) {
      missing.push_back(points[i]);
      places.push_back(i);
    }
  }
  if (!missing.empty()) {
    ASSIGN_OR_RETURN(std::vector<DetailsPtr> read, Read(missing));
    for (size_t i = 0; i < missing.size(); ++i) {
      out[places[i]] = std::move(read[i]);
    }
  }
  return out;
}

absl::StatusOr<std::vector<DetailsPtr>> DetailsCache::ForAssignments(const std::vector<core::Assignment>& assignments) {
  std::vector<DetailsPtr> out(assignments.size());
  std::vector<PointId> missing;
  std::vector<size_t> places;
  for (size_t i = 0; i < assignments.size(); ++i) {
    const core::AttemptRef& id = assignments[i].id;
    if (id.attempt.value() == 1) {
      out[i] = Cached(id.point);
    }
    if (out[i] == nullptr) {
      missing.push_back(id.point);
      places.push_back(i);
    }
  }
  if (missing.empty()) {
    return out;
  }
  ASSIGN_OR_RETURN(std::vector<DetailsPtr> read, Read(missing));
  for (size_t i = 0; i < missing.size(); ++i) {
    if (read[i] == nullptr) {
      return absl::InternalError(StrCat("point ", missing[i].value(), " is assigned but not stored"));
    }
    out[places[i]] = std::move(read[i]);
  }
  return out;
}

}  // namespace capsweep::service
