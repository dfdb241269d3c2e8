#include "bench/bench_common.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmath>
#include <ctime>
#include <fstream>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "bench_commit.h"
#include "common/build_info.h"
#include "common/clock.h"
#include "common/param_count.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::bench {
namespace {

// The value of the first line `name<separator>value`, or "".
std::string LineOf(const char* path, const std::string& name, char separator) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    const size_t at = line.find(separator);
    if (line.rfind(name, 0) == 0 && at != std::string::npos) {
      const size_t start = line.find_first_not_of(" \t\"", at + 1);
      const size_t end = line.find_last_not_of("\" ");
      return start == std::string::npos ? "" : line.substr(start, end + 1 - start);
    }
  }
  return "";
}

std::string System() {
  utsname kernel = {};
  uname(&kernel);
  return StrCat(LineOf("/etc/os-release", "PRETTY_NAME", '='), ", ", kernel.sysname, " ", kernel.machine);
}

}  // namespace

absl::StatusOr<double> FsyncMicros(const std::string& folder) {
  const std::string path = StrCat(folder, "/fsync");
  const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    return FromErrno(errno, StrCat("create ", path));
  }
  constexpr int kRounds = 200;
  const Instant start = Clock::Real().Now();
  bool good = true;
  for (int i = 0; i < kRounds && good; ++i) {
    good = pwrite(fd, "x", 1, i * 4096) == 1 && fdatasync(fd) == 0;
  }
  const double seconds = ToSeconds(Clock::Real().Now() - start);
  const int error = errno;
  close(fd);
  unlink(path.c_str());
  return good ? absl::StatusOr<double>(1e6 * seconds / kRounds) : FromErrno(error, StrCat("write ", path));
}

PointResult NoOpResult(const PointSpec& point, double seconds) {
  PointResult r;
  r.point_key = PointKey(point);
  r.targets = 1;
  r.steps = 1;
  r.stop_reason = "budget";
  r.params_total = CountParams(point).total;
  r.params_train = CountParams(point).train;
  r.backend = "none";
  r.device_kind = "cpu";
  r.seconds = seconds;
  return r;
}

nlohmann::json Provenance() {
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return {{"build", BuildInfo()},
          {"commit", kBenchCommit},
          {"cpu", LineOf("/proc/cpuinfo", "model name", ':')},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_gib", std::lround(memory / (1 << 30))},
          {"system", System()},
          {"time", static_cast<int64_t>(std::time(nullptr))}};
}

void NoLockChecks() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace capsweep::bench
