// Names of groups of results, for tables and pictures.
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

}  // namespace capsweep::cli
