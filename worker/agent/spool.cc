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
    Content content = ReadReports(path);
    for (const Report& report : content.reports) Put({report.database_id, report.id}, path);
    if (!content.damage.ok()) Mend(path, std::move(content));
  }
  return absl::OkStatus();
}

Spool::Content Spool::ReadReports(const std::string& path) {
  Content content;
  absl::StatusOr<std::string> bytes = ReadFile(path, kMaxFileBytes);
  if (!bytes.ok()) return {{}, bytes.status()};
  const ReportParts parts = SplitReports(*bytes);
  for (const std::string_view part : parts.reports) {
    absl::StatusOr<Report> report = DecodeReport(part);
    content.damage.Update(report.status());
    if (report.ok()) content.reports.push_back(std::move(*report));
  }
  if (!parts.complete) content.damage.Update(absl::DataLossError("reports are missing at its end"));
  return content;
}

void Spool::Mend(const std::string& path, Content content) {
  std::map<std::string, std::vector<std::shared_ptr<const Report>>> whole;
  for (Report& report : content.reports) {
    const auto file = files_.find({report.database_id, report.id});
    if (file == files_.end() || file->second != path) continue;
    std::vector<std::shared_ptr<const Report>>& reports = whole[report.database_id];
    reports.push_back(std::make_shared<const Report>(std::move(report)));
  }
  ++owed_[path];  // it stays until it is moved, for people to look at
  for (const auto& [database, reports] : whole) {
    if (absl::Status saved = AddGroup(reports); !saved.ok()) {
      spdlog::warn("{} is damaged; what is whole in it stays there: {}", path, std::string(saved.message()));
      --owed_[path];
      return;
    }
  }
  std::erase_if(files_, [&](const auto& entry) { return entry.second == path; });
  owed_.erase(path);
  MoveAside(path, "corrupt", std::string(content.damage.message()));
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
  return AddGroup({std::shared_ptr<const Report>(std::shared_ptr<void>(), &report)});
}

absl::Status Spool::AddGroup(const std::vector<std::shared_ptr<const Report>>& reports) {
  if (reports.empty()) return absl::OkStatus();
  const Report& first = *reports.front();
  // A group never takes the name of another file: that may hold others.
  const std::string others =
      reports.size() == 1 ? "" : StrCat("-and-", reports.size() - 1, "-", RandomHexId().substr(0, 8));
  const std::string path = StrCat(folder_, "/", SafeName(first.database_id), "-", first.id.point.value(), "-",
                                  first.id.attempt.value(), others, kSuffix);
  std::vector<std::string> texts;
  std::vector<Key> keys;
  for (const auto& report : reports) {
    texts.push_back(EncodeReport(*report));
    keys.emplace_back(report->database_id, report->id);
  }
  return Write(path, JoinReports(texts), keys);
}

absl::Status Spool::Write(const std::string& path, const std::string& bytes, const std::vector<Key>& keys) {
  RETURN_IF_ERROR(Reach(FailPoint::kSpoolAdd));
  RETURN_IF_ERROR(WriteFileAtomic(path, bytes));
  for (const Key& key : keys) Put(key, path);
  return absl::OkStatus();
}

void Spool::Put(const Key& key, const std::string& path) {
  const auto before = files_.find(key);
  if (before != files_.end() && before->second == path) return;
  if (before != files_.end()) {
    if (const std::string old = before->second; Drop(key)) unlink(old.c_str());
  }
  files_[key] = path;
  ++owed_[path];
}

bool Spool::Drop(const Key& key) {
  const auto it = files_.find(key);
  const auto owed = owed_.find(it->second);
  files_.erase(it);
  if (--owed->second > 0) return false;
  owed_.erase(owed);
  return true;
}

void Spool::Remove(const std::string& database_id, const AttemptId& id) {
  const auto it = files_.find({database_id, id});
  if (it == files_.end()) return;
  const std::string path = it->second;
  if (!Drop({database_id, id})) return;
  Reach(FailPoint::kSpoolRemove).IgnoreError();
  unlink(path.c_str());
  Reach(FailPoint::kSpoolRemoved).IgnoreError();
}

void Spool::SetAside(const Report& report) {
  if (absl::Status status = Add(report); !status.ok()) {
    spdlog::error("{}", WithIds(StrCat("a report cannot be kept: ", status.message()), report.id));
    return;
  }
  const Key key{report.database_id, report.id};
  const std::string path = files_.at(key);
  Drop(key);
  MoveAside(path, "refused", "the coordinator refuses every call that carries it");
}

std::vector<Report> Spool::Load(const std::string& database_id) {
  std::set<std::string> paths;
  for (const auto& [key, path] : files_) {
    if (key.first == database_id) paths.insert(path);
  }
  std::vector<Report> reports;
  for (const std::string& path : paths) {
    Content content = ReadReports(path);
    for (const Report& report : content.reports) {
      const auto file = files_.find({report.database_id, report.id});
      if (file != files_.end() && file->second == path) reports.push_back(report);
    }
    if (!content.damage.ok()) Mend(path, std::move(content));
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
