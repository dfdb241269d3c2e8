#include "tests/fault/power_loss_vfs.h"

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "common/text.h"

namespace capsweep::fault {
namespace {

constexpr size_t kSector = 512;

sqlite3_vfs* real = nullptr;

// Followed in memory by the real file.
struct OpenFile {
  sqlite3_file base;
  std::string* path;  // null: temporary, not followed
  sqlite3_file* Real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

OpenFile* Of(sqlite3_file* file) {
  return reinterpret_cast<OpenFile*>(file);
}

using Operation = PowerLossDisk::Operation;

int Guard(sqlite3_file* file, Operation operation) {
  OpenFile* open = Of(file);
  return open->path == nullptr ? SQLITE_OK : PowerLossDisk::Get().Begin(operation, *open->path);
}

int Close(sqlite3_file* file) {
  OpenFile* open = Of(file);
  const int code = open->Real()->pMethods->xClose(open->Real());
  delete open->path;
  return code;
}
int Read(sqlite3_file* file, void* bytes, int size, sqlite3_int64 at) {
  if (const int code = Guard(file, Operation::kRead); code != SQLITE_OK) return code;
  return Of(file)->Real()->pMethods->xRead(Of(file)->Real(), bytes, size, at);
}
int Write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 at) {
  if (const int code = Guard(file, Operation::kWrite); code != SQLITE_OK) return code;
  const int code = Of(file)->Real()->pMethods->xWrite(Of(file)->Real(), bytes, size, at);
  if (code == SQLITE_OK && Of(file)->path != nullptr) {
    PowerLossDisk::Get().Note(*Of(file)->path,
                              {at, std::string(static_cast<const char*>(bytes), static_cast<size_t>(size)), false});
  }
  return code;
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (const int code = Guard(file, Operation::kTruncate); code != SQLITE_OK) return code;
  const int code = Of(file)->Real()->pMethods->xTruncate(Of(file)->Real(), size);
  if (code == SQLITE_OK && Of(file)->path != nullptr) PowerLossDisk::Get().Note(*Of(file)->path, {size, "", true});
  return code;
}
int Sync(sqlite3_file* file, int) {
  if (const int code = Guard(file, Operation::kSync); code != SQLITE_OK) return code;
  // What is kept is decided here; the disk below need not work for it.
  if (Of(file)->path != nullptr) PowerLossDisk::Get().NoteSync(*Of(file)->path);
  return SQLITE_OK;
}
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Of(file)->Real()->pMethods->xFileSize(Of(file)->Real(), size);
}
int Lock(sqlite3_file* file, int level) {
  return Of(file)->Real()->pMethods->xLock(Of(file)->Real(), level);
}
int Unlock(sqlite3_file* file, int level) {
  return Of(file)->Real()->pMethods->xUnlock(Of(file)->Real(), level);
}
int CheckReservedLock(sqlite3_file* file, int* out) {
  return Of(file)->Real()->pMethods->xCheckReservedLock(Of(file)->Real(), out);
}
int FileControl(sqlite3_file* file, int op, void* argument) {
  // A hint that would change the file behind our back.
  if (op == SQLITE_FCNTL_SIZE_HINT || op == SQLITE_FCNTL_CHUNK_SIZE) return SQLITE_OK;
  return Of(file)->Real()->pMethods->xFileControl(Of(file)->Real(), op, argument);
}
int SectorSize(sqlite3_file*) {
  return kSector;
}
// No promise about what a power loss leaves of a write.
int DeviceCharacteristics(sqlite3_file*) {
  return 0;
}
int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return Of(file)->Real()->pMethods->xShmMap(Of(file)->Real(), page, size, extend, out);
}
int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  return Of(file)->Real()->pMethods->xShmLock(Of(file)->Real(), offset, count, flags);
}
void ShmBarrier(sqlite3_file* file) {
  Of(file)->Real()->pMethods->xShmBarrier(Of(file)->Real());
}
int ShmUnmap(sqlite3_file* file, int remove) {
  return Of(file)->Real()->pMethods->xShmUnmap(Of(file)->Real(), remove);
}

const sqlite3_io_methods kMethods = {2,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Unlock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     DeviceCharacteristics,
                                     ShmMap,
                                     ShmLock,
                                     ShmBarrier,
                                     ShmUnmap,
                                     nullptr,
                                     nullptr};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  OpenFile* open = Of(file);
  open->base.pMethods = nullptr;
  open->path = nullptr;
  const int code = real->xOpen(real, name, open->Real(), flags, out_flags);
  if (code != SQLITE_OK) return code;
  constexpr int kFollowed = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL;
  if (name != nullptr && (flags & kFollowed) != 0) {
    open->path = new std::string(name);
    PowerLossDisk::Get().NoteOpen(*open->path);
  }
  open->base.pMethods = &kMethods;
  return SQLITE_OK;
}
int Delete(sqlite3_vfs*, const char* name, int sync_folder) {
  if (const int code = PowerLossDisk::Get().Begin(Operation::kDelete, name); code != SQLITE_OK) return code;
  const int code = real->xDelete(real, name, 0);
  if (code == SQLITE_OK) PowerLossDisk::Get().NoteDelete(name, sync_folder != 0);
  return code;
}

}  // namespace

PowerLossDisk& PowerLossDisk::Get() {
  static PowerLossDisk& disk = *new PowerLossDisk();
  return disk;
}

PowerLossDisk::PowerLossDisk() {
  real = sqlite3_vfs_find(nullptr);
  static sqlite3_vfs vfs = *real;
  vfs.zName = "power-loss";
  vfs.szOsFile = static_cast<int>(sizeof(OpenFile)) + real->szOsFile;
  vfs.pNext = nullptr;
  vfs.xOpen = Open;
  vfs.xDelete = Delete;
  sqlite3_vfs_register(&vfs, 1);
}

void PowerLossDisk::Reset() {
  before = nullptr;
  fault = nullptr;
  std::lock_guard lock(mutex_);
  files_.clear();
  number_ = 0;
}

int PowerLossDisk::Begin(Operation operation, const std::string& path) {
  int64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    number = operation == Operation::kRead ? number_ : ++number_;
  }
  if (operation != Operation::kRead && before) before(number, operation);
  return fault ? fault(number, operation, path) : SQLITE_OK;
}

void PowerLossDisk::NoteOpen(const std::string& path) {
  std::lock_guard lock(mutex_);
  const auto [entry, made] = files_.try_emplace(path);
  if (!made && !entry->second.deleted) return;
  entry->second = File();
  std::ifstream file(path, std::ios::binary);
  entry->second.synced.assign(std::istreambuf_iterator<char>(file), {});
  entry->second.ever_synced = !entry->second.synced.empty();  // it was there before
}

void PowerLossDisk::Note(const std::string& path, Write write) {
  std::lock_guard lock(mutex_);
  files_[path].unsynced.push_back(std::move(write));
}

void PowerLossDisk::NoteSync(const std::string& path) {
  std::lock_guard lock(mutex_);
  File& file = files_[path];
  for (const Write& write : file.unsynced) Apply(file.synced, write, write.bytes.size());
  file.unsynced.clear();
  // With the first sync of a new journal or log SQLite also syncs the folder: what was deleted before stays so.
  const bool folder_too =
      !std::exchange(file.ever_synced, true) && (path.ends_with("-wal") || path.ends_with("-journal"));
  if (folder_too) std::erase_if(files_, [](const auto& entry) { return entry.second.deleted; });
}

void PowerLossDisk::NoteDelete(const std::string& path, bool sync_folder) {
  std::lock_guard lock(mutex_);
  if (sync_folder) {
    files_.erase(path);
    std::erase_if(files_, [](const auto& entry) { return entry.second.deleted; });
  } else if (const auto entry = files_.find(path); entry != files_.end()) {
    entry->second.deleted = true;
  }
}

void PowerLossDisk::Apply(std::string& content, const Write& write, size_t bytes) {
  const auto at = static_cast<size_t>(write.at);
  if (write.truncate) {
    content.resize(at);
    return;
  }
  if (content.size() < at + bytes) content.resize(at + bytes);
  std::memcpy(content.data() + at, write.bytes.data(), bytes);
}

void PowerLossDisk::SaveAfterPowerLoss(const std::string& folder, const std::string& target, std::mt19937_64& random) {
  std::filesystem::remove_all(target);
  std::filesystem::create_directories(target);
  // Weather: nothing of what was not synced, nearly all, or any part of it.
  const uint64_t kept_percent = std::array<uint64_t, 4>{0, 50, 90, 100}[random() % 4];
  std::lock_guard lock(mutex_);
  for (const auto& [path, file] : files_) {
    if (!path.starts_with(folder)) continue;
    if (file.deleted && random() % 2 == 0) continue;
    if (!file.ever_synced && random() % 2 == 0) continue;
    std::string content = file.synced;
    for (const Write& write : file.unsynced) {
      if (random() % 100 >= kept_percent) continue;
      size_t bytes = write.bytes.size();
      if (!write.truncate && random() % 4 == 0) bytes = random() % (bytes / kSector + 1) * kSector;
      Apply(content, write, std::min(bytes, write.bytes.size()));
    }
    std::ofstream(StrCat(target, "/", std::filesystem::path(path).filename().string()), std::ios::binary) << content;
  }
}

}  // namespace capsweep::fault
