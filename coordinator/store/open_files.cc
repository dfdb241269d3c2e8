#include "coordinator/store/open_files.h"

#include <sys/stat.h>

#include <map>
#include <utility>

#include "common/mutex.h"

namespace capsweep::store {
namespace {

using FileId = std::pair<uint64_t, uint64_t>;

struct Registry {
  Mutex mu;
  std::map<FileId, int> connections ABSL_GUARDED_BY(mu);
};

Registry& TheRegistry() {
  static Registry& registry = *new Registry();
  return registry;
}

FileId IdOf(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 ? FileId{info.st_dev, info.st_ino} : FileId{};
}

}  // namespace

OpenFile OpenFile::Open(const std::string& path, const std::function<void()>& open) {
  Registry& registry = TheRegistry();
  MutexLock lock(&registry.mu);
  open();
  OpenFile noted;
  noted.file_ = IdOf(path);
  if (noted.file_ != FileId{}) ++registry.connections[noted.file_];
  return noted;
}

OpenFile::~OpenFile() {
  if (file_ == FileId{}) return;
  Registry& registry = TheRegistry();
  MutexLock lock(&registry.mu);
  const auto entry = registry.connections.find(file_);
  if (--entry->second == 0) registry.connections.erase(entry);
}

bool PeekUnlessOpen(const std::string& path, const std::function<void()>& peek) {
  Registry& registry = TheRegistry();
  MutexLock lock(&registry.mu);
  if (registry.connections.contains(IdOf(path))) return false;
  peek();
  return true;
}

}  // namespace capsweep::store
