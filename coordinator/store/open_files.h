// Which database files this process has open. POSIX drops every lock a process has on a file as soon as the process
// closes any descriptor of it: whoever reads such a file past SQLite takes the locks of SQLite's connections away, and
// another program may then remove the log of a live coordinator. So such files are read through SQLite only. Internal.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace capsweep::store {

// A connection's entry; gone with the object. Thread-safe.
class OpenFile {
 public:
  OpenFile() = default;
  // Runs `open`, which opens the file, and notes it if it exists afterwards. No PeekUnlessOpen runs meanwhile.
  static OpenFile Open(const std::string& path, const std::function<void()>& open);

  OpenFile(OpenFile&& other) noexcept : file_(std::exchange(other.file_, {})) {}
  OpenFile& operator=(OpenFile&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~OpenFile();

 private:
  std::pair<uint64_t, uint64_t> file_;  // device and inode; zeros: none
};

// Runs `peek`, which may open and close the file, unless a connection of this process has it open: then false.
bool PeekUnlessOpen(const std::string& path, const std::function<void()>& peek);

}  // namespace capsweep::store
