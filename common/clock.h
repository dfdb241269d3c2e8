// Two clocks, never mixed: Instant (monotonic) decides leases and timeouts, wall time is only for display and rows.
#pragma once

#include <chrono>
#include <cstdint>

namespace capsweep {

using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;
using Seconds = std::chrono::duration<double>;

inline double ToSeconds(Duration d) {
  return std::chrono::duration_cast<Seconds>(d).count();
}
inline Duration FromSeconds(double s) {
  return std::chrono::duration_cast<Duration>(Seconds(s));
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
  // Milliseconds since 1970-01-01 UTC.
  virtual int64_t WallMillis() const = 0;

  static const Clock& Real();
};

}  // namespace capsweep
