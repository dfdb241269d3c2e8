// Reads like a log: a transcript is a text of commands (lines that start with '>') and of the exact effects that follow
// each. Play() carries the commands out on a fresh Core and returns the whole text with the effects that came, so a
// test is one comparison, and reviewing behaviour is reading it.
//
//   > options lost_limit=N         a new Core
//   > sweep 1 : 1..3 4:7:20        stores sweep 1 with points 1 to 3 (shape 0, cost 10 s) and 4 (shape 7, cost 20 s);
//                                  options before the colon: prio=P max_failures=N attempts=N cost=S state=WORD
//                                  searches (its planner may want more) probes (points its planner has added)
//   > planned 1 complete [mark=N] | planned 1 [cells=N] [settled=N] [error=TEXT]
//                                  the planner of sweep 1 has spoken, about all that has happened unless a mark is
//                                  given
//   > recover sweep=1 points=1..3 [done=2/1] [running=1/1@w1#a]
//   > sync w1 [#b] [seq=N] [slots=N] [devices=N] [kind=K] [wait=S] [remaining=S] [hold=1/1,2/1@0.5] [leaving]
//   [draining]
//          [notready] [result=1/1[=SECONDS]] [badkey=1/1] [fail=1/1:cause[:pack]] [handback=1/1[+]]
//                                  `+`: with a checkpoint. Sequences and tokens count up by themselves.
//   > tick 5                       after 5 s
//   > commit | unwritable REASON | writable | abandon 3
//   > pause|resume|cancel|retry 1  > drain|remove w1
//   > show point 1 | show sweep 1 | show sweeps | show workers
#pragma once

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "coordinator/core/core.h"

namespace capsweep::core {

inline std::string Render(const AttemptRef& id) {
  return absl::StrFormat("%d/%d", id.point.value(), id.attempt.value());
}

struct RenderMutation {
  std::string operator()(const AttemptStarted& m) const {
    return absl::StrFormat("start %s on %s#%s %s", Render(m.id), m.worker.value(), m.incarnation.value(), m.device);
  }
  std::string operator()(const AttemptEnded& m) const {
    std::string line = absl::StrFormat("end %s %s", Render(m.id), std::string(ToWord(m.outcome)));
    line += m.cause.empty() ? "" : " " + m.cause;
    return line + (m.message.empty() ? "" : " (" + m.message + ")");
  }
  std::string operator()(const ResultAccepted& m) const {
    return absl::StrFormat("result %s from %s %s", Render(m.id), m.worker.value(), m.device);
  }
  std::string operator()(const PointChanged& m) const {
    std::string line = absl::StrFormat("point %d %s", m.point.value(), std::string(ToWord(m.state)));
    if (m.failures + m.lost > 0) {
      line += absl::StrFormat(" failures=%d lost=%d", m.failures, m.lost);
    }
    return line + (m.reason.empty() ? "" : " (" + m.reason + ")");
  }
  std::string operator()(const CheckpointSaved& m) const { return "checkpoint " + Render(m.id); }
  std::string operator()(const SweepChanged& m) const {
    return absl::StrFormat("sweep %d %s", m.sweep.value(), std::string(ToWord(m.state)));
  }
  std::string operator()(const WorkerChanged& m) const {
    return absl::StrFormat("worker %s#%s %s%s", m.worker.value(), m.incarnation.value(), std::string(ToWord(m.state)),
                           m.reason.empty() ? "" : " (" + m.reason + ")");
  }
  std::string operator()(const Audit& m) const {
    return absl::StrFormat("audit %s %s%s", m.kind, m.subject, m.message.empty() ? "" : ": " + m.message);
  }
};

struct RenderEffect {
  std::string operator()(const Persist& p) const {
    std::string text = absl::StrFormat("  persist %d\n", p.ticket);
    for (const Mutation& m : p.mutations) {
      text += "    " + std::visit(RenderMutation{}, m) + "\n";
    }
    return text;
  }
  std::string operator()(const SyncReply& r) const {
    std::string text = absl::StrFormat("  reply %d:", r.token);
    if (!r.status.ok()) {
      return text + " " + r.status.ToString() + "\n";
    }
    static constexpr const char* kVerdicts[] = {"accepted", "duplicate", "late", "rejected"};
    for (const Acknowledgement& a : r.acknowledged) {
      text += absl::StrFormat(" %s=%s", Render(a.id), kVerdicts[static_cast<int>(a.verdict)]);
      text += a.verdict == Verdict::kRejected ? " (" + a.reason + ")" : "";
    }
    for (const Assignment& a : r.assignments) {
      text += absl::StrFormat(" assign %s to %s for %gs", Render(a.id), a.device, a.estimated_seconds);
    }
    for (const AttemptRef& id : r.drop) {
      text += " drop " + Render(id);
    }
    text += r.drain ? " drain" : "";
    text += r.stop ? " stop" : "";
    text += absl::StrFormat(" next=%gs", ToSeconds(r.next_call));
    return text + (r.notice.empty() ? "" : " (" + r.notice + ")") + "\n";
  }
  std::string operator()(const AdminReply& r) const {
    return absl::StrFormat("  admin %d: %s affected=%d\n", r.token, r.status.ToString(), r.points_affected);
  }
};

class Transcript {
 public:
  Transcript() : core_(std::make_unique<Core>()) {}

  // The transcript with the effects that really came.
  std::string Play(const std::string& text) {
    std::string out = "\n";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty() && line[0] == '>') {
        out += line + "\n" + Run(line.substr(1));
        core_->CheckInvariants();
      }
    }
    return out;
  }

 private:
  using Words = std::vector<std::string>;

  static AttemptRef Ref(const std::string& text) {
    const std::vector<std::string> parts = absl::StrSplit(text, '/');
    return {PointId(std::stoll(parts.at(0))), AttemptNumber(std::stoi(parts.at(1)))};
  }
  static Words Split(const std::string& list) { return absl::StrSplit(list, ','); }
  static uint64_t KeyOf(PointId point) { return 1000 + static_cast<uint64_t>(point.value()); }

  // "1..3" or "4:shape:cost" or "1..3:shape:cost:lanes"
  static void AddPoints(const std::string& text, double cost, SweepId sweep, std::vector<PointRow>& out) {
    const std::vector<std::string> parts = absl::StrSplit(text, ':');
    const size_t dots = parts[0].find("..");
    const int64_t first = std::stoll(parts[0]);
    const int64_t last = dots == std::string::npos ? first : std::stoll(parts[0].substr(dots + 2));
    for (int64_t id = first; id <= last; ++id) {
      PointRow row;
      row.point = PointId(id);
      row.key_prefix = KeyOf(row.point);
      row.shape = parts.size() > 1 ? static_cast<uint32_t>(std::stoul(parts[1])) : 0;
      row.cost_seconds = static_cast<float>(parts.size() > 2 ? std::stod(parts[2]) : cost);
      row.pack_lanes = static_cast<uint8_t>(parts.size() > 3 ? std::stoi(parts[3]) : 1);
      row.sweeps = {sweep};
      out.push_back(row);
    }
  }

  static std::map<std::string, std::string> Options_(const Words& words) {
    std::map<std::string, std::string> options;
    for (const std::string& w : words) {
      const size_t equals = w.find('=');
      options[w.substr(0, equals)] = equals == std::string::npos ? "" : w.substr(equals + 1);
    }
    return options;
  }

  static SweepRow Row(int64_t id, std::map<std::string, std::string> o) {
    SweepRow row;
    row.sweep = SweepId(id);
    row.name = "s" + std::to_string(id);
    row.priority = o.count("prio") ? std::stoi(o["prio"]) : 0;
    row.max_failures = o.count("max_failures") ? std::stoll(o["max_failures"]) : 20;
    row.attempts = o.count("attempts") ? std::stoll(o["attempts"]) : 3;
    if (o.count("state")) {
      FromWord(o["state"], row.state);
    }
    row.searches = o.count("searches") > 0;
    return row;
  }

  std::string Run(const std::string& line) {
    std::istringstream in(line);
    std::string verb;
    in >> verb;
    Words words;
    for (std::string w; in >> w;) {
      words.push_back(w);
    }
    if (verb == "show") {
      return Show(words);
    }
    if (verb == "options") {
      Options options;
      options.lost_limit = std::stoi(Options_(words).at("lost_limit"));
      core_ = std::make_unique<Core>(options);
      return "";
    }
    std::string out;
    for (const Effect& effect : core_->Apply(Parse(verb, words), now_)) {
      out += std::visit(RenderEffect{}, effect);
      if (const auto* persist = std::get_if<Persist>(&effect)) {
        last_ticket_ = persist->ticket;
      }
    }
    return out;
  }

  Event Parse(const std::string& verb, const Words& words) {
    static const std::map<std::string, SweepVerb> kSweepVerbs = {{"pause", SweepVerb::kPause},
                                                                 {"resume", SweepVerb::kResume},
                                                                 {"cancel", SweepVerb::kCancel},
                                                                 {"retry", SweepVerb::kRetryFailed}};
    if (verb == "sweep") {
      return ParseSweep(words);
    } else if (verb == "recover") {
      return ParseRecovered(Options_(words));
    } else if (verb == "planned") {
      return ParsePlanned(words);
    } else if (verb == "sync") {
      return ParseSync(words);
    } else if (verb == "tick") {
      now_ += FromSeconds(std::stod(words.at(0)));
      return Tick{};
    } else if (verb == "commit") {
      return StoreCommitted{last_ticket_};
    } else if (verb == "unwritable") {
      return StoreUnwritable{words.at(0)};
    } else if (verb == "writable") {
      return StoreWritable{};
    } else if (verb == "abandon") {
      return SyncAbandoned{std::stoull(words.at(0))};
    } else if (verb == "drain") {
      return ChangeWorker{++token_, WorkerId(words.at(0)), WorkerVerb::kDrain};
    } else if (verb == "remove") {
      return ChangeWorker{++token_, WorkerId(words.at(0)), WorkerVerb::kRemove};
    }
    return ChangeSweep{++token_, SweepId(std::stoll(words.at(0))), kSweepVerbs.at(verb)};
  }

  Event ParseSweep(const Words& words) {
    SweepStored event;
    size_t colon = 1;
    while (colon < words.size() && words[colon] != ":") {
      ++colon;
    }
    auto options = Options_(Words(words.begin() + 1, words.begin() + static_cast<int64_t>(colon)));
    event.sweep = Row(std::stoll(words.at(0)), options);
    event.plans = options.count("probes") == 0;
    const double cost = options.count("cost") ? std::stod(options["cost"]) : 10;
    for (size_t i = colon + 1; i < words.size(); ++i) {
      AddPoints(words[i], cost, event.sweep.sweep, event.points);
    }
    return event;
  }

  Event ParsePlanned(const Words& words) const {
    SweepPlanned event;
    event.sweep = SweepId(std::stoll(words.at(0)));
    for (const Searching& sweep : core_->SearchingSweeps()) {
      event.mark = sweep.sweep == event.sweep ? sweep.mark : event.mark;
    }
    auto o = Options_(Words(words.begin() + 1, words.end()));
    event.mark = o.count("mark") ? std::stoull(o["mark"]) : event.mark;
    event.complete = o.count("complete") > 0;
    event.cells = o.count("cells") ? std::stoll(o["cells"]) : 0;
    event.settled = o.count("settled") ? std::stoll(o["settled"]) : 0;
    event.error = o["error"];
    return event;
  }

  Event ParseRecovered(std::map<std::string, std::string> o) {
    Recovered event;
    event.sweeps.push_back(Row(std::stoll(o.at("sweep")), o));
    AddPoints(o.at("points"), 10, event.sweeps[0].sweep, event.points);
    if (o.count("done")) {
      const AttemptRef id = Ref(o["done"]);
      for (PointRow& row : event.points) {
        if (row.point == id.point) {
          row.state = PointState::kDone;
          row.last_attempt = id.attempt.value();
          row.accepted_attempt = id.attempt.value();
        }
      }
    }
    if (o.count("running")) {
      for (const std::string& text : Split(o["running"])) {
        const std::vector<std::string> parts = absl::StrSplit(text, absl::ByAnyChar("@#"));
        event.running.push_back({Ref(parts.at(0)), WorkerId(parts.at(1)), Incarnation(parts.at(2)), "cpu:0"});
      }
    }
    return event;
  }

  Event ParseSync(const Words& words) {
    WorkerSync sync;
    sync.token = ++token_;
    sync.worker = WorkerId(words.at(0));
    sync.incarnation = Incarnation("a");
    sync.host = "host";
    sync.version = "1";
    auto o = Options_(Words(words.begin() + 1, words.end()));
    for (const std::string& w : words) {
      if (w[0] == '#') {
        sync.incarnation = Incarnation(w.substr(1));
      }
    }
    const int devices = o.count("devices") ? std::stoi(o["devices"]) : 1;
    for (int i = 0; i < devices; ++i) {
      DeviceReport d;
      d.name = "cpu:" + std::to_string(i);
      d.kind = o.count("kind") ? o["kind"] : "cpu";
      d.slots = o.count("slots") ? std::stoi(o["slots"]) : 1;
      d.ready = !o.count("notready");
      sync.devices.push_back(d);
    }
    sync.leaving = o.count("leaving") > 0;
    sync.draining = o.count("draining") > 0;
    sync.max_wait = o.count("wait") ? FromSeconds(std::stod(o["wait"])) : Duration::zero();
    sync.remaining_seconds = o.count("remaining") ? std::stod(o["remaining"]) : 0;
    int64_t& sequence = sequences_[words[0] + sync.incarnation.value()];
    sync.sequence = o.count("seq") ? std::stoll(o["seq"]) : ++sequence;
    for (const std::string& w : words) {
      ParseReport(w, sync);
    }
    return sync;
  }

  static void ParseReport(const std::string& word, WorkerSync& sync) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (name == "hold") {
      for (const std::string& id : Split(value)) {
        const std::vector<std::string> parts = absl::StrSplit(id, '@');
        sync.devices.at(0).held.push_back({Ref(parts[0]), parts.size() > 1 ? std::stod(parts[1]) : 0, true});
      }
    } else if (name == "result" || name == "badkey") {
      const std::vector<std::string> parts = absl::StrSplit(value, '=');
      auto result = std::make_shared<PointResult>();
      result->seconds = parts.size() > 1 ? std::stod(parts[1]) : 0;
      const AttemptRef id = Ref(parts[0]);
      sync.results.push_back({id, "cpu:0", KeyOf(id.point) + (name == "badkey" ? 1 : 0), result});
    } else if (name == "fail") {
      const std::vector<std::string> parts = absl::StrSplit(value, ':');
      FailureReport report{Ref(parts[0]), "cpu:0", FailureCause::kInternal, "boom",
                           parts.size() > 2 ? std::stoi(parts[2]) : 1};
      static const std::map<std::string, FailureCause> kCauses = {{"nan", FailureCause::kNanLoss},
                                                                  {"oom", FailureCause::kOutOfMemory},
                                                                  {"unsupported", FailureCause::kUnsupported},
                                                                  {"bad", FailureCause::kBadPoint},
                                                                  {"died", FailureCause::kTrainerDied},
                                                                  {"hung", FailureCause::kTrainerHung},
                                                                  {"internal", FailureCause::kInternal}};
      report.cause = kCauses.at(parts[1]);
      sync.failures.push_back(report);
    } else if (name == "handback") {
      const bool with = value.back() == '+';
      sync.handed_back.push_back(
          {Ref(with ? value.substr(0, value.size() - 1) : value), with ? std::make_shared<Checkpoint>() : nullptr});
    }
  }

  std::string Show(const Words& words) {
    std::string out;
    if (words.at(0) == "point") {
      return "  " + core_->ExplainPoint(PointId(std::stoll(words.at(1))), now_) + "\n";
    }
    if (words[0] == "sweep") {
      return "  " + core_->ExplainSweep(SweepId(std::stoll(words.at(1))), now_) + "\n";
    }
    if (words[0] == "sweeps") {
      for (const SweepCounts& c : core_->Sweeps(now_)) {
        out += absl::StrFormat(
            "  %s %s: %d points, %d done, %d failed, %d running, %d pending, %d cancelled, rate %.3g, eta %.3g\n",
            c.name, std::string(ToWord(c.state)), c.points, c.done, c.failed, c.running, c.pending, c.cancelled,
            c.rate_per_second, c.eta_seconds);
      }
      return out;
    }
    for (const WorkerView& w : core_->Workers(now_)) {
      out += absl::StrFormat("  %s %s, seen %gs ago%s\n", w.worker.value(), std::string(ToWord(w.state)),
                             w.last_seen_seconds, w.reason.empty() ? "" : " (" + w.reason + ")");
      for (const DeviceView& d : w.devices) {
        out += absl::StrFormat("    %s %s, %d slots, %d running, %d done%s\n", d.name, d.state, d.slots, d.running,
                               d.points_done, d.reason.empty() ? "" : " (" + d.reason + ")");
      }
    }
    return out;
  }

  std::unique_ptr<Core> core_;
  Instant now_ = Instant(std::chrono::hours(10));
  Token token_ = 0;
  Ticket last_ticket_ = 0;
  std::map<std::string, int64_t> sequences_;
};

}  // namespace capsweep::core
