// Writes the first inputs of the corpus: what a well-behaved user, worker or trainer sends. `fuzz_seeds
// tests/fuzz/corpus`.
#include <filesystem>
#include <iostream>

#include "common/file.h"
#include "common/hash.h"
#include "common/sweep/parse.h"
#include "coordinator/plan/grid.h"
#include "tests/fuzz/calls.h"
#include "tests/support/coordinator_harness.h"
#include "worker/agent/report.h"
#include "worker/agent/trainer_lines.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/protocol.h"

namespace capsweep {
namespace {

using testing_support::PlausibleResult;
using testing_support::SweepText;

class Seeds {
 public:
  explicit Seeds(std::string root) : root_(std::move(root)) {}

  void Write(const std::string& target, const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(StrCat(root_, "/", target));
    const absl::Status status = WriteFileAtomic(StrCat(root_, "/", target, "/seed-", name), bytes);
    if (!status.ok()) {
      std::cerr << status << "\n";
      std::exit(1);
    }
  }

 private:
  const std::string root_;
};

fuzz::Call MakeCall(std::string_view method, const google::protobuf::Message& message) {
  return {fuzz::MethodNamed(method), message.SerializeAsString()};
}

v1::SubmitSweepRequest Submission(const std::string& text) {
  v1::SubmitSweepRequest request;
  request.set_text(text);
  request.set_file_name("seed.yaml");
  return request;
}

v1::SyncRequest Registration(int64_t sequence) {
  v1::SyncRequest request;
  request.set_worker_id("w");
  request.set_incarnation("0000000000000001-00000000");
  request.set_sequence(sequence);
  request.set_host("h");
  request.set_version("0.1.0");
  (*request.mutable_labels())["rack"] = "1";
  v1::Device* device = request.add_devices();
  device->set_name("cpu:0");
  device->set_kind("cpu");
  device->set_memory_bytes(1 << 30);
  device->set_slots(4);
  device->set_ready(true);
  if (sequence > 1) {
    request.set_database_id("@");
  }
  return request;
}

void WriteCalls(const Seeds& seeds) {
  const std::string text = SweepText("s");
  const auto sweep = ParseSweep(text, "seed.yaml");
  const std::vector<PointSpec> points = *plan::EnumerateGrid(*sweep);
  std::vector<fuzz::Call> work = {MakeCall("SubmitSweep", Submission(text)), MakeCall("Sync", Registration(1))};
  v1::SyncRequest report = Registration(2);
  for (int64_t i = 0; i < 3; ++i) {
    v1::DeliveredResult* result = report.add_results();
    result->mutable_id()->set_point_id(i + 1);
    result->mutable_id()->set_attempt(1);
    result->set_device("cpu:0");
    ResultToProto(PlausibleResult(points[static_cast<size_t>(i)]), result->mutable_result());
  }
  v1::DeliveredFailure* failure = report.add_failures();
  failure->mutable_id()->set_point_id(4);
  failure->mutable_id()->set_attempt(1);
  failure->set_device("cpu:0");
  failure->set_cause("nan_loss");
  failure->set_pack_size(4);
  v1::HandedBack* back = report.add_handed_back();
  back->mutable_id()->set_point_id(5);
  back->mutable_id()->set_attempt(1);
  back->set_checkpoint("bytes");
  back->set_checkpoint_backend("cpu");
  v1::HeldAttempt* held = report.mutable_devices(0)->add_held();
  held->mutable_id()->set_point_id(6);
  held->mutable_id()->set_attempt(1);
  held->set_progress(0.5);
  held->set_running(true);
  work.push_back(MakeCall("Sync", report));
  v1::ListResultsRequest list;
  list.set_sweep("s");
  list.set_where("heads > 1");
  list.set_page_size(2);
  v1::QueryRequest query;
  query.set_sql("SELECT heads, count(*) FROM v_results GROUP BY 1");
  v1::ExplainRequest explain;
  explain.set_subject("1");
  v1::ChangeSweepRequest change;
  change.set_sweep("s");
  change.set_verb(v1::ChangeSweepRequest::RETRY_FAILED);
  v1::ChangeWorkerRequest drain;
  drain.set_worker("w");
  drain.set_verb(v1::ChangeWorkerRequest::DRAIN);
  v1::StoreFitRequest fit;
  fit.set_sweep("s");
  fit.set_fit_json("{\"groups\": []}");
  std::vector<fuzz::Call> all = work;
  all.push_back(MakeCall("ListSweeps", v1::ListSweepsRequest()));
  all.push_back(MakeCall("ListWorkers", v1::ListWorkersRequest()));
  all.push_back(MakeCall("ListResults", list));
  all.push_back(MakeCall("Query", query));
  all.push_back(MakeCall("Explain", explain));
  all.push_back(MakeCall("ChangeSweep", change));
  all.push_back(MakeCall("ChangeWorker", drain));
  all.push_back(MakeCall("StoreFit", fit));
  all.push_back(MakeCall("GetServerInfo", v1::GetServerInfoRequest()));
  seeds.Write("service", "work", fuzz::WriteCalls(work));
  seeds.Write("service", "all", fuzz::WriteCalls(all));
  v1::SubmitSweepRequest search = Submission(
      "sweep: m\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: [1, 2], width: 8}\ntrain: {steps: 200}\nmeasure: mls\n");
  seeds.Write("service", "search",
              fuzz::WriteCalls({MakeCall("SubmitSweep", search), MakeCall("Sync", Registration(1))}));
  search.set_dry_run(true);
  seeds.Write("service", "dry-run", fuzz::WriteCalls({MakeCall("SubmitSweep", search)}));
}

void WriteWorkersFiles(const Seeds& seeds) {
  const PointSpec point = (*plan::EnumerateGrid(*ParseSweep(SweepText("s"), "seed.yaml")))[0];
  const PointResult result = PlausibleResult(point);
  agent::Report report;
  report.database_id = "d";
  report.id = {PointId(1), AttemptNumber(1)};
  report.device = "cpu:0";
  report.result = std::make_shared<PointResult>(result);
  const auto body = [](const agent::Report& r) {
    const std::string bytes = agent::EncodeReport(r);
    return StrCat("\1", bytes.substr(bytes.find('\n') + 1));
  };
  seeds.Write("spool_report", "result", body(report));
  seeds.Write("spool_report", "whole", StrCat("\2", agent::EncodeReport(report)));
  report.kind = agent::ReportKind::kFailure;
  report.result = nullptr;
  report.message = "why";
  seeds.Write("spool_report", "failure", body(report));
  report.kind = agent::ReportKind::kHandBack;
  report.checkpoint = std::make_shared<Checkpoint>(Checkpoint{.backend = "cpu", .bytes = "bytes"});
  seeds.Write("spool_report", "hand-back", body(report));

  trainer::CheckpointContent content;
  content.backend = "cpu";
  content.build = "b";
  content.point_key = PointKey(point);
  content.run.curve = {result.curve[0]};
  content.weights = {1, 2, 3};
  content.first_moment = {0.5};
  content.second_moment = {0.25};
  const std::string bytes = trainer::EncodeCheckpoint(content);
  seeds.Write("checkpoint", "whole", StrCat("\2", bytes));
  seeds.Write("checkpoint", "body", StrCat("\1", bytes.substr(20, bytes.size() - 20 - 64)));

  seeds.Write("trainer_line", "train", agent::TrainLine("1/1", point, "/tmp/c"));
  seeds.Write("trainer_line", "cancel", agent::CancelLine("1/1"));
  seeds.Write("trainer_line", "stop", agent::StopLine("/tmp"));
  seeds.Write("trainer_line", "started", trainer::StartedLine("1/1", 5));
  seeds.Write("trainer_line", "result", trainer::ResultLine("1/1", result));
  seeds.Write("trainer_line", "failed", trainer::FailedLine("1/1", FailureCause::kNanLoss, "why", 2));
  seeds.Write("trainer_line", "stopped", trainer::StoppedLine("1/1", "/tmp/c"));
  seeds.Write("trainer_line", "error", trainer::ErrorLine("why"));
}

void WriteTexts(const Seeds& seeds, const std::string& sweeps) {
  for (const auto& entry : std::filesystem::directory_iterator(sweeps)) {
    seeds.Write("sweep_file", entry.path().stem(), *ReadFile(entry.path()));
  }
  seeds.Write("sweep_file", "axes",
              "sweep: a\ntask: {vocab: 16, seq_len: {log2: [4, 16]}}\nmodel: {heads: {from: 1, to: 3, step: 1}, width: "
              "{geometric: {from: 8, to: 32, count: 3}}}\ndata: {dataset_size: \"=max(10, params_train / 8)\"}\ntrain: "
              "{epochs: 3}\nseeds: [7, 11]\nwhere: \"heads * 8 <= width && width != 16\"\n");
  seeds.Write("data_file", "csv-label", std::string(1, '\0') + "a,b,c\n1,2,3\n4,5,6\n");
  seeds.Write("data_file", "csv-seq", std::string("\2") + "1,2,3,4\n5,6,7,8\n");
  seeds.Write("data_file", "jsonl", std::string("\1") + "{\"tokens\": [1, 2], \"targets\": [3, 4]}\n");
  seeds.Write("data_file", "jsonl-label", std::string("\1") + "{\"tokens\": [1, 2], \"label\": 3}\n[1, 2, 3]\n");
  seeds.Write(
      "capacity_csv", "plain",
      "heads,width,seq_len,capacity,dataset_size,capacity_sd,repeats\n1,8,4,100.5,200,3,3\n2,8,4,150,300,2,3\n");
  seeds.Write("capacity_csv", "quoted", "\xef\xbb\xbf\"width\",heads,seq_len,capacity\r\n8,1,4,\"1e2\"\r\n\r\n");
}

}  // namespace
}  // namespace capsweep

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: fuzz_seeds CORPUS SWEEPS, e.g. fuzz_seeds tests/fuzz/corpus sweeps\n";
    return 2;
  }
  const capsweep::Seeds seeds(argv[1]);
  capsweep::WriteCalls(seeds);
  capsweep::WriteWorkersFiles(seeds);
  capsweep::WriteTexts(seeds, argv[2]);
}
