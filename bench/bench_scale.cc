// The coordinator at scale: the real program with a real database, users' calls and simulated workers over real gRPC.
// Prints a table and, with --json FILE, appends one line to it with commit and machine.
//
//   bench_scale [--points 1000000] [--workers 10000] [--seconds 30] [--soak MINUTES] [--json FILE]
//
// Everything runs on the same cores: what the fleet uses, the coordinator lacks. CPU seconds are the coordinator's own.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/bench_common.h"
#include "bench/scale_fleet.h"
#include "capsweep/v1/control.grpc.pb.h"
#include "common/build_info.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "nlohmann/json.hpp"
#include "proto/convert.h"

namespace capsweep::bench {
namespace {

struct Options {
  int64_t points = 1'000'000;
  int workers = 10'000;
  double seconds = 30;
  double soak_minutes = 0;
  std::string json;
};

[[noreturn]] void Stop(const std::string& why) {
  std::fprintf(stderr, "bench_scale: %s\n", why.c_str());
  std::exit(1);
}

Instant Now() {
  return Clock::Real().Now();
}
double Since(Instant start) {
  return ToSeconds(Now() - start);
}

// The coordinator program, its database and a user's connection to it.
class Coordinator {
 public:
  explicit Coordinator(std::string database) : database_(std::move(database)) {}

  // Returns the seconds until a user's call was answered.
  double Start() {
    const Instant start = Now();
    SubprocessOptions options;
    options.argv = {
        SiblingProgram("capsweep-coordinator"), "--db", database_, "--listen", "127.0.0.1:0", "--log-level", "warning"};
    options.pipe_stdout = true;
    auto process = Subprocess::Start(options);
    if (!process.ok()) {
      Stop(process.status().ToString());
    }
    process_ = std::make_unique<Subprocess>(*std::move(process));
    std::string line;
    while (line.find('\n') == std::string::npos) {
      char buffer[512];
      const ssize_t n = read(process_->stdout_fd(), buffer, sizeof buffer);
      if (n > 0) {
        line.append(buffer, static_cast<size_t>(n));
      } else if (process_->Poll() || Since(start) > 600) {
        Stop("the coordinator did not start");
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    address_ = line.substr(line.rfind(' ') + 1);
    address_.pop_back();
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ =
        v1::SweepService::NewStub(grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::GetServerInfoResponse response;
    const grpc::Status status = stub_->GetServerInfo(&context, {}, &response);
    if (!status.ok()) {
      Stop(status.error_message());
    }
    return Since(start);
  }

  void Kill() {
    process_->Signal(SIGKILL);
    process_->Wait(std::chrono::seconds(30));
    process_.reset();
  }

  // `steps`: of each point; what the coordinator takes for its length.
  void Submit(const std::string& name, int64_t points, int64_t steps = 1, int32_t priority = 0) {
    v1::SubmitSweepRequest request;
    request.set_priority(priority);
    request.set_text(StrCat("sweep: ", name,
                            "\ntask: {mode: label, vocab: 16, seq_len: 8}\nmodel: {heads: 1, width: 8}\n",
                            "data: {dataset_size: 16}\ntrain: {lr: 0.001, batch_size: 16, eval_every: ", ++sweeps_,
                            ", steps: ", steps, "}\nrepeats: ", points, "\nlimits: {max_points: ", points, "}\n"));
    request.set_file_name("bench.yaml");
    grpc::ClientContext context;
    v1::SubmitSweepResponse response;
    const grpc::Status status = stub_->SubmitSweep(&context, request, &response);
    if (!status.ok() || response.new_points() != points) {
      Stop(StrCat("submit: ", status.error_message()));
    }
  }

  double CpuSeconds() const {
    std::ifstream file(StrCat("/proc/", process_->pid(), "/stat"));
    std::string text((std::istreambuf_iterator<char>(file)), {});
    std::istringstream rest(text.substr(text.rfind(')') + 2));
    std::string field;
    double ticks = 0;
    for (int i = 3; rest >> field && i <= 15; ++i) {
      ticks += i >= 14 ? std::stod(field) : 0;
    }
    return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  double Megabytes() const {
    std::ifstream file(StrCat("/proc/", process_->pid(), "/statm"));
    int64_t total = 0, resident = 0;
    file >> total >> resident;
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
  }
  const std::string& address() const { return address_; }

 private:
  static std::string SiblingProgram(const std::string& name) {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  }

  const std::string database_;
  std::unique_ptr<Subprocess> process_;
  std::string address_;
  std::unique_ptr<v1::SweepService::Stub> stub_;
  int64_t sweeps_ = 0;  // every sweep asks for points of its own
};

class Report {
 public:
  // `budget` "" = none stated.
  void Add(const std::string& name, double value, const std::string& unit, const std::string& budget = "") {
    std::printf("%-62s %12.4g %-10s %s\n", name.c_str(), value, unit.c_str(),
                budget.empty() ? "" : ("aim " + budget).c_str());
    std::fflush(stdout);
    rows_.push_back({{"name", name}, {"value", value}, {"unit", unit}, {"aim", budget}});
  }
  void Append(const std::string& path, double fsync_micros) const {
    if (path.empty()) {
      return;
    }
    nlohmann::json out = Provenance();
    out.update({{"bench", "scale"}, {"fsync_us", fsync_micros}, {"rows", rows_}});
    std::ofstream(path, std::ios::app) << out.dump() << "\n";
  }

 private:
  nlohmann::json rows_ = nlohmann::json::array();
};

double Quantile(const std::vector<double>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

void Submission(Coordinator& coordinator, const Options& options, Report& report) {
  const double empty = coordinator.Megabytes();
  const double cpu = coordinator.CpuSeconds();
  const Instant start = Now();
  coordinator.Submit("big", options.points);
  report.Add(StrCat("sweep of ", options.points, " points submitted"), Since(start), "s", "< 10");
  report.Add("  of it, coordinator CPU", coordinator.CpuSeconds() - cpu, "s");
  report.Add("  memory for it", coordinator.Megabytes() - empty, "MB", "< 600 in all");
}

// Two workers with many slots, points of no length: what dispatch and commit cost.
void Throughput(Coordinator& coordinator, const Options& options, Report& report) {
  const double cpu = coordinator.CpuSeconds();
  Fleet fleet({.address = coordinator.address(), .workers = 2, .slots = 256});
  const Instant start = Now();
  fleet.Start();
  while (Since(start) < options.seconds && fleet.results() < options.points) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const double seconds = Since(start);
  const auto results = static_cast<double>(std::max<int64_t>(fleet.results(), 1));
  report.Add("no-op points, 2 workers, every result on disk", results / seconds, "points/s", ">= 28000");
  report.Add("  coordinator CPU per point", 1e6 * (coordinator.CpuSeconds() - cpu) / results, "us", "<= 25");
}

// Many workers that train for ten seconds at a time and call every two.
void Connected(Coordinator& coordinator, const Options& options, Report& report) {
  constexpr int64_t kStepsOfTenSeconds = 1'500'000;
  const auto rounds = static_cast<int64_t>((options.seconds + 30) / 10);
  coordinator.Submit("long", options.workers * rounds, kStepsOfTenSeconds, /*priority=*/1);
  Fleet fleet({.address = coordinator.address(),
               .workers = options.workers,
               .slots = 1,
               .training = std::chrono::seconds(10),
               .kind = "slow",
               .channels = 64});
  fleet.Start();
  std::this_thread::sleep_for(std::chrono::seconds(6));  // registered, each with its first points
  (void)fleet.Take();
  const double cpu = coordinator.CpuSeconds();
  const Instant start = Now();
  std::this_thread::sleep_for(FromSeconds(options.seconds));
  const double seconds = Since(start);
  const double used = coordinator.CpuSeconds() - cpu;
  const FleetCounts counts = fleet.Take();
  report.Add(StrCat(options.workers, " workers: calls"), static_cast<double>(counts.calls) / seconds, "calls/s");
  report.Add("  median call", 1e3 * Quantile(counts.latencies, 0.5), "ms");
  report.Add("  99th percentile", 1e3 * Quantile(counts.latencies, 0.99), "ms", "< 100");
  report.Add("  coordinator CPU", used / seconds, "cores", "<= 1");
  report.Add("  coordinator CPU per call", 1e6 * used / static_cast<double>(std::max<int64_t>(counts.calls, 1)), "us");
  report.Add("  failed calls", static_cast<double>(counts.errors), "calls", "0");
  if (counts.errors > 0) {
    std::printf("    the last error: %s\n", counts.last_error.c_str());
  }
}

void Restart(Coordinator& coordinator, const Options& options, Report& report) {
  coordinator.Kill();
  report.Add(StrCat("kill -9 with ", options.points, " points, until it serves again"), coordinator.Start(), "s",
             "< 10");
  report.Add("  memory then", coordinator.Megabytes(), "MB", "< 600");
}

// What results wait for while a sweep as large as the first is submitted: the longest call that delivered some.
void Meanwhile(Coordinator& coordinator, const Options& options, Report& report) {
  coordinator.Submit("beside", 100'000, 1, /*priority=*/2);
  Fleet fleet({.address = coordinator.address(), .workers = 2, .slots = 4, .training = std::chrono::milliseconds(20)});
  fleet.Start();
  std::this_thread::sleep_for(std::chrono::seconds(3));
  (void)fleet.Take();
  const Instant start = Now();
  coordinator.Submit("other", options.points);
  const double seconds = Since(start);
  const FleetCounts counts = fleet.Take();
  report.Add(StrCat("sweep of ", options.points, " points submitted, 2 workers at work"), seconds, "s");
  report.Add("  results meanwhile", static_cast<double>(counts.results), "results");
  report.Add("  calls that delivered them: 99th percentile", 1e3 * Quantile(counts.latencies, 0.99), "ms");
  report.Add("  the longest", 1e3 * Quantile(counts.latencies, 1), "ms");
}

// Sweeps of ten thousand points one after the other; memory must level off.
void Soak(Coordinator& coordinator, const Options& options, Report& report) {
  const Instant start = Now();
  int64_t sweeps = 0, done = 0;
  double early = 0;
  while (Since(start) < 60 * options.soak_minutes) {
    constexpr int64_t kPoints = 10'000;
    coordinator.Submit(StrCat("soak", ++sweeps), kPoints);
    done += kPoints;
    Fleet fleet({.address = coordinator.address(), .workers = 50, .slots = 16});
    fleet.Start();
    const Instant begun = Now();
    while (fleet.results() < kPoints) {
      if (Since(begun) > 300) {
        Stop("a sweep of the soak did not end");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    if (early == 0 && Since(start) > 12 * options.soak_minutes) {
      early = coordinator.Megabytes();
    }
  }
  report.Add(StrCat("soak of ", options.soak_minutes, " minutes: points"), static_cast<double>(done), "points");
  report.Add("  memory at a fifth of it", early, "MB");
  report.Add("  memory at its end", coordinator.Megabytes(), "MB", "flat beside 48 B per point");
}

int Main(int argc, char** argv) {
  NoLockChecks();
  Options options;
  CLI::App app("The coordinator at scale, with simulated workers over real gRPC.", "bench_scale");
  app.add_option("--points", options.points, "Points of the big sweep")->check(CLI::Range(1000, 10'000'000));
  app.add_option("--workers", options.workers, "Connected workers")->check(CLI::Range(1, 20'000));
  app.add_option("--seconds", options.seconds, "Length of each measurement")->check(CLI::Range(1.0, 3600.0));
  app.add_option("--soak", options.soak_minutes, "Also a soak of so many minutes")->check(CLI::Range(0.0, 10'000.0));
  app.add_option("--json", options.json, "Append the figures to this file, one line");
  CLI11_PARSE(app, argc, argv);
  const std::string folder = std::filesystem::temp_directory_path() / ("bench_scale_" + RandomHexId());
  if (absl::Status status = MakeFolders(folder); !status.ok()) {
    Stop(status.ToString());
  }
  const absl::StatusOr<double> measured = FsyncMicros(folder);
  if (!measured.ok()) {
    Stop(measured.status().ToString());
  }
  const double fsync_micros = *measured;
  std::printf("%s, %u cores, fdatasync %.0f us\n", BuildInfo().c_str(), std::thread::hardware_concurrency(),
              fsync_micros);
  Report report;
  {
    Coordinator coordinator(folder + "/scale.db");
    coordinator.Start();
    Submission(coordinator, options, report);
    Throughput(coordinator, options, report);
    Connected(coordinator, options, report);
    Restart(coordinator, options, report);
    Meanwhile(coordinator, options, report);
    if (options.soak_minutes > 0) {
      Soak(coordinator, options, report);
    }
  }
  report.Append(options.json, fsync_micros);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace capsweep::bench

int main(int argc, char** argv) {
  return capsweep::bench::Main(argc, argv);
}
