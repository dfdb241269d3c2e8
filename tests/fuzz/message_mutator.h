// Changes protobuf messages field by field, so that a fuzzer reaches what lies behind parsing.
#pragma once

#include <google/protobuf/message.h>

#include <random>

namespace capsweep::fuzz {

// One random change somewhere in the message: a field set to an edge value, a small number or bytes from
// `mutate_bytes`, cleared, an element added, doubled or removed.
using MutateBytes = std::string (*)(const std::string&);
void MutateMessage(google::protobuf::Message& message, std::mt19937& random, MutateBytes mutate_bytes);

}  // namespace capsweep::fuzz
