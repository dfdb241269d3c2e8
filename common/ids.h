// Strong ids: a PointId can never be passed where a SweepId is meant.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <utility>

namespace capsweep {

template <class Tag, class Rep>
class Id {
 public:
  Id() = default;
  explicit Id(Rep value) : value_(std::move(value)) {}

  const Rep& value() const { return value_; }

  friend bool operator==(const Id& a, const Id& b) { return a.value_ == b.value_; }
  friend bool operator!=(const Id& a, const Id& b) { return !(a == b); }
  friend bool operator<(const Id& a, const Id& b) { return a.value_ < b.value_; }
  friend std::ostream& operator<<(std::ostream& out, const Id& id) { return out << id.value_; }
  template <class H>
  friend H AbslHashValue(H h, const Id& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  Rep value_{};
};

// Row id of a point in its database. Positive.
using PointId = Id<struct PointTag, int64_t>;
// Row id of a sweep in its database. Positive.
using SweepId = Id<struct SweepTag, int64_t>;
// Number of a lease of a point, from 1; the fencing token: a larger number is a later lease.
using AttemptNumber = Id<struct AttemptTag, int32_t>;
// The agent's stable name.
using WorkerId = Id<struct WorkerTag, std::string>;
// New at every start of an agent, so that a restarted process is never taken for the old one.
using Incarnation = Id<struct IncarnationTag, std::string>;

}  // namespace capsweep

template <class Tag, class Rep>
struct std::hash<capsweep::Id<Tag, Rep>> {
  size_t operator()(const capsweep::Id<Tag, Rep>& id) const { return std::hash<Rep>()(id.value()); }
};
