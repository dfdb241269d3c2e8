// What a person sees at the end of a sweep: capacities per architecture.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ecm/capacity.h"

namespace capsweep::cli {

// "xt label, vocab 16, layers 1, head_dim 8, frozen MLP, adam lr 0.003 cosine, batch 100, torch".
std::string GroupTitle(const std::map<std::string, std::string>& group);

// Only the fields in which the groups differ, "frozen MLP" or "lr 0.001, frozen MLP"; "" for a single group.
std::string ShortGroupTitle(const std::map<std::string, std::string>& group, const std::vector<ecm::Group>& all);

// One table per group: seq_len, heads, width, capacity as mean ± SD over seeds, number of seeds, parameters and bits
// per trained parameter. Repeated values of the leading columns are left blank. A capacity that filled its library is
// shown as "≥ …", one that cannot be told from guessing as "~ …". At most `max_rows` rows per group; what is left out
// is said, with `more` (a command) to see it.
std::string CapacityText(const std::vector<ecm::Group>& groups, size_t max_rows, const std::string& more);

}  // namespace capsweep::cli
