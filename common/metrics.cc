#include "common/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/text.h"

namespace capsweep {
namespace {

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  // "0.0001" rather than "1e-04": bounds are also read by people, and asked for by name.
  char text[400];
  const auto fixed = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
  return std::string(text, fixed.ptr);
}

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out.push_back('\\');
    if (c == '\n') {
      out += "\\n";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1)) {}

void Histogram::Observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  double sum = sum_.load(std::memory_order_relaxed);
  while (!sum_.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
  }
}

std::vector<uint64_t> Histogram::Cumulative() const {
  std::vector<uint64_t> counts(bounds_.size() + 1);
  uint64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    total += counts_[i].load(std::memory_order_relaxed);
    counts[i] = total;
  }
  return counts;
}

std::vector<double> LatencyBounds() {
  return {1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
}

void MetricsText::Family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = std::string(name);
  StrAppend(&text_, "# HELP ", name, " ", Escaped(help), "\n# TYPE ", name, " ", type, "\n");
}

void MetricsText::Line(std::string_view suffix, const Labels& labels, double value) {
  StrAppend(&text_, name_, suffix);
  for (size_t i = 0; i < labels.size(); ++i) {
    StrAppend(&text_, i == 0 ? "{" : ",", labels[i].first, "=\"", Escaped(labels[i].second), "\"");
  }
  StrAppend(&text_, labels.empty() ? " " : "} ", Number(value), "\n");
}

void MetricsText::Sample(double value, const Labels& labels) {
  Line("", labels, value);
}

void MetricsText::Sample(const Histogram& histogram, const Labels& labels) {
  const std::vector<uint64_t> counts = histogram.Cumulative();
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  for (size_t i = 0; i < counts.size(); ++i) {
    with_bound.back().second = i < histogram.bounds().size() ? Number(histogram.bounds()[i]) : "+Inf";
    Line("_bucket", with_bound, static_cast<double>(counts[i]));
  }
  Line("_sum", labels, histogram.sum());
  Line("_count", labels, static_cast<double>(counts.back()));
}

}  // namespace capsweep
