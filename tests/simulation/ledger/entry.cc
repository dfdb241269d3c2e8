#include "tests/simulation/ledger/entry.h"

#include <cstdio>
#include <variant>

#include "common/text.h"

namespace capsweep::simulation {
namespace {

std::string Short(const core::AttemptRef& id) {
  return StrCat(id.point.value(), "/", id.attempt.value());
}
std::string OfPoint(PointId point) {
  return StrCat("point ", point.value());
}
// All digits, so that two numbers that differ look different.
std::string Exact(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.12g", value);
  return text;
}

struct Render {
  Entry operator()(const core::AttemptStarted& m) const {
    return {OfPoint(m.id.point),
            StrCat("start ", Short(m.id), " on ", m.worker.value(), " ", m.incarnation.value(), " ", m.device), ""};
  }
  Entry operator()(const core::AttemptEnded& m) const {
    return {OfPoint(m.id.point),
            StrCat("end ", Short(m.id), " ", std::string(core::ToWord(m.outcome)), " ", m.cause,
                   m.result == nullptr ? "" : " with a result"),
            m.message};
  }
  Entry operator()(const core::ResultAccepted& m) const {
    return {OfPoint(m.id.point),
            StrCat("accept ", Short(m.id), " from ", m.worker.value(), " ", m.device,
                   m.result == nullptr ? " without a result" : ""),
            ""};
  }
  Entry operator()(const core::PointChanged& m) const {
    return {OfPoint(m.point),
            StrCat("is ", std::string(core::ToWord(m.state)), ", failures ", m.failures, ", lost ", m.lost), m.reason};
  }
  Entry operator()(const core::CheckpointSaved& m) const {
    return {OfPoint(m.id.point),
            StrCat("checkpoint of ", Short(m.id), m.checkpoint == nullptr ? " that is not there" : ""), ""};
  }
  Entry operator()(const core::SweepChanged& m) const {
    return {StrCat("sweep ", m.sweep.value()), StrCat("is ", std::string(core::ToWord(m.state))), m.reason};
  }
  Entry operator()(const core::WorkerChanged& m) const {
    std::string what = StrCat("is ", std::string(core::ToWord(m.state)), ", start ", m.incarnation.value(), ", host ",
                              m.host, ", version ", m.version);
    for (const core::DeviceReport& d : m.devices) {
      StrAppend(&what, "; ", d.name, " ", d.kind, " ", d.memory_bytes, " ", d.slots, d.ready ? " ready" : " broken");
    }
    return {StrCat("worker ", m.worker.value()), what, m.reason};
  }
  Entry operator()(const core::Audit& m) const { return {m.subject, StrCat("note ", m.kind), m.message}; }
};

}  // namespace

Entry EntryOf(const core::Mutation& mutation) {
  return std::visit(Render(), mutation);
}

Entry EntryOf(const core::SyncReply& reply) {
  std::string what = StrCat("reply to call ", reply.sequence, " code ", static_cast<int>(reply.status.code()));
  for (const core::Assignment& a : reply.assignments) {
    StrAppend(&what, " +", Short(a.id), "@", a.device, "~", Exact(a.estimated_seconds));
  }
  for (const core::AttemptRef& id : reply.drop) StrAppend(&what, " -", Short(id));
  for (const core::Acknowledgement& a : reply.acknowledged) {
    StrAppend(&what, " ", Short(a.id), ":", static_cast<int>(a.verdict));
  }
  StrAppend(&what, reply.drain ? " drain" : "", reply.stop ? " stop" : "", " next ", reply.next_call.count());
  return {StrCat("token ", reply.token), what, reply.notice};
}

Entry EntryOf(const core::AdminReply& reply) {
  return {StrCat("token ", reply.token),
          StrCat("answer code ", static_cast<int>(reply.status.code()), ", ", reply.points_affected, " points"), ""};
}

}  // namespace capsweep::simulation
