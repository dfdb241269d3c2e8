// Makes the points of a sweep's product of axes and seeds, by number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/sweep/formulas.h"
#include "common/sweep/spec.h"

namespace capsweep::plan {

// Not thread-safe. The sweep must outlive it.
class PointMaker {
 public:
  // InvalidArgument if the spec breaks the invariant of SweepSpec (unknown fields, expressions that do not compile).
  static absl::StatusOr<PointMaker> Create(const SweepSpec& spec);

  // Makes the point with this number in [0, CountProduct). Cheap when numbers rise by one: only what depends on the
  // axes that moved is worked out again.
  void MoveTo(int64_t number);

  // Sets a field that the file leaves out, for the points moved to from now on: expressions that use it follow.
  // Precondition: the field is no axis of the sweep, and `value` has its type.
  void Fix(int field, const Scalar& value);

  enum class Verdict { kWanted, kExcluded, kBad };

  // Of the point moved to last: excluded by `where`, or bad (an expression whose value is not a finite number in the
  // range of its field, `split` heads that do not divide the width, a broken rule of ValidatePoint).
  Verdict verdict() const { return verdict_; }

  // Valid by ValidatePoint if kWanted; else only as far as it could be worked out.
  const PointSpec& point() const { return point_; }

  // What is wrong with a bad point. Points that are bad in the same way have the same `kind`.
  struct Problem {
    std::string kind;
    std::string text;  // "FILE:LINE: FIELD: what is wrong, where; fix"
  };
  std::vector<Problem> Problems() const;

  // The axes, and "seeds", in which two points of the product differ, with both values.
  struct Difference {
    std::string field;
    int line = 0;  // 0 for the seeds
    std::string first, second;
  };
  std::vector<Difference> Differences(int64_t first, int64_t second) const;

  // "heads=2, width=8": the point moved to last by the axes that have several values.
  std::string Place() const { return Circumstances({}); }

 private:
  explicit PointMaker(const SweepSpec& spec) : spec_(&spec) {}

  // A part of the product with several values: an axis or, if axis is null, the seeds.
  struct Digit {
    const Axis* axis = nullptr;
    int64_t size = 1;
    int64_t at = -1;  // index of the value set; -1 before the first point
  };

  void AddAxis(const Axis& axis);
  void FindDependencies();
  std::vector<int64_t> DigitsOf(int64_t number) const;
  void SetDigit(const Digit& digit);
  void SetSeed(uint64_t seed);
  void SetValue(int field, const Scalar& value);
  bool RunStep(const sweep::Step& step);
  bool RunSplit();
  bool RunDerived(const sweep::Step& step);
  bool RunExpression(const sweep::Step& step);
  void Judge();
  bool IsFinite(const std::vector<int>& variables) const;
  Problem StepProblem(const sweep::Step& step) const;
  Problem WhereProblem() const;
  int LineOf(std::string_view field) const;
  std::string ValueText(int variable) const;
  std::string Circumstances(const std::vector<int>& first) const;

  const SweepSpec* spec_;
  sweep::Formulas formulas_;
  std::vector<Digit> digits_;                           // the last moves fastest
  std::vector<uint64_t> step_digits_;                   // per step, bit d: its result depends on digit d
  bool seeds_set_data_ = true, seeds_set_init_ = true;  // the file leaves data_seed, init_seed to the seeds
  bool splits_ = false;                                 // head_dim is width / heads at the current point

  PointSpec point_;
  const SweepDataFile* data_file_ = nullptr;  // of point_.file
  std::vector<double> values_;                // by variable; of a failed step its raw result
  std::vector<char> step_ok_;
  bool started_ = false;
  Verdict verdict_ = Verdict::kBad;
  const sweep::Step* failed_step_ = nullptr;  // the first
  absl::Status rules_;                        // ValidatePoint, if no step failed
};

}  // namespace capsweep::plan
