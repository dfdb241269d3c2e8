// One line of the books: a row change or a reply, so that what the core did can be laid beside what it had to do.
#pragma once

#include <string>

#include "coordinator/core/events.h"

namespace capsweep::simulation {

struct Entry {
  std::string subject;   // entries of one subject keep their order
  std::string what;      // must be equal
  std::string mentions;  // expected: what the text must contain; actual: the text
};

Entry EntryOf(const core::Mutation& mutation);
Entry EntryOf(const core::SyncReply& reply);
Entry EntryOf(const core::AdminReply& reply);

}  // namespace capsweep::simulation
