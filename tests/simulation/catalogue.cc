#include "tests/simulation/catalogue.h"

#include <algorithm>
#include <chrono>

#include "common/hash.h"
#include "common/param_count.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

plan::Outcome TrueOutcome(const PointSpec& point, bool searched) {
  plan::Outcome outcome;
  outcome.state = plan::Outcome::State::kDone;
  if (searched) {
    const double noise = static_cast<double>(KeyPrefix(PointKey(point)) % 1000) / 1000;
    const double capacity = 0.15 * static_cast<double>(CountParams(point).train) * (0.9 + 0.2 * noise);
    outcome.items_mem = std::min(static_cast<int64_t>(capacity), point.dataset_size);
  } else {
    outcome.items_mem = (point.dataset_size * 37) % 11;
  }
  outcome.items_corr = static_cast<double>(outcome.items_mem);
  outcome.seconds = 1;
  return outcome;
}

PointSpec Catalogue::GridPoint(int64_t dataset_size) {
  PointSpec point;
  point.dataset_size = dataset_size;
  point.steps = 100;
  return point;
}

const Item& Catalogue::Add(const PointSpec& spec, bool searched) {
  std::string key = PointKey(spec);
  if (const auto known = by_key_.find(key); known != by_key_.end()) return items_.at(known->second);
  Item item;
  item.id = size() + 1;
  item.spec = spec;
  item.truth = TrueOutcome(spec, searched);
  if (searched) {
    item.time = milliseconds(300 + KeyPrefix(key) % 2000);
    item.shape = 10;
  } else {
    // Some points take longer than a lease; where estimates are off, some are thought to cost nothing.
    item.time =
        spec.dataset_size % 11 == 7 ? Duration(seconds(400)) : milliseconds(200 + 7919 * (spec.dataset_size % 6));
    item.shape = static_cast<uint32_t>(spec.dataset_size % shapes_);
    item.lanes = item.shape == 1 ? 4 : 1;
  }
  if (misjudged_ == 1 || spec.dataset_size % 13 != 12)
    item.cost = static_cast<float>(ToSeconds(item.time) * misjudged_);
  by_key_[key] = item.id;
  item.key = std::move(key);
  return items_[item.id] = std::move(item);
}

}  // namespace capsweep::simulation
