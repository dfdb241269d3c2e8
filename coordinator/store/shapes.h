#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/cost_model.h"

namespace capsweep::store {

// Gives shape texts dense numbers in the order they are first seen; fixed for the life of the object. Thread-safe.
class ShapeNumbers {
 public:
  uint32_t Number(std::string_view shape) {
    std::lock_guard lock(mutex_);
    const auto [entry, added] = numbers_.try_emplace(std::string(shape), static_cast<uint32_t>(texts_.size()));
    if (added) {
      texts_.push_back(entry->first);
      lanes_.push_back(static_cast<uint8_t>(PackLanes(shape)));
    }
    return entry->second;
  }

  // PackLanes of a shape that has a number.
  uint8_t Lanes(uint32_t number) const {
    std::lock_guard lock(mutex_);
    return lanes_.at(number);
  }

  std::vector<std::string> Texts() const {
    std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, uint32_t> numbers_;
  std::vector<std::string> texts_;
  std::vector<uint8_t> lanes_;
};

}  // namespace capsweep::store
