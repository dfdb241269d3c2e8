#include "coordinator/store/columns.h"

namespace capsweep::store {
namespace {

template <class T>
void BindField(Statement& statement, int index, const T& value) {
  if constexpr (std::is_enum_v<T>) {
    statement.Bind(index, ToWord(value));
  } else if constexpr (std::is_same_v<T, std::string>) {
    statement.Bind(index, std::string_view(value));
  } else {
    statement.Bind(index, value);
  }
}

template <class T>
bool ReadField(Statement& statement, int column, T& value) {
  if constexpr (std::is_enum_v<T>) {
    return FromWord(statement.Text(column), value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = std::string(statement.Text(column));
  } else if constexpr (std::floating_point<T>) {
    value = statement.Real(column);
  } else {
    value = static_cast<T>(statement.Int(column));
  }
  return true;
}

void Append(std::string& list, std::string_view item) {
  StrAppend(&list, list.empty() ? "" : ", ", item);
}

}  // namespace

std::string SpecColumnList(std::string_view prefix) {
  std::string list;
  PointSpec point;
  VisitFields(point, [&](std::string_view name, auto&) { Append(list, StrCat(prefix, SpecColumn(name))); });
  return list;
}

std::string ResultColumnList() {
  std::string list;
  PointResult result;
  VisitResultFields(result, [&](std::string_view name, auto&) { Append(list, name); });
  return list;
}

int SpecColumnCount() {
  int count = 0;
  PointSpec point;
  VisitFields(point, [&](std::string_view, auto&) { ++count; });
  return count;
}

int ResultColumnCount() {
  int count = 0;
  PointResult result;
  VisitResultFields(result, [&](std::string_view, auto&) { ++count; });
  return count;
}

std::string Parameters(int first, int count) {
  std::string list;
  for (int i = 0; i < count; ++i) {
    Append(list, StrCat("?", first + i));
  }
  return list;
}

void BindSpec(Statement& statement, int first, const PointSpec& point) {
  VisitFields(point, [&](std::string_view, const auto& value) { BindField(statement, first++, value); });
}

void BindResult(Statement& statement, int first, const PointResult& result) {
  VisitResultFields(result, [&](std::string_view, const auto& value) { BindField(statement, first++, value); });
}

absl::Status ReadSpec(Statement& statement, int first, PointSpec& point) {
  absl::Status status;
  VisitFields(point, [&](std::string_view name, auto& value) {
    const int column = first++;
    if (!ReadField(statement, column, value)) {
      status.Update(absl::DataLossError(
          StrCat("column points.", SpecColumn(name), " holds the unknown word '", statement.Text(column), "'")));
    }
  });
  return status;
}

}  // namespace capsweep::store
