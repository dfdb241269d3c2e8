// Every point that a simulated deployment asks for, with what only the world knows: what training it takes and gives.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/clock.h"
#include "common/point.h"
#include "common/result.h"
#include "coordinator/plan/search.h"

namespace capsweep::simulation {

// What a point measures, wherever and whenever it is trained. `searched`: of a sweep that searches, whose capacity
// follows from its parameters and, near it, from chance; else any number that differs from those of others.
plan::Outcome TrueOutcome(const PointSpec& point, bool searched);

struct Item {
  int64_t id = 0;
  PointSpec spec;
  std::string key;
  plan::Outcome truth;
  Duration time{};
  float cost = 0;  // as the coordinator estimates it, in seconds
  uint32_t shape = 0;
  uint8_t lanes = 1;
};

class Catalogue {
 public:
  // `misjudged`: by how much estimates are off, 1 = not at all; `shapes`: how many there are.
  Catalogue(double misjudged, int64_t shapes) : misjudged_(misjudged), shapes_(shapes) {}

  // A point of a grid is told from others by its dataset_size alone.
  static PointSpec GridPoint(int64_t dataset_size);

  const Item& Add(const PointSpec& spec, bool searched);
  const Item& at(int64_t id) const { return items_.at(id); }
  const Item& Find(const PointSpec& spec) const { return items_.at(by_key_.at(PointKey(spec))); }
  bool Has(int64_t id) const { return items_.contains(id); }
  int64_t size() const { return static_cast<int64_t>(items_.size()); }

 private:
  const double misjudged_;
  const int64_t shapes_;
  std::map<int64_t, Item> items_;
  std::map<std::string, int64_t> by_key_;
};

}  // namespace capsweep::simulation
