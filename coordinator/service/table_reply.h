// Rows of the database on the wire, as many as fit in a reply.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"
#include "capsweep/v1/control.pb.h"
#include "coordinator/store/reader.h"

namespace capsweep::service {

// Fills columns and rows, stopping before the reply would exceed kMaxReplyBytes. Returns the number of rows written and
// sets `truncated` if any row was left out, here or by the reader. ResourceExhausted if not even the first row fits.
absl::StatusOr<size_t> FillTable(const store::Table& table, v1::TableResponse* response);

// Text of the wire must be UTF-8; a database may hold anything.
bool IsUtf8(std::string_view text);

}  // namespace capsweep::service
