// capsweep-trainer: points in, measurements out, as JSON lines (docs/trainer-protocol.md).
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "common/build_info.h"
#include "common/logging.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/cpu/cpu_backend.h"
#include "worker/trainer/cuda/cuda_backend.h"
#include "worker/trainer/line_io.h"
#include "worker/trainer/runner.h"
#include "worker/trainer/torch/torch_backend.h"

namespace capsweep::trainer {
namespace {

// Every back end, in order of preference. One line per back end.
struct BackendEntry {
  std::string_view name;
  absl::StatusOr<std::unique_ptr<Backend>> (*make)(const std::string& device, int slots);
};
constexpr BackendEntry kBackends[] = {
    {"cpu", &MakeCpuBackend},
    {"cuda", &MakeCudaBackend},
    {"torch", &MakeTorchBackend},
};

// How long the pack trains between looks at the input.
constexpr Duration kSlice = std::chrono::milliseconds(100);
constexpr Duration kIdleWait = std::chrono::seconds(3600);

struct Options {
  bool serve = false;
  bool progress = false;
  std::string device = "cpu:0";
  std::string backend;
};

// One thread, whatever the environment says: a result must not depend on the number of threads, and a spinning pool is
// slower than none. OpenMP and BLAS read their settings when they are loaded, so only a fresh start can change them.
void RestartSingleThreaded(char** argv) {
  bool changed = false;
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || std::string_view(value) != "1") {
      setenv(name, "1", 1);
      changed = true;
    }
  }
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);  // reproducible cuBLAS
  if (changed) {
    execv("/proc/self/exe", argv);
    spdlog::warn("cannot restart with one thread: {}", std::strerror(errno));
  }
}

// Steps allocate and free the same few megabytes over and over: keep them instead of asking the kernel each time.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

void HandleSignals(bool serve) {
  std::signal(SIGPIPE, SIG_IGN);
  // Under an agent the agent decides: it sends `stop`, or closes the pipe.
  std::signal(
      SIGTERM, serve ? SIG_IGN : [](int) { _exit(128 + SIGTERM); });
}

// Unimplemented says that a back end is not made for this device, or not in this build: then another one serves.
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeBackends(const Options& options, const std::string& device) {
  std::vector<std::unique_ptr<Backend>> backends;
  std::string known, why_not;
  absl::Status error;
  for (const BackendEntry& entry : kBackends) {
    StrAppend(&known, known.empty() ? "" : ", ", entry.name);
    if (!options.backend.empty() && options.backend != entry.name) {
      continue;
    }
    absl::StatusOr<std::unique_ptr<Backend>> backend = entry.make(device, 1);
    if (backend.ok()) {
      backends.push_back(*std::move(backend));
      continue;
    }
    const std::string_view message(backend.status().message().data(), backend.status().message().size());
    StrAppend(&why_not, "; ", entry.name, ": ", message);
    if (!absl::IsUnimplemented(backend.status())) {
      error.Update(backend.status());
    }
  }
  if (!backends.empty()) {
    return backends;
  }
  RETURN_IF_ERROR(error);
  if (why_not.empty()) {
    return absl::InvalidArgumentError(
        StrCat("--backend '", options.backend, "' is not in this trainer; it has ", known));
  }
  return absl::UnimplementedError(StrCat("no back end drives device ", device, why_not));
}

// The device's own facts come from the back end that drives it; LibTorch's version and BLAS from LibTorch, which may be
// built for CPUs only.
absl::StatusOr<DeviceFacts> FindDeviceFacts(const std::string& device, std::string_view driver) {
  if (driver != "cuda") {
    return TorchDeviceFacts(device);
  }
  ASSIGN_OR_RETURN(DeviceFacts facts, CudaDeviceFacts(device));
  ASSIGN_OR_RETURN(const DeviceFacts torch, TorchDeviceFacts("cpu"));
  facts.torch_version = torch.torch_version;
  facts.blas = torch.blas;
  return facts;
}

void WarnAboutSlowBlas(const DeviceFacts& facts) {
  if (facts.blas.rfind("openblas", 0) != 0 && facts.blas != "mkl") {
    spdlog::warn(
        "linear algebra is '{}', which is several times slower than OpenBLAS; on Debian install "
        "libopenblas0-pthread",
        facts.blas);
  }
}

void FlushOrExit(LineWriter& output) {
  if (!output.Flush()) {
    _exit(kExitFailed);  // nobody listens any more
  }
}

void HandleLine(LineSplitter::Line line, Runner& runner) {
  if (line.too_long) {
    runner.RejectLine(StrCat("a line is longer than ", static_cast<int64_t>(kMaxLineBytes), " bytes"));
  } else {
    runner.Handle(line.text);
  }
}

// Until stopped, or by hand until the input has ended and everything is trained.
absl::Status Serve(InputReader& input, LineWriter& output, Runner& runner) {
  while (!runner.stopped()) {
    const bool wait = !runner.busy() && !input.AtEnd();
    if (wait) {
      FlushOrExit(output);
    }
    if (auto line = input.Take(wait ? kIdleWait : Duration::zero()); line.has_value()) {
      HandleLine(*std::move(line), runner);
      continue;
    }
    if (!runner.busy() && input.AtEnd()) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(runner.Advance(kSlice));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Main(const Options& options) {
  RETURN_IF_ERROR(InitLogging("capsweep-trainer"));
  HandleSignals(options.serve);
  KeepFreedMemory();
  const std::string device = options.device == "cpu:0" ? "cpu" : options.device;
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Backend>> backends, MakeBackends(options, device));
  ASSIGN_OR_RETURN(const DeviceFacts facts, FindDeviceFacts(device, backends.front()->name()));
  WarnAboutSlowBlas(facts);
  const bool report_all = options.serve || options.progress;
  LineWriter output(STDOUT_FILENO);
  if (report_all) {
    std::vector<std::string> names;
    for (const auto& backend : backends) {
      names.emplace_back(backend->name());
    }
    // Models that share a core share its speed: however many are packed, the device is one slot for the scheduler. A
    // pack fills itself from what is queued here.
    output.Add(HelloLine(facts, device, names, device == "cpu" ? 1 : backends.front()->Slots(PointSpec())));
    FlushOrExit(output);
  }
  Runner runner(
      std::move(backends), facts, report_all, [&output](const std::string& line) { output.Add(line); }, Clock::Real(),
      [&output] { FlushOrExit(output); });
  // The reader's thread may outlive this function: never destroyed.
  auto& input = *new InputReader(STDIN_FILENO, kMaxLineBytes, [serve = options.serve] {
    if (serve) {
      _exit(kExitOk);  // the agent is gone
    }
  });
  const absl::Status served = Serve(input, output, runner);
  FlushOrExit(output);
  RETURN_IF_ERROR(served);
  if (options.serve) {
    return kExitOk;
  }
  return runner.any_bad_input() ? kExitBadInput : runner.any_failed() ? kExitFailed : kExitOk;
}

}  // namespace
}  // namespace capsweep::trainer

int main(int argc, char** argv) {
  capsweep::trainer::Options options;
  CLI::App app("Trains and measures points: JSON objects in, one per line; results out, one per line.");
  app.set_version_flag("--version", capsweep::BuildInfo());
  app.add_flag("--serve", options.serve, "work for an agent: report everything, exit at once when the input ends");
  app.add_flag("--progress", options.progress, "also print hello, started and progress lines");
  app.add_option("--device", options.device, "cpu:0 or cuda:N")->capture_default_str();
  app.add_option("--backend", options.backend, "use this back end only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? capsweep::kExitOk : capsweep::kExitBadInput;
  }
  capsweep::trainer::RestartSingleThreaded(argv);
  const absl::StatusOr<int> code = capsweep::trainer::Main(options);
  if (!code.ok()) {
    spdlog::error("{}", std::string_view(code.status().message().data(), code.status().message().size()));
    return capsweep::ExitCodeFor(code.status());
  }
  // Libraries tear down slowly and the reading thread may still wait for input: leave at once.
  _exit(*code);
}
