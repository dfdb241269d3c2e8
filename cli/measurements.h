// v_results rows -> what the fitter reads.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/source.h"
#include "ecm/capacity.h"

namespace capsweep::cli {

// Appends one measurement per row. A group is everything that must be equal for two capacities to be comparable: all
// fields of the point except heads, width, seq_len, dataset_size, the budget and the seeds, plus the back end that did
// the work. Internal error naming a missing column.
absl::Status AppendMeasurements(const store::Table& results, std::vector<ecm::Measurement>& out);

// Where head_dim is width / heads in every measurement and takes several values, the sweep says `head_dim: split`; then
// head_dim follows from the architecture and must not tell groups apart. Sets the key to the word "split".
void MergeSplitHeads(std::vector<ecm::Measurement>& measurements);

// All results of a sweep. NotFound for an unknown sweep (naming those there are), FailedPrecondition if it has no
// result yet.
absl::StatusOr<std::vector<ecm::Measurement>> ReadMeasurements(Source& source, const std::string& sweep);

}  // namespace capsweep::cli
