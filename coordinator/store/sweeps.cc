#include "coordinator/store/sweeps.h"

#include <optional>
#include <unordered_set>
#include <utility>

#include "common/cost_model.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/point_adder.h"
#include "coordinator/store/shapes.h"

namespace capsweep::store {
namespace {

struct KnownSweep {
  int64_t id = 0;
  core::SweepState state = core::SweepState::kRunning;
  int32_t priority = 0;
  SweepLimits limits;
  std::string text, measure;
};

absl::StatusOr<std::optional<KnownSweep>> Find(Database& db, const std::string& name) {
  ASSIGN_OR_RETURN(Statement find, db.Prepare("SELECT sweep_id, state, priority, max_failures, attempts, text, measure "
                                              "FROM sweeps WHERE name = ?1"));
  find.Bind(1, name);
  ASSIGN_OR_RETURN(const bool found, find.Step());
  if (!found) {
    return std::optional<KnownSweep>();
  }
  KnownSweep known;
  known.id = find.Int(0);
  if (!core::FromWord(find.Text(1), known.state)) {
    return absl::DataLossError(StrCat("sweep ", name, " has the unknown state '", find.Text(1), "'"));
  }
  known.priority = static_cast<int32_t>(find.Int(2));
  known.limits.max_failures = find.Int(3);
  known.limits.attempts = find.Int(4);
  known.text = std::string(find.Text(5));
  known.measure = std::string(find.Text(6));
  return std::optional<KnownSweep>(std::move(known));
}

core::SweepRow RowOf(const KnownSweep& known, const std::string& name) {
  return {SweepId(known.id),
          name,
          known.state,
          known.priority,
          known.limits.max_failures,
          known.limits.attempts,
          MeasureSearches(known.measure)};
}

absl::StatusOr<int64_t> CountPoints(Database& db, int64_t sweep) {
  return db.QueryInt(StrCat("SELECT COUNT(*) FROM sweep_points WHERE sweep_id = ", sweep));
}

absl::StatusOr<int64_t> CountDone(Database& db, int64_t sweep) {
  return db.QueryInt(StrCat("SELECT COUNT(*) FROM sweep_points sp JOIN points p USING (point_id) WHERE sp.sweep_id = ",
                            sweep, " AND p.state = 'done'"));
}

// Whether the stream yields exactly the points the sweep has: then two texts mean the same.
absl::StatusOr<bool> SamePoints(Database& db, int64_t sweep, const SubmitRequest& request) {
  constexpr int64_t kBetweenPauses = 256;
  ASSIGN_OR_RETURN(Statement find, db.Prepare("SELECT 1 FROM points p JOIN sweep_points sp USING (point_id) "
                                              "WHERE p.point_key = ?1 AND sp.sweep_id = ?2"));
  int64_t seen = 0, missing = 0;
  RETURN_IF_ERROR(request.points([&](const PointSpec& point) -> absl::Status {
    const std::string key = PointKey(point);
    find.Bind(1, key).Bind(2, sweep);
    ASSIGN_OR_RETURN(const bool found, find.Step());
    find.Reset();
    ++(found ? seen : missing);
    return (seen + missing) % kBetweenPauses == 0 ? request.give_way() : absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const int64_t stored, CountPoints(db, sweep));
  return missing == 0 && seen == stored;
}

absl::StatusOr<KnownSweep> InsertSweep(Database& db, const SubmitRequest& request, int64_t id) {
  const SweepSpec& sweep = request.sweep;
  ASSIGN_OR_RETURN(
      Statement insert,
      db.Prepare(
          "INSERT INTO sweeps (sweep_id, name, state, priority, max_failures, attempts, measure, text, file_name, "
          "folder, created_ms, changed_ms) VALUES (?10, ?1, 'running', ?2, ?3, ?4, ?5, ?6, ?7, ?9, ?8, ?8)"));
  insert.Bind(1, sweep.name).Bind(2, request.priority).Bind(3, sweep.limits.max_failures);
  insert.Bind(4, sweep.limits.attempts).Bind(5, sweep.measure).Bind(6, sweep.text).Bind(7, sweep.file_name);
  RETURN_IF_ERROR(insert.Bind(8, request.now_ms).Bind(9, sweep.folder).Bind(10, id).Run());
  return KnownSweep{id, core::SweepState::kRunning, request.priority, sweep.limits, sweep.text, sweep.measure};
}

absl::Status UpdateSweep(Database& db, const SubmitRequest& request, const KnownSweep& known) {
  const SweepSpec& sweep = request.sweep;
  ASSIGN_OR_RETURN(Statement update,
                   db.Prepare("UPDATE sweeps SET state = ?2, priority = ?3, max_failures = ?4, attempts = ?5, "
                              "text = ?6, file_name = ?7, changed_ms = ?8, measure = ?9, folder = ?10, "
                              "reason = CASE WHEN state = ?2 THEN reason ELSE '' END WHERE sweep_id = ?1"));
  update.Bind(1, known.id).Bind(2, core::ToWord(known.state)).Bind(3, known.priority);
  update.Bind(4, sweep.limits.max_failures).Bind(5, sweep.limits.attempts).Bind(6, sweep.text);
  return update.Bind(7, sweep.file_name).Bind(8, request.now_ms).Bind(9, sweep.measure).Bind(10, sweep.folder).Run();
}

// The sweep as it stands, for a submission that changes nothing. Points the stream would yield count as known.
absl::StatusOr<StoredSweep> Unchanged(Database& db, const KnownSweep& known, const std::string& name) {
  StoredSweep out;
  out.event.sweep = RowOf(known, name);
  ASSIGN_OR_RETURN(out.points, CountPoints(db, known.id));
  ASSIGN_OR_RETURN(out.done_points, CountDone(db, known.id));
  out.known_points = out.points;
  return out;
}

bool SameLimits(const SweepLimits& a, const SweepLimits& b) {
  return a.max_failures == b.max_failures && a.attempts == b.attempts;
}

// What a submission without `extend` of a name that exists means: nothing to do, or an error.
absl::StatusOr<StoredSweep> Resubmit(Database& db, const KnownSweep& known, const SubmitRequest& request) {
  const SweepSpec& sweep = request.sweep;
  bool same = known.text == sweep.text;
  // The first points of a search do not tell where it goes: there only the text counts.
  if (!same && SameLimits(known.limits, sweep.limits) && !MeasureSearches(sweep.measure) &&
      known.measure == sweep.measure) {
    ASSIGN_OR_RETURN(same, SamePoints(db, known.id, request));
  }
  if (!same) {
    return absl::AlreadyExistsError(
        StrCat("a sweep named ", sweep.name,
               " exists with other points or limits; add the points it lacks with `capsweep extend ", sweep.name, " ",
               sweep.file_name.empty() ? "SPEC" : sweep.file_name, "`, or give this one another name"));
  }
  return Unchanged(db, known, sweep.name);
}

}  // namespace

absl::StatusOr<std::string> NameSweeps(Database& db) {
  ASSIGN_OR_RETURN(Statement list, db.Prepare("SELECT name FROM sweeps ORDER BY sweep_id DESC LIMIT 20"));
  std::vector<std::string> names;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) {
      break;
    }
    names.emplace_back(list.Text(0));
  }
  return names.empty() ? std::string("; there is no sweep yet")
                       : StrCat("; the sweeps there are: ", StrJoin(names, ", "));
}

namespace {

// The sweep that may be extended, as it is now: it may have changed whenever others could write.
absl::StatusOr<KnownSweep> FindToExtend(Database& db, const std::string& name) {
  ASSIGN_OR_RETURN(std::optional<KnownSweep> known, Find(db, name));
  if (!known.has_value()) {
    ASSIGN_OR_RETURN(const std::string names, NameSweeps(db));
    return absl::NotFoundError(StrCat("there is no sweep named ", name, " to extend", names));
  }
  if (known->state == core::SweepState::kCancelled) {
    return absl::FailedPreconditionError(
        StrCat("sweep ", name, " is cancelled and cannot be extended; submit the file under another name"));
  }
  return *std::move(known);
}

// The last transaction of a submission: what makes a sweep of points that are there.
absl::StatusOr<KnownSweep> Conclude(Database& db, const SubmitRequest& request, int64_t sweep, PointAdder& adder) {
  if (!request.extend) {
    ASSIGN_OR_RETURN(KnownSweep made, InsertSweep(db, request, sweep));
    RETURN_IF_ERROR(adder.Link());
    return made;
  }
  ASSIGN_OR_RETURN(KnownSweep known, FindToExtend(db, request.sweep.name));
  RETURN_IF_ERROR(adder.Link());
  known.limits = request.sweep.limits;
  known.measure = request.sweep.measure;
  if (known.state == core::SweepState::kFinished && adder.open_points() > 0) {
    known.state = core::SweepState::kRunning;
  }
  RETURN_IF_ERROR(UpdateSweep(db, request, known));
  return known;
}

}  // namespace

absl::StatusOr<StoredSweep> AddSweepRows(Database& db, const SubmitRequest& request, ShapeNumbers& shapes) {
  const SweepSpec& sweep = request.sweep;
  StoredSweep out;
  out.created = !request.extend;
  int64_t id = 0;
  if (request.extend) {
    ASSIGN_OR_RETURN(const KnownSweep known, FindToExtend(db, sweep.name));
    id = known.id;
    ASSIGN_OR_RETURN(out.points, CountPoints(db, id));
    ASSIGN_OR_RETURN(out.done_points, CountDone(db, id));
  } else {
    ASSIGN_OR_RETURN(const std::optional<KnownSweep> known, Find(db, sweep.name));
    if (known.has_value()) {
      return Resubmit(db, *known, request);
    }
    ASSIGN_OR_RETURN(id, db.QueryInt("SELECT coalesce(MAX(sweep_id), 0) + 1 FROM sweeps"));
  }
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, RemoveStaged(db));
    RETURN_IF_ERROR(request.give_way());
  }
  ASSIGN_OR_RETURN(PointAdder adder, PointAdder::Make(db, id, shapes, out));
  RETURN_IF_ERROR(ForEachPrepared(
      request.points, [&](const PreparedPoint& prepared) { return adder.Add(prepared); }, request.give_way));
  ASSIGN_OR_RETURN(const KnownSweep stored, Conclude(db, request, id, adder));
  out.event.sweep = RowOf(stored, sweep.name);
  return out;
}

absl::StatusOr<SearchInput> ReadSearchRows(Database& db, SweepId sweep) {
  SearchInput input;
  {
    ASSIGN_OR_RETURN(Statement find,
                     db.Prepare("SELECT name, text, file_name, folder FROM sweeps WHERE sweep_id = ?1"));
    find.Bind(1, sweep.value());
    ASSIGN_OR_RETURN(const bool found, find.Step());
    if (!found) {
      return absl::NotFoundError(StrCat("there is no sweep with id ", sweep.value()));
    }
    input.name = std::string(find.Text(0));
    input.text = std::string(find.Text(1));
    input.file_name = std::string(find.Text(2));
    input.folder = std::string(find.Text(3));
  }
  ASSIGN_OR_RETURN(
      Statement rows,
      db.Prepare(
          "SELECT p.point_key, p.state, coalesce(r.items_mem, 0), coalesce(r.items_corr, 0.0), "
          "p.reason, r.point_id IS NULL, coalesce(r.seconds, 0.0) FROM sweep_points sp JOIN points p USING (point_id) "
          "LEFT JOIN results r USING (point_id) WHERE sp.sweep_id = ?1"));
  rows.Bind(1, sweep.value());
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return input;
    }
    SearchInput::Probe probe;
    probe.point_key = std::string(rows.Text(0));
    if (!core::FromWord(rows.Text(1), probe.state) || (probe.state == core::PointState::kDone && rows.Int(5) != 0)) {
      return absl::DataLossError(StrCat("point ", probe.point_key, " is '", rows.Text(1), "' against its result"));
    }
    probe.items_mem = rows.Int(2);
    probe.items_corr = rows.Real(3);
    probe.reason = std::string(rows.Text(4));
    probe.seconds = rows.Real(6);
    input.probes.push_back(std::move(probe));
  }
}

namespace {

absl::Status WriteFound(Database& db, int64_t sweep, const std::vector<SearchRow>& found) {
  RETURN_IF_ERROR(db.Execute(StrCat("DELETE FROM searches WHERE sweep_id = ", sweep)));
  ASSIGN_OR_RETURN(Statement insert,
                   db.Prepare("INSERT INTO searches (sweep_id, cell, point_id, state, reason, probes, mac, "
                              "mac_unsettled, mls, size, target, rounds, seconds, predicted, low, high) "
                              "SELECT ?1, ?2, point_id, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16 "
                              "FROM points WHERE point_key = ?3"));
  for (const SearchRow& row : found) {
    insert.Bind(1, sweep).Bind(2, row.cell).Bind(3, row.point_key).Bind(4, row.state).Bind(5, row.reason);
    insert.Bind(6, row.probes);
    if (row.mac.has_value()) {
      insert.Bind(7, *row.mac).Bind(8, row.mac_unsettled);
    } else {
      insert.BindNull(7).BindNull(8);
    }
    row.mls.has_value() ? insert.Bind(9, *row.mls) : insert.BindNull(9);
    row.size.has_value() ? insert.Bind(10, *row.size) : insert.BindNull(10);
    insert.Bind(11, row.target).Bind(12, row.rounds);
    const std::optional<double>* const reals[] = {&row.seconds, &row.predicted, &row.low, &row.high};
    for (int i = 0; i < 4; ++i) {
      reals[i]->has_value() ? insert.Bind(13 + i, **reals[i]) : insert.BindNull(13 + i);
    }
    RETURN_IF_ERROR(insert.Run());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoredSweep> AddProbeRows(Database& db, SweepId sweep, const std::vector<PointSpec>& points,
                                         const std::vector<SearchRow>& found, int64_t now_ms, ShapeNumbers& shapes) {
  const std::string id = StrCat(sweep.value());
  ASSIGN_OR_RETURN(const std::string name, db.QueryText("SELECT name FROM sweeps WHERE sweep_id = " + id));
  ASSIGN_OR_RETURN(const std::optional<KnownSweep> known, Find(db, name));
  if (!known.has_value()) {
    return absl::NotFoundError(StrCat("there is no sweep with id ", id));
  }
  if (known->state == core::SweepState::kCancelled) {
    return absl::FailedPreconditionError(StrCat("sweep ", name, " is cancelled"));
  }
  StoredSweep out;
  ASSIGN_OR_RETURN(out.points, CountPoints(db, known->id));
  ASSIGN_OR_RETURN(out.done_points, CountDone(db, known->id));
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, RemoveStaged(db));
  }
  ASSIGN_OR_RETURN(PointAdder adder, PointAdder::Make(db, known->id, shapes, out));
  for (const PointSpec& point : points) {
    RETURN_IF_ERROR(adder.Add(PreparePoint(point)));
  }
  RETURN_IF_ERROR(adder.Link());
  RETURN_IF_ERROR(WriteFound(db, known->id, found));
  RETURN_IF_ERROR(db.Execute(StrCat("UPDATE sweeps SET changed_ms = ", now_ms, " WHERE sweep_id = ", id)));
  out.event.sweep = RowOf(*known, name);
  out.event.plans = false;
  return out;
}

absl::StatusOr<Store::DryRun> CountSweepRows(Database& db, const Store::PointStream& points) {
  ASSIGN_OR_RETURN(Statement find, db.Prepare("SELECT state FROM points p WHERE point_key = ?1 AND EXISTS "
                                              "(SELECT 1 FROM sweep_points sp WHERE sp.point_id = p.point_id)"));
  Store::DryRun run;
  std::unordered_set<std::string> shapes;
  RETURN_IF_ERROR(points([&](const PointSpec& point) -> absl::Status {
    const std::string key = PointKey(point);
    find.Bind(1, key);
    ASSIGN_OR_RETURN(const bool known, find.Step());
    const bool done = known && find.Text(0) == core::ToWord(core::PointState::kDone);
    find.Reset();
    ++run.counts.points;
    ++(known ? run.counts.known_points : run.counts.new_points);
    run.counts.done_points += done ? 1 : 0;
    if (!done) {
      shapes.insert(ShapeKey(point));
      run.cost_seconds += EstimateSeconds(point);
    }
    return absl::OkStatus();
  }));
  run.shapes = static_cast<int64_t>(shapes.size());
  return run;
}

}  // namespace capsweep::store
