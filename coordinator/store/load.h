// Reading back everything the core needs. Internal to coordinator/store.
#pragma once

#include "absl/status/statusor.h"
#include "coordinator/store/db.h"
#include "coordinator/store/shapes.h"
#include "coordinator/store/store.h"

namespace capsweep::store {

// One pass over each table, in key order, inside one read transaction.
absl::StatusOr<Loaded> LoadAll(Database& db, ShapeNumbers& shapes);

}  // namespace capsweep::store
