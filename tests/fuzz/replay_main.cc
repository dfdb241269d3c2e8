// Runs a fuzz target over files and folders of inputs, without libFuzzer: `service_fuzz_replay
// tests/fuzz/corpus/service`.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fuzz/target.h"

int main(int argc, char** argv) {
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    std::cerr << "no inputs; name files or folders\n";
    return 2;
  }
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) {
    const absl::StatusOr<std::string> bytes = capsweep::ReadFile(file);
    if (!bytes.ok()) {
      std::cerr << bytes.status().message() << "\n";
      return 1;
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size());
  }
  std::cout << files.size() << " inputs, none broke anything\n";
}
