// Counters and histograms that cost an atomic add, and Prometheus' text form of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace capsweep {

// Thread-safe; never goes back.
class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Thread-safe. A reader may see an observation in one bucket and not yet in the sum.
class Histogram {
 public:
  // Upper bounds, rising; one more bucket takes what is above them.
  explicit Histogram(std::vector<double> bounds);

  void Observe(double value);
  const std::vector<double>& bounds() const { return bounds_; }
  // Observations up to each bound, and all of them.
  std::vector<uint64_t> Cumulative() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  const std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

// From 100 µs to 30 s, three to a decade.
std::vector<double> LatencyBounds();

// Prometheus' text form, version 0.0.4. A family's samples must follow its Family call.
class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // `type`: counter, gauge or histogram. Times in seconds, sizes in bytes, names as Prometheus wants them.
  void Family(std::string_view name, std::string_view type, std::string_view help);
  void Sample(double value, const Labels& labels = {});
  void Sample(const Histogram& histogram, const Labels& labels = {});
  std::string Take() { return std::move(text_); }

 private:
  void Line(std::string_view suffix, const Labels& labels, double value);

  std::string name_, text_;
};

}  // namespace capsweep
