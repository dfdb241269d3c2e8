// Thousands of simulated workers in one process, each its own state and its own calls over real gRPC. They train
// nothing: an attempt is "done" after a fixed time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#include "capsweep/v1/worker.grpc.pb.h"
#include "common/clock.h"

namespace capsweep::bench {

struct FleetOptions {
  std::string address;
  int workers = 1;
  int slots = 1;             // of each
  Duration training{};       // of one attempt
  std::string kind = "cpu";  // of the devices: the coordinator learns how fast each kind is
  int channels = 8;          // shared by the workers
  double longest_wait = 20;  // seconds an idle call may be held open
};

struct FleetCounts {
  int64_t calls = 0, results = 0, errors = 0;
  std::string last_error;
  // Seconds of the calls that came back at once, sorted: those that reported or asked, not those that were held open.
  std::vector<double> latencies;
};

// All methods from one thread; calls complete on gRPC's.
class Fleet {
 public:
  explicit Fleet(FleetOptions options);
  ~Fleet();  // waits for the calls under way

  void Start();
  // Results acknowledged so far.
  int64_t results() const { return results_; }
  // Counts since the last Take.
  FleetCounts Take();

 private:
  // Sorts after those of every fleet before, as an agent's starts do.
  static std::string NextIncarnation();

  struct Worker {
    std::unique_ptr<v1::WorkerService::Stub> stub;
    std::string id;
    std::string database_id;
    int64_t sequence = 0;
    std::map<std::pair<int64_t, int32_t>, std::pair<v1::Assignment, Instant>> held;  // and when it is done
  };
  struct Call;

  void Drive();
  void Send(size_t worker);
  void Done(Call* call);
  Instant Receive(Worker& worker, const Call& call);

  const FleetOptions options_;
  const std::string incarnation_ = NextIncarnation();
  std::vector<Worker> workers_;  // each touched by its timer or its call, never both
  std::atomic<int64_t> results_{0};
  std::mutex mu_;
  std::condition_variable changed_;
  std::priority_queue<std::pair<Instant, size_t>, std::vector<std::pair<Instant, size_t>>, std::greater<>> due_;
  int64_t under_way_ = 0;
  bool ending_ = false;
  FleetCounts counts_;
  std::thread driver_;
};

}  // namespace capsweep::bench
