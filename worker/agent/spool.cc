#include "worker/agent/spool.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "common/fail_point.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".report";
constexpr int64_t kMaxFileBytes = 16 << 20;

bool HasSuffix(const std::string& name, std::string_view suffix) {
  return name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

// A database id comes from the network; only one that is plain may become part of a file name.
std::string SafeName(const std::string& database_id) {
  const bool plain = !database_id.empty() && database_id.size() <= 64 &&
                     std::all_of(database_id.begin(), database_id.end(),
                                 [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
  return plain ? database_id : StrCat("x", Sha256Hex(database_id).substr(0, 32));
}

absl::StatusOr<FileLock> WaitForLock(const std::string& path, Duration wait, const std::function<bool()>& give_up) {
  const Instant deadline = std::chrono::steady_clock::now() + wait;
  while (true) {
    absl::StatusOr<FileLock> lock = FileLock::TryAcquire(path);
    if (lock.ok() || lock.status().code() != absl::StatusCode::kFailedPrecondition) return lock;
    if (std::chrono::steady_clock::now() >= deadline || (give_up && give_up())) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Spool>> Spool::Open(const std::string& folder, Duration lock_wait,
                                                   const std::function<bool()>& give_up) {
  RETURN_IF_ERROR(Annotate(MakeFolders(folder), "spool folder"));
  absl::StatusOr<FileLock> lock = WaitForLock(folder + "/lock", lock_wait, give_up);
  if (lock.status().code() == absl::StatusCode::kFailedPrecondition) {
    return absl::FailedPreconditionError(StrCat("spool folder ", folder, " is in use by another worker (",
                                                lock.status().message(),
                                                "); give each worker on this host its own --id or --spool"));
  }
  if (!lock.ok()) return lock.status();
  std::unique_ptr<Spool> spool(new Spool(folder, std::move(*lock)));
  RETURN_IF_ERROR(spool->ReadFolder());
  return spool;
}

absl::Status Spool::ReadFolder() {
  std::error_code error;
  std::vector<std::string> reports;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (HasSuffix(name, ".tmp")) unlink(entry.path().c_str());  // of a write that a crash cut short
    if (HasSuffix(name, kSuffix)) reports.push_back(entry.path().string());
  }
  if (error) return absl::InternalError(StrCat("read spool folder ", folder_, ": ", error.message()));
  for (const std::string& path : reports) {
    absl::StatusOr<std::string> bytes = ReadFile(path, kMaxFileBytes);
    absl::StatusOr<Report> report = bytes.ok() ? DecodeReport(*bytes) : absl::StatusOr<Report>(bytes.status());
    if (report.ok()) {
      files_[{report->database_id, report->id}] = path;
    } else {
      MoveAside(path, "corrupt", std::string(report.status().message()));
    }
  }
  return absl::OkStatus();
}

int64_t Spool::NextStart(int64_t now_micros) {
  const std::string path = StrCat(folder_, "/last-start");
  int64_t last = 0;
  if (const absl::StatusOr<std::string> text = ReadFile(path, 64); text.ok()) {
    std::from_chars(text->data(), text->data() + text->size(), last);  // of a damaged file: 0, as if there were none
  }
  const int64_t start = std::max(now_micros, last + 1);
  if (const absl::Status written = WriteFileAtomic(path, StrCat(start, "\n")); !written.ok()) {
    spdlog::warn("cannot remember this start: {}", written.ToString());
  }
  return start;
}

absl::Status Spool::Add(const Report& report) {
  const std::string path = StrCat(folder_, "/", SafeName(report.database_id), "-", report.id.point.value(), "-",
                                  report.id.attempt.value(), kSuffix);
  RETURN_IF_ERROR(Reach(FailPoint::kSpoolAdd));
  RETURN_IF_ERROR(WriteFileAtomic(path, EncodeReport(report)));
  files_[{report.database_id, report.id}] = path;
  return absl::OkStatus();
}

void Spool::Remove(const std::string& database_id, const AttemptId& id) {
  auto it = files_.find({database_id, id});
  if (it == files_.end()) return;
  Reach(FailPoint::kSpoolRemove).IgnoreError();
  unlink(it->second.c_str());
  Reach(FailPoint::kSpoolRemoved).IgnoreError();
  files_.erase(it);
}

void Spool::SetAside(const Report& report) {
  if (absl::Status status = Add(report); !status.ok()) {
    spdlog::error("{}", WithIds(StrCat("a report cannot be kept: ", status.message()), report.id));
    return;
  }
  auto it = files_.find({report.database_id, report.id});
  MoveAside(it->second, "refused", "the coordinator refuses every call that carries it");
  files_.erase(it);
}

std::vector<Report> Spool::Load(const std::string& database_id) {
  std::vector<Report> reports;
  for (auto it = files_.lower_bound({database_id, AttemptId{}});
       it != files_.end() && it->first.first == database_id;) {
    absl::StatusOr<std::string> bytes = ReadFile(it->second, kMaxFileBytes);
    absl::StatusOr<Report> report = bytes.ok() ? DecodeReport(*bytes) : absl::StatusOr<Report>(bytes.status());
    if (report.ok()) {
      reports.push_back(std::move(*report));
      ++it;
    } else {
      MoveAside(it->second, "corrupt", std::string(report.status().message()));
      it = files_.erase(it);
    }
  }
  return reports;
}

std::set<std::string> Spool::Databases() const {
  std::set<std::string> databases;
  for (const auto& [key, path] : files_) databases.insert(key.first);
  return databases;
}

void Spool::MoveAside(const std::string& path, const std::string& subfolder, const std::string& why) {
  const std::string target_folder = StrCat(folder_, "/", subfolder);
  const std::string target = StrCat(target_folder, "/", fs::path(path).filename().string());
  spdlog::warn("spooled report {} is moved to {}: {}", path, target, why);
  std::error_code error;
  if (absl::Status made = MakeFolders(target_folder); made.ok()) fs::rename(path, target, error);
  if (error) spdlog::warn("could not move {}: {}", path, error.message());
}

}  // namespace capsweep::agent
