#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace capsweep::store {

// Gives shape texts dense numbers in the order they are first seen; fixed for the life of the object. Thread-safe.
class ShapeNumbers {
 public:
  uint32_t Number(std::string_view shape) {
    std::lock_guard lock(mutex_);
    const auto [entry, added] = numbers_.try_emplace(std::string(shape), static_cast<uint32_t>(texts_.size()));
    if (added) {
      texts_.push_back(entry->first);
    }
    return entry->second;
  }

  std::vector<std::string> Texts() const {
    std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, uint32_t> numbers_;
  std::vector<std::string> texts_;
};

}  // namespace capsweep::store
