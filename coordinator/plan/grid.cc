#include "coordinator/plan/grid.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/plan/point_maker.h"

namespace capsweep::plan {
namespace {

using Verdict = PointMaker::Verdict;

constexpr size_t kMaxShown = 20;

// The different errors of a grid: the first of each kind is shown, all are counted.
class Problems {
 public:
  void Add(const std::string& kind, const std::string& text) {
    if (!kinds_.insert(absl::HashOf(kind)).second) return;
    if (shown_.size() < kMaxShown) shown_.push_back(text);
  }

  absl::Status ToStatus() const {
    if (kinds_.empty()) return absl::OkStatus();
    std::string message = StrJoin(shown_, "\n");
    if (kinds_.size() > shown_.size()) {
      StrAppend(&message, "\nand ", kinds_.size() - shown_.size(), " more");
    }
    return absl::InvalidArgumentError(message);
  }

 private:
  absl::flat_hash_set<size_t> kinds_;  // hashes: a million bad points may be bad in a million ways
  std::vector<std::string> shown_;
};

// Finds points that are the same although their axes differ. Keeps a hash and a number per point, no point.
class Duplicates {
 public:
  explicit Duplicates(PointMaker& again) : again_(again) {}

  // The number of an earlier point equal to this one, or -1.
  int64_t Add(int64_t number, const PointSpec& point) {
    std::string text = CanonicalText(point);
    const auto [entry, is_new] = numbers_.try_emplace(absl::HashOf(text), number);
    if (is_new) return -1;
    again_.MoveTo(entry->second);
    return CanonicalText(again_.point()) == text ? entry->second : -1;
  }

 private:
  PointMaker& again_;  // makes the earlier point once more to compare
  absl::flat_hash_map<size_t, int64_t> numbers_;
};

absl::Status TooLarge(const SweepSpec& sweep, int64_t product) {
  std::string factors;
  const Axis* longest = nullptr;
  for (const Axis& axis : sweep.axes) {
    if (axis.values.size() < 2) continue;
    StrAppend(&factors, factors.empty() ? "" : " x ", axis.field, " ", axis.values.size());
    if (longest == nullptr || axis.values.size() > longest->values.size()) longest = &axis;
  }
  if (sweep.seeds.size() > 1) StrAppend(&factors, factors.empty() ? "" : " x ", "seeds ", sweep.seeds.size());
  const bool saturated = product == std::numeric_limits<int64_t>::max();
  return absl::InvalidArgumentError(StrCat(sweep.file_name, ":", longest == nullptr ? 1 : longest->line, ": ",
                                           longest == nullptr ? std::string("seeds") : longest->field,
                                           ": the grid has ", saturated ? "more than " : "", product, " points (",
                                           factors, "), counted before where; limits.max_points is ",
                                           sweep.limits.max_points, "; shorten an axis or raise limits.max_points"));
}

void AddDuplicate(const SweepSpec& sweep, const PointMaker& maker, int64_t first, int64_t second, Problems& problems) {
  std::string fields, values;
  int line = 0;
  for (const PointMaker::Difference& difference : maker.Differences(first, second)) {
    StrAppend(&fields, fields.empty() ? "" : ", ", difference.field);
    StrAppend(&values, values.empty() ? "" : ", ", difference.field, " ", difference.first, " and ", difference.second);
    if (line == 0) line = difference.line;
  }
  problems.Add(StrCat("same ", fields), StrCat(sweep.file_name, ":", line == 0 ? 1 : line, ": ", fields, ": ", values,
                                               " make the same point, for the difference changes nothing (at ",
                                               maker.Place(), "); keep one value or exclude the others by where"));
}

// Looks at the whole product and reports everything that is wrong with it.
absl::Status CheckGrid(const SweepSpec& sweep, int64_t product, PointMaker& maker) {
  ASSIGN_OR_RETURN(PointMaker again, PointMaker::Create(sweep));
  Problems problems;
  Duplicates duplicates(again);
  int64_t excluded = 0;
  for (int64_t number = 0; number < product; ++number) {
    maker.MoveTo(number);
    if (maker.verdict() == Verdict::kExcluded) {
      ++excluded;
    } else if (maker.verdict() == Verdict::kBad) {
      for (const PointMaker::Problem& problem : maker.Problems()) problems.Add(problem.kind, problem.text);
    } else if (const int64_t earlier = duplicates.Add(number, maker.point()); earlier >= 0) {
      AddDuplicate(sweep, maker, earlier, number, problems);
    }
  }
  if (excluded == product) {
    problems.Add("nothing", StrCat(sweep.file_name, ":", sweep.where_line, ": where: \"", sweep.where,
                                   "\" excludes all ", product, " points; loosen the condition"));
  }
  return problems.ToStatus();
}

int64_t ProductOf(const SweepSpec& sweep) {
  int64_t product = sweep.seeds.empty() ? 1 : static_cast<int64_t>(sweep.seeds.size());
  for (const Axis& axis : sweep.axes) {
    if (!axis.expression.empty()) continue;
    if (__builtin_mul_overflow(product, static_cast<int64_t>(axis.values.size()), &product)) {
      return std::numeric_limits<int64_t>::max();
    }
  }
  return product;
}

absl::Status Check(const SweepSpec& sweep) {
  const int64_t product = ProductOf(sweep);
  if (product > sweep.limits.max_points) {
    return TooLarge(sweep, product);
  }
  ASSIGN_OR_RETURN(PointMaker maker, PointMaker::Create(sweep));
  return CheckGrid(sweep, product, maker);
}

absl::Status CheckStudy(const SweepSpec& study) {
  const absl::Status status = Check(study);
  if (status.ok()) return status;
  std::string message;
  for (const absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    StrAppend(&message, message.empty() ? "" : "\n", line, " (study ", study.name, ")");
  }
  return absl::InvalidArgumentError(message);
}

absl::Status CheckAll(const SweepSpec& sweep) {
  RETURN_IF_ERROR(Check(sweep));
  for (const SweepSpec& study : sweep.studies) RETURN_IF_ERROR(CheckStudy(study));
  if (const int64_t product = CountProduct(sweep); product > sweep.limits.max_points) {
    return absl::InvalidArgumentError(StrCat(sweep.file_name, ":1: studies: the grid and its studies have ", product,
                                             " points together, counted before where; limits.max_points is ",
                                             sweep.limits.max_points, "; shorten an axis or raise limits.max_points"));
  }
  return absl::OkStatus();
}

// Of a grid that was checked.
absl::Status VisitGrid(const SweepSpec& sweep, const std::function<absl::Status(const PointSpec&)>& visit) {
  const int64_t product = ProductOf(sweep);
  ASSIGN_OR_RETURN(PointMaker maker, PointMaker::Create(sweep));
  for (int64_t number = 0; number < product; ++number) {
    maker.MoveTo(number);
    if (maker.verdict() == Verdict::kWanted) {
      RETURN_IF_ERROR(visit(maker.point()));
    }
  }
  return absl::OkStatus();
}

// visit(study, point, is_new) for the base grid (study 0) and then every study; is_new: no grid before had the point.
absl::Status VisitAll(const SweepSpec& sweep,
                      const std::function<absl::Status(size_t, const PointSpec&, bool)>& visit) {
  RETURN_IF_ERROR(CheckAll(sweep));
  absl::flat_hash_set<std::string> seen;
  for (size_t study = 0; study <= sweep.studies.size(); ++study) {
    RETURN_IF_ERROR(
        VisitGrid(study == 0 ? sweep : sweep.studies[study - 1], [&](const PointSpec& point) -> absl::Status {
          return visit(study, point, sweep.studies.empty() || seen.insert(PointKey(point)).second);
        }));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t CountProduct(const SweepSpec& sweep) {
  int64_t sum = ProductOf(sweep);
  for (const SweepSpec& study : sweep.studies) {
    if (__builtin_add_overflow(sum, ProductOf(study), &sum)) return std::numeric_limits<int64_t>::max();
  }
  return sum;
}

absl::Status EnumerateGrid(const SweepSpec& sweep, const std::function<absl::Status(const PointSpec&)>& visit) {
  return VisitAll(sweep, [&visit](size_t, const PointSpec& point, bool is_new) {
    return is_new ? visit(point) : absl::OkStatus();
  });
}

absl::StatusOr<std::vector<StudyCount>> CountStudies(const SweepSpec& sweep) {
  std::vector<StudyCount> counts(1);
  for (const SweepSpec& study : sweep.studies) counts.push_back({study.name});
  RETURN_IF_ERROR(VisitAll(sweep, [&counts](size_t study, const PointSpec&, bool is_new) {
    ++counts[study].points;
    counts[study].added += is_new ? 1 : 0;
    return absl::OkStatus();
  }));
  return counts;
}

absl::StatusOr<std::vector<PointSpec>> EnumerateGrid(const SweepSpec& sweep) {
  std::vector<PointSpec> points;
  RETURN_IF_ERROR(EnumerateGrid(sweep, [&points](const PointSpec& point) {
    points.push_back(point);
    return absl::OkStatus();
  }));
  return points;
}

}  // namespace capsweep::plan
