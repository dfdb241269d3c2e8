#include "tests/simulation/ledger/ledger.h"

#include <algorithm>

#include "common/text.h"

namespace capsweep::simulation {
namespace {

// Where no reason is called for there is none, but for the remarks of the log.
bool Agrees(const Entry& expected, const Entry& actual) {
  const bool says = !expected.mentions.empty() ? actual.mentions.find(expected.mentions) != std::string::npos
                                               : actual.mentions.empty() || actual.what.starts_with("note ");
  return expected.subject == actual.subject && expected.what == actual.what && says;
}

}  // namespace

void Ledger::Follow(const core::Event& event, Instant now, const core::Effects& effects) {
  now_ = now;
  work_ = false;
  std::visit([this](const auto& one) { On(one); }, event);
  if (work_) Dispatch();
  Finish(effects);
}

// A reply may rest on anything that was ever given to the disk, so it waits for all of it, unless it says nothing.
void Ledger::Finish(const core::Effects& effects) {
  if (!batch_.empty()) ++last_;
  for (Waiting& reply : replies_) {
    if (!reply.depends || last_ == committed_) {
      said_.push_back(std::move(reply.entry));
      continue;
    }
    reply.ticket = last_;
    if (const auto worker = reply.worker.lock(); reply.of_worker && worker != nullptr) ++worker->waiting;
    waiting_.push_back(std::move(reply));
  }
  replies_.clear();
  std::vector<Entry> written, said;
  for (const core::Effect& effect : effects) {
    if (const auto* batch = std::get_if<core::Persist>(&effect)) {
      judge_->Require(batch->ticket == last_, "a batch has the wrong number");
      for (const core::Mutation& mutation : batch->mutations) written.push_back(EntryOf(mutation));
    } else if (const auto* reply = std::get_if<core::SyncReply>(&effect)) {
      said.push_back(EntryOf(*reply));
    } else {
      said.push_back(EntryOf(std::get<core::AdminReply>(effect)));
    }
  }
  Compare(std::exchange(batch_, {}), std::move(written), "writes");
  Compare(std::exchange(said_, {}), std::move(said), "says");
}

void Ledger::Compare(std::vector<Entry> expected, std::vector<Entry> actual, const char* what) {
  const auto by_subject = [](const Entry& a, const Entry& b) { return a.subject < b.subject; };
  std::stable_sort(expected.begin(), expected.end(), by_subject);
  std::stable_sort(actual.begin(), actual.end(), by_subject);
  for (size_t i = 0; i < std::max(expected.size(), actual.size()) && !judge_->condemned(); ++i) {
    const auto text = [i](const std::vector<Entry>& all) {
      return i < all.size() ? StrCat(all[i].subject, ": ", all[i].what, " (", all[i].mentions, ")") : "nothing more";
    };
    const bool agree = i < expected.size() && i < actual.size() && Agrees(expected[i], actual[i]);
    if (!agree) judge_->Require(false, "the core ", what, " ", text(actual), " where it had to: ", text(expected));
  }
}

void Ledger::Say(Worker* worker, const core::SyncReply& reply) {
  Waiting waiting;
  waiting.depends = !reply.assignments.empty() || !reply.drop.empty() || !reply.acknowledged.empty();
  waiting.of_worker = worker != nullptr;
  if (worker != nullptr) waiting.worker = workers_.at(worker->name);
  waiting.token = reply.token;
  waiting.entry = EntryOf(reply);
  replies_.push_back(std::move(waiting));
}

void Ledger::SayToUser(core::Token token, absl::StatusCode code, int64_t affected) {
  Waiting waiting;
  waiting.depends = code == absl::StatusCode::kOk;
  waiting.entry =
      EntryOf(core::AdminReply{token, absl::Status(code, code == absl::StatusCode::kOk ? "" : "no"), affected});
  replies_.push_back(std::move(waiting));
}

void Ledger::On(const core::SyncAbandoned& event) {
  for (const auto& [name, worker] : workers_) {
    if (worker->parked && worker->parked->token == event.token) {
      worker->parked.reset();
      return;
    }
  }
  const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                  [&](const Waiting& w) { return w.of_worker && w.token == event.token; });
  if (found == waiting_.end()) return;
  if (const auto worker = found->worker.lock()) --worker->waiting;
  waiting_.erase(found);
}

void Ledger::On(const core::Tick&) {
  std::vector<std::pair<Instant, Worker*>> due;
  for (const auto& [name, worker] : workers_) {
    if (worker->parked && worker->deadline <= now_) due.emplace_back(worker->deadline, worker.get());
  }
  std::sort(due.begin(), due.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first, a.second->serial) < std::pair(b.first, b.second->serial);
  });
  for (const auto& [deadline, worker] : due) Release(*worker, Duration::zero());
  Expire();
}

void Ledger::On(const core::StoreCommitted& event) {
  committed_ = std::max(committed_, event.ticket);
  while (!waiting_.empty() && waiting_.front().ticket <= committed_) {
    const auto worker = waiting_.front().worker.lock();
    if (waiting_.front().of_worker && worker != nullptr) {
      --worker->waiting;
      if (!worker->lost) worker->lease_end = now_ + options_.lease;
    }
    said_.push_back(std::move(waiting_.front().entry));
    waiting_.pop_front();
  }
  while (!unstored_.empty() && unstored_.front().first <= committed_) unstored_.pop_front();
  On(core::StoreWritable{});
}

void Ledger::On(const core::StoreUnwritable&) {
  unwritable_ = true;
}

void Ledger::On(const core::StoreWritable&) {
  work_ = work_ || unwritable_;
  unwritable_ = false;
}

}  // namespace capsweep::simulation
