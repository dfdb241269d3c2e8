#include "coordinator/plan/point_maker.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/param_count.h"
#include "common/status.h"
#include "common/sweep/data_files.h"
#include "common/sweep/errors.h"
#include "common/sweep/fields.h"
#include "common/text.h"

namespace capsweep::plan {
namespace {

using sweep::Field;
using sweep::FieldKind;
using sweep::Fields;

const int kHeads = sweep::FieldId("heads");
const int kWidth = sweep::FieldId("width");
const int kHeadDim = sweep::FieldId("head_dim");
const int kFile = sweep::FieldId("file");
const int kDataSeed = sweep::FieldId("data_seed");
const int kInitSeed = sweep::FieldId("init_seed");

// Nearest whole number, halves up. The slack makes a value that is a half but for the last bits of some library's log2
// or exp round the same way everywhere. Beyond 2^52 all numbers are whole.
double RoundToWhole(double value) {
  const double slack = std::min(std::fabs(value) * 1e-12, 1e-3);
  return std::fabs(value) < 4503599627370496.0 ? std::floor(value + 0.5 + slack) : value;
}

// Not "-nan", which means nothing to a user.
std::string NumberText(double value) {
  return std::isnan(value) ? "nan" : StrCat(value);
}

bool IsSplit(const Scalar& value) {
  const auto* word = std::get_if<std::string>(&value);
  return word != nullptr && *word == sweep::kSplit;
}

// The result of an expression as a value of the field, or what is wrong with it.
absl::StatusOr<Scalar> ToField(int id, double value) {
  if (!std::isfinite(value)) {
    return absl::InvalidArgumentError("it must be a finite number");
  }
  Scalar scalar;
  switch (Fields()[id].kind) {
    case FieldKind::kBool:
      if (value != 0 && value != 1) return absl::InvalidArgumentError("it must be 0 (false) or 1 (true)");
      return Scalar(value == 1);
    case FieldKind::kReal:
      scalar = sweep::RoundTo12Digits(value);
      break;
    case FieldKind::kInteger:
      if (std::fabs(value) > 9007199254740992.0) {
        return absl::InvalidArgumentError("it is out of range, larger than any count of this kind");
      }
      scalar = static_cast<int64_t>(RoundToWhole(value));
      break;
    case FieldKind::kWord:
    case FieldKind::kText:
      return absl::InvalidArgumentError("it must be a word");
  }
  RETURN_IF_ERROR(sweep::CheckRange(id, scalar));
  return scalar;
}

}  // namespace

absl::StatusOr<PointMaker> PointMaker::Create(const SweepSpec& spec) {
  sweep::Errors errors(spec.file_name);
  PointMaker maker(spec);
  maker.formulas_ = sweep::CompileFormulas(spec, errors);
  RETURN_IF_ERROR(errors.ToStatus());
  for (int id = 0; id < sweep::VariableCount(); ++id) {
    maker.values_.push_back(id < static_cast<int>(Fields().size()) ? sweep::FieldNumber(maker.point_, id) : 0);
  }
  for (const Axis& axis : spec.axes) {
    if (axis.expression.empty() && axis.values.empty()) {
      return absl::InvalidArgumentError(StrCat(spec.file_name, ":", axis.line, ": ", axis.field, ": has no values"));
    }
    maker.AddAxis(axis);
  }
  if (!spec.seeds.empty()) {
    maker.digits_.push_back({nullptr, static_cast<int64_t>(spec.seeds.size())});
  }
  maker.FindDependencies();
  return maker;
}

void PointMaker::AddAxis(const Axis& axis) {
  const int id = sweep::FieldId(axis.field);
  if (id == kDataSeed) seeds_set_data_ = false;
  if (id == kInitSeed) seeds_set_init_ = false;
  if (axis.values.size() == 1) {
    SetValue(id, axis.values[0]);
  } else if (axis.values.size() > 1) {
    digits_.push_back({&axis, static_cast<int64_t>(axis.values.size())});
  }
}

void PointMaker::FindDependencies() {
  std::vector<uint64_t> masks(sweep::VariableCount(), 0);
  for (size_t d = 0; d < digits_.size(); ++d) {
    const uint64_t bit = uint64_t{1} << d;
    if (digits_[d].axis != nullptr) {
      masks[sweep::FieldId(digits_[d].axis->field)] |= bit;
    } else {
      if (seeds_set_data_) masks[kDataSeed] |= bit;
      if (seeds_set_init_) masks[kInitSeed] |= bit;
    }
  }
  for (const sweep::Step& step : formulas_.steps) {
    for (const int need : step.needs) masks[step.id] |= masks[need];
    step_digits_.push_back(masks[step.id]);
  }
  step_ok_.assign(formulas_.steps.size(), 0);
}

std::vector<int64_t> PointMaker::DigitsOf(int64_t number) const {
  std::vector<int64_t> at(digits_.size());
  for (size_t d = digits_.size(); d-- > 0;) {
    at[d] = number % digits_[d].size;
    number /= digits_[d].size;
  }
  return at;
}

void PointMaker::MoveTo(int64_t number) {
  uint64_t moved = started_ ? 0 : ~uint64_t{0};
  for (size_t d = digits_.size(); d-- > 0;) {
    const int64_t at = number % digits_[d].size;
    number /= digits_[d].size;
    if (digits_[d].at != at) {
      digits_[d].at = at;
      SetDigit(digits_[d]);
      moved |= uint64_t{1} << d;
    }
  }
  failed_step_ = nullptr;
  for (size_t s = 0; s < formulas_.steps.size(); ++s) {
    if (!started_ || (step_digits_[s] & moved) != 0) {
      step_ok_[s] = RunStep(formulas_.steps[s]);
    }
    if (!step_ok_[s] && failed_step_ == nullptr) failed_step_ = &formulas_.steps[s];
  }
  started_ = true;
  Judge();
}

void PointMaker::Fix(int field, const Scalar& value) {
  SetValue(field, value);
  started_ = false;  // which steps use it is not kept: all are worked out again
}

void PointMaker::SetDigit(const Digit& digit) {
  if (digit.axis == nullptr) {
    SetSeed(spec_->seeds[digit.at]);
  } else {
    SetValue(sweep::FieldId(digit.axis->field), digit.axis->values[digit.at]);
  }
}

void PointMaker::SetSeed(uint64_t seed) {
  if (seeds_set_data_) {
    point_.data_seed = seed;
    values_[kDataSeed] = static_cast<double>(seed);
  }
  if (seeds_set_init_) {
    point_.init_seed = seed;
    values_[kInitSeed] = static_cast<double>(seed);
  }
}

void PointMaker::SetValue(int field, const Scalar& value) {
  if (field == kHeadDim) {
    splits_ = IsSplit(value);
    if (splits_) return;  // a step sets it
  }
  if (field == kFile) {
    const auto found = spec_->data_files.find(std::get<std::string>(value));
    data_file_ = found == spec_->data_files.end() ? nullptr : &found->second;
    point_.file = data_file_ == nullptr ? std::get<std::string>(value) : data_file_->path;
    point_.file_hash = data_file_ == nullptr ? "" : data_file_->file->sha256;
    return;
  }
  sweep::SetField(point_, field, value);
  values_[field] = sweep::FieldNumber(point_, field);
}

bool PointMaker::RunStep(const sweep::Step& step) {
  if (step.expression.has_value()) return RunExpression(step);
  return step.id == kHeadDim ? RunSplit() : RunDerived(step);
}

bool PointMaker::RunSplit() {
  if (!splits_) return true;
  values_[kHeadDim] = values_[kWidth] / values_[kHeads];
  const bool divides = values_[kHeadDim] == std::floor(values_[kHeadDim]);
  if (divides) point_.head_dim = static_cast<int64_t>(values_[kHeadDim]);
  return divides;
}

bool PointMaker::RunDerived(const sweep::Step& step) {
  // Counting with sizes out of range could overflow, so a failed step before this one leaves the count unknown.
  for (size_t s = 0; s < formulas_.steps.size() && &formulas_.steps[s] != &step; ++s) {
    if (!step_ok_[s]) {
      values_[step.id] = std::numeric_limits<double>::quiet_NaN();
      return false;
    }
  }
  const int64_t value = step.id == sweep::TargetsId()       ? MaxTargets(point_)
                        : step.id == sweep::ParamsTotalId() ? CountParams(point_).total
                                                            : CountParams(point_).train;
  values_[step.id] = static_cast<double>(value);
  return true;
}

bool PointMaker::RunExpression(const sweep::Step& step) {
  const double raw = step.expression->Evaluate(values_);
  const absl::StatusOr<Scalar> value = ToField(step.id, raw);
  if (!value.ok()) {
    values_[step.id] = raw;
    return false;
  }
  SetValue(step.id, *value);
  return true;
}

void PointMaker::Judge() {
  rules_ = absl::OkStatus();
  if (formulas_.where.has_value()) {
    const bool known = IsFinite(formulas_.where->variables());
    const double lets_through = known ? formulas_.where->Evaluate(values_) : std::nan("");
    if (lets_through == 0) {
      verdict_ = Verdict::kExcluded;
      return;
    }
    if (!std::isfinite(lets_through)) {
      verdict_ = Verdict::kBad;
      return;
    }
  }
  if (failed_step_ == nullptr) rules_ = ValidatePoint(point_);
  if (data_file_ != nullptr && rules_.ok()) rules_ = sweep::CheckDataFile(*data_file_, point_);
  verdict_ = failed_step_ == nullptr && rules_.ok() ? Verdict::kWanted : Verdict::kBad;
}

bool PointMaker::IsFinite(const std::vector<int>& variables) const {
  return std::all_of(variables.begin(), variables.end(), [this](int id) { return std::isfinite(values_[id]); });
}

std::vector<PointMaker::Problem> PointMaker::Problems() const {
  if (verdict_ != Verdict::kBad) return {};
  if (failed_step_ != nullptr) return {StepProblem(*failed_step_)};
  if (rules_.ok()) return {WhereProblem()};
  std::vector<Problem> problems;
  std::string text(rules_.message());
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string rule = text.substr(start, end - start);  // "FIELD: what; fix"
    const int line = LineOf(rule.substr(0, rule.find(':')));
    problems.push_back({rule, StrCat(spec_->file_name, ":", line, ": ", rule, " (at ", Place(), ")")});
    start = end + 1;
  }
  return problems;
}

PointMaker::Problem PointMaker::StepProblem(const sweep::Step& step) const {
  const std::string head = StrCat(spec_->file_name, ":", step.line, ": ", sweep::VariableName(step.id), ": ");
  if (!step.expression.has_value()) {
    return {"split", StrCat(head, "split cannot share width=", ValueText(kWidth), " among heads=", ValueText(kHeads),
                            "; use widths that all heads divide, a number, or exclude these by where: \"width % heads "
                            "== 0\" (at ",
                            Place(), ")")};
  }
  const absl::Status failure = ToField(step.id, values_[step.id]).status();
  return {StrCat("step ", step.id), StrCat(head, sweep::Show("=" + step.text), " gives ", NumberText(values_[step.id]),
                                           " at ", Circumstances(step.needs), ": ", failure.message(),
                                           "; change the expression or exclude these points by where")};
}

PointMaker::Problem PointMaker::WhereProblem() const {
  return {"where", StrCat(spec_->file_name, ":", spec_->where_line, ": where: ", sweep::Show(spec_->where),
                          " is neither true nor false but not a finite number at ",
                          Circumstances(formulas_.where->variables()), "; mend the condition")};
}

int PointMaker::LineOf(std::string_view field) const {
  for (const Axis& axis : spec_->axes) {
    if (axis.field == field) return axis.line;
  }
  return 1;  // a default that does not fit the rest of the file
}

std::string PointMaker::ValueText(int variable) const {
  if (variable >= static_cast<int>(Fields().size())) return NumberText(values_[variable]);
  const Field& field = Fields()[variable];
  if (field.kind == FieldKind::kBool) return values_[variable] == 1 ? "true" : "false";
  if (field.kind == FieldKind::kText) return field.name == "file" ? point_.file : point_.file_hash;
  if (field.kind != FieldKind::kWord) return NumberText(values_[variable]);
  const auto index = static_cast<size_t>(values_[variable] + 1);  // an absent back end is -1
  return index == 0 ? "none" : std::string(field.words[index - 1]);
}

std::string PointMaker::Circumstances(const std::vector<int>& first) const {
  std::vector<int> shown = first;
  for (const Digit& digit : digits_) {
    const int id = digit.axis == nullptr ? -1 : sweep::FieldId(digit.axis->field);
    if (id >= 0 && std::find(shown.begin(), shown.end(), id) == shown.end()) shown.push_back(id);
  }
  std::string text;
  for (const int id : shown) {
    StrAppend(&text, text.empty() ? "" : ", ", sweep::VariableName(id), "=", ValueText(id));
  }
  return text.empty() ? "every point" : text;
}

std::vector<PointMaker::Difference> PointMaker::Differences(int64_t first, int64_t second) const {
  const std::vector<int64_t> a = DigitsOf(first), b = DigitsOf(second);
  std::vector<Difference> differences;
  for (size_t d = 0; d < digits_.size(); ++d) {
    if (a[d] == b[d]) continue;
    if (const Axis* axis = digits_[d].axis; axis != nullptr) {
      differences.push_back(
          {axis->field, axis->line, sweep::ScalarText(axis->values[a[d]]), sweep::ScalarText(axis->values[b[d]])});
    } else {
      differences.push_back({"seeds", 0, StrCat(spec_->seeds[a[d]]), StrCat(spec_->seeds[b[d]])});
    }
  }
  return differences;
}

}  // namespace capsweep::plan
