// What a person sees at the end of a sweep: capacities per architecture.
#pragma once

#include <string>
#include <vector>

#include "cli/figures/group_title.h"
#include "ecm/capacity.h"

namespace capsweep::cli {

// One table per group: seq_len, heads, width, capacity as mean ± SD over seeds, number of seeds, parameters and bits
// per trained parameter. Repeated values of the leading columns are left blank. A capacity that filled its library is
// shown as "≥ …", one that cannot be told from guessing as "~ …". At most `max_rows` rows per group; what is left out
// is said, with `more` (a command) to see it.
std::string CapacityText(const std::vector<ecm::Group>& groups, size_t max_rows, const std::string& more);

}  // namespace capsweep::cli
