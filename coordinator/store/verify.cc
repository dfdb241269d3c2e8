#include "coordinator/store/verify.h"

#include <type_traits>

#include "common/point.h"
#include "common/result.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/columns.h"

namespace capsweep::store {
namespace {

PointResult ReadResultRow(Statement& row, int first) {
  PointResult result;
  VisitResultFields(result, [&](std::string_view, auto& value) {
    using T = std::remove_reference_t<decltype(value)>;
    const int column = first++;
    if constexpr (std::is_same_v<T, std::string>) {
      value = std::string(row.Text(column));
    } else if constexpr (std::is_floating_point_v<T>) {
      value = row.IsNull(column) ? kNotMeasured : row.Real(column);
    } else {
      value = static_cast<T>(row.Int(column));
    }
  });
  return result;
}

std::string ResultColumns(std::string_view prefix) {
  std::string list;
  PointResult result;
  VisitResultFields(result, [&](std::string_view name, auto&) { StrAppend(&list, ", ", prefix, name); });
  return list;
}

}  // namespace

absl::Status VisitBrokenPoints(Database& db, const VisitBroken& visit) {
  ASSIGN_OR_RETURN(Statement rows,
                   db.Prepare(StrCat("SELECT point_id, point_key, ", SpecColumnList(), " FROM points")));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return absl::OkStatus();
    }
    PointSpec point;
    if (const absl::Status read = ReadSpec(rows, 2, point); !read.ok()) {
      visit(rows.Int(0), std::string(read.message()));
    } else if (PointKey(point) != rows.Text(1)) {
      visit(rows.Int(0), StrCat("its key ", rows.Text(1), " is not the hash of its fields"));
    }
  }
}

absl::Status VisitBrokenResults(Database& db, const VisitBroken& visit) {
  ASSIGN_OR_RETURN(Statement rows, db.Prepare(StrCat("SELECT r.point_id, ", SpecColumnList("p."), ResultColumns("r."),
                                                     " FROM results r JOIN points p USING (point_id)")));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return absl::OkStatus();
    }
    PointSpec point;
    if (!ReadSpec(rows, 1, point).ok()) {
      continue;  // the point is reported already
    }
    const PointResult result = ReadResultRow(rows, 1 + SpecColumnCount());
    if (const absl::Status valid = ValidateResult(point, result); !valid.ok()) {
      visit(rows.Int(0), std::string(valid.message()));
    }
  }
}

}  // namespace capsweep::store
