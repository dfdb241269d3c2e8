#include "ecm/design.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/param_count.h"
#include "ecm/statistics.h"

namespace capsweep::ecm {
namespace {

using Parameters = std::map<std::string, double>;

int64_t KeyInteger(const std::map<std::string, std::string>& group, const std::string& name, int64_t otherwise) {
  const auto it = group.find(name);
  int64_t value = 0;
  return it != group.end() && absl::SimpleAtoi(it->second, &value) && value > 0 ? value : otherwise;
}

DesignRequest Complete(const GroupFit& fit, DesignRequest request) {
  request.vocab = KeyInteger(fit.group, "vocab", request.vocab);
  request.layers = KeyInteger(fit.group, "layers", request.layers);
  request.head_dim = KeyInteger(fit.group, "head_dim", request.head_dim);
  const auto frozen = fit.group.find("freeze_mlp");
  if (frozen != fit.group.end()) request.freeze_mlp = frozen->second == "true" || frozen->second == "1";
  return request;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void Add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  bool Holds(int64_t v) const { return static_cast<double>(v) >= low && static_cast<double>(v) <= high; }
};

class Designer {
 public:
  Designer(const GroupFit& fit, const DesignRequest& request)
      : fit_(fit), request_(request), best_(fit.forms.at(fit.best).parameters), draws_(fit.draws) {
    const auto& unknown = fit.forms.at(fit.best).not_identified;
    // A bound that the data do not identify must not limit a design, nor promise one.
    if (std::find(unknown.begin(), unknown.end(), "beta") != unknown.end() && !std::isnan(FirstOf(best_))) {
      DropBound(best_);
      for (Parameters& draw : draws_) DropBound(draw);
    }
    for (const PredictedRow& point : fit.points) {
      if (!point.used) continue;
      heads_.Add(point.row.heads);
      width_.Add(point.row.width);
      seq_len_.Add(point.row.seq_len);
    }
  }

  double Capacity(int64_t heads, int64_t width) const { return At(best_, heads, width); }

  // Lower 5 % quantile over the draws; the point estimate without draws.
  double CapacityLow(int64_t heads, int64_t width) const {
    std::vector<double> sample;
    for (const Parameters& draw : draws_) sample.push_back(At(draw, heads, width));
    const double estimate = Capacity(heads, width);
    return sample.empty() ? estimate : std::min(estimate, Quantile(std::move(sample), 0.05));
  }

  int64_t LargestWidth(int64_t heads) const { return request_.max_width / Step(heads) * Step(heads); }

  // The smallest width at which `capacity` (which never falls with width) reaches the target.
  template <class F>
  std::optional<int64_t> SmallestWidth(int64_t heads, F capacity) const {
    const double enough = request_.target * (1 - 1e-12);
    int64_t low = 0, high = request_.max_width / Step(heads);
    if (high == 0 || !(capacity(heads, high * Step(heads)) >= enough)) return std::nullopt;
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (capacity(heads, middle * Step(heads)) >= enough ? high : low) = middle;
    }
    return high * Step(heads);
  }

  Candidate Make(int64_t heads, int64_t width) const {
    PointSpec point;
    point.vocab = request_.vocab;
    point.seq_len = request_.seq_len;
    point.layers = request_.layers;
    point.heads = heads;
    point.head_dim = request_.split_heads ? width / heads : request_.head_dim;
    point.width = width;
    point.freeze_mlp = request_.freeze_mlp;
    const ParamCount params = CountParams(point);
    Candidate candidate{.heads = heads, .width = width, .params = params.total, .params_train = params.train};
    candidate.capacity = Capacity(heads, width);
    candidate.capacity_low = CapacityLow(heads, width);
    candidate.memory_per_param = candidate.capacity / static_cast<double>(params.total);
    candidate.safe = !draws_.empty() && candidate.capacity_low >= request_.target * (1 - 1e-12);
    candidate.extrapolated = !heads_.Holds(heads) || !width_.Holds(width) || !seq_len_.Holds(request_.seq_len);
    return candidate;
  }

 private:
  int64_t Step(int64_t heads) const { return request_.split_heads ? heads : 1; }

  double FirstOf(const Parameters& parameters) const {
    const auto it = parameters.find(fit_.best == "minlin" ? "k" : "a");
    return it == parameters.end() ? std::numeric_limits<double>::quiet_NaN() : it->second;
  }
  static void DropBound(Parameters& parameters) {
    parameters["alpha"] = parameters["beta"] = std::numeric_limits<double>::quiet_NaN();
  }
  double At(const Parameters& parameters, int64_t heads, int64_t width) const {
    return Predict(fit_.best, parameters, static_cast<double>(heads), static_cast<double>(width),
                   static_cast<double>(request_.seq_len));
  }

  const GroupFit& fit_;
  const DesignRequest request_;
  Parameters best_;
  std::vector<Parameters> draws_;
  Range heads_, width_, seq_len_;
};

absl::Status CheckRequest(const GroupFit& fit, const DesignRequest& request) {
  if (!fit.error.empty()) return absl::FailedPreconditionError(absl::StrCat("no design without a fit: ", fit.error));
  if (fit.forms.find(fit.best) == fit.forms.end()) {
    return absl::FailedPreconditionError("no design without a fit: the fit names no best form");
  }
  if (!(request.target > 0) || !std::isfinite(request.target)) {
    return absl::InvalidArgumentError(absl::StrCat("target: ", request.target, " must be a number above 0"));
  }
  const std::pair<const char*, int64_t> positive[] = {
      {"seq-len", request.seq_len}, {"max-heads", request.max_heads}, {"max-width", request.max_width},
      {"vocab", request.vocab},     {"layers", request.layers},       {"head-dim", request.head_dim}};
  for (const auto& [name, value] : positive) {
    if (value < 1 || value > 1'000'000) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", value, " must be between 1 and 1000000"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Candidate>> Design(const GroupFit& fit, const DesignRequest& asked) {
  const DesignRequest request = Complete(fit, asked);
  if (const absl::Status status = CheckRequest(fit, request); !status.ok()) return status;
  const Designer designer(fit, request);
  std::vector<Candidate> candidates;
  double largest = 0;
  int64_t largest_heads = 0, largest_width = 0;
  for (int64_t heads = 1; heads <= request.max_heads; ++heads) {
    auto estimate = [&](int64_t h, int64_t w) { return designer.Capacity(h, w); };
    auto low = [&](int64_t h, int64_t w) { return designer.CapacityLow(h, w); };
    const std::optional<int64_t> width = designer.SmallestWidth(heads, estimate);
    const int64_t widest = designer.LargestWidth(heads);
    if (widest > 0 && designer.Capacity(heads, widest) > largest) {
      largest = designer.Capacity(heads, widest);
      largest_heads = heads;
      largest_width = widest;
    }
    if (!width) continue;
    candidates.push_back(designer.Make(heads, *width));
    const std::optional<int64_t> safe_width = fit.draws.empty() ? std::nullopt : designer.SmallestWidth(heads, low);
    if (safe_width && *safe_width != *width) candidates.push_back(designer.Make(heads, *safe_width));
  }
  if (candidates.empty()) {
    return absl::OutOfRangeError(absl::StrFormat(
        "target: %.6g items at seq_len %d cannot be reached; the largest attainable capacity is %.6g (heads %d, width "
        "%d). Lower --target or raise --max-heads or --max-width",
        request.target, request.seq_len, largest, largest_heads, largest_width));
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& x, const Candidate& y) {
    return std::tuple(x.params, x.heads, x.width) < std::tuple(y.params, y.heads, y.width);
  });
  return candidates;
}

std::string DesignToJson(const std::vector<Candidate>& candidates) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Candidate& c : candidates) {
    list.push_back({{"heads", c.heads},
                    {"width", c.width},
                    {"params", c.params},
                    {"params_train", c.params_train},
                    {"capacity", c.capacity},
                    {"capacity_low", c.capacity_low},
                    {"memory_per_param", c.memory_per_param},
                    {"safe", c.safe},
                    {"extrapolated", c.extrapolated}});
  }
  return list.dump(2) + "\n";
}

}  // namespace capsweep::ecm
