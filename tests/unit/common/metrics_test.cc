#include "common/metrics.h"

#include <cmath>
#include <thread>

#include "gmock/gmock.h"

namespace capsweep {
namespace {

TEST(MetricsTest, AHistogramCountsUpToItsBoundsAndAbove) {
  Histogram histogram({0.1, 1});
  for (const double value : {0.05, 0.1, 0.5, 7.0}) histogram.Observe(value);
  EXPECT_EQ(histogram.Cumulative(), (std::vector<uint64_t>{2, 3, 4}));
  EXPECT_DOUBLE_EQ(histogram.sum(), 7.65);
}

TEST(MetricsTest, NothingIsLostBetweenThreads) {
  Histogram histogram(LatencyBounds());
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        histogram.Observe(0.5);
        counter.Add(2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.Cumulative().back(), 40'000u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 20'000);
  EXPECT_EQ(counter.value(), 80'000u);
}

TEST(MetricsTest, TheTextIsPrometheus) {
  Histogram histogram({0.0001, 30});
  histogram.Observe(2);
  MetricsText text;
  text.Family("a_total", "counter", "What\nit is");
  text.Sample(12'345'678, {{"sweep", "a \"b\" \\ \n"}});
  text.Sample(std::nan(""));
  text.Family("b_seconds", "histogram", "Time");
  text.Sample(histogram, {{"kind", "x"}});
  EXPECT_EQ(text.Take(),
            "# HELP a_total What\\nit is\n# TYPE a_total counter\n"
            "a_total{sweep=\"a \\\"b\\\" \\\\ \\n\"} 12345678\na_total NaN\n"
            "# HELP b_seconds Time\n# TYPE b_seconds histogram\n"
            "b_seconds_bucket{kind=\"x\",le=\"0.0001\"} 0\nb_seconds_bucket{kind=\"x\",le=\"30\"} 1\n"
            "b_seconds_bucket{kind=\"x\",le=\"+Inf\"} 1\nb_seconds_sum{kind=\"x\"} 2\nb_seconds_count{kind=\"x\"} 1\n");
}

}  // namespace
}  // namespace capsweep
