// Runs the real programs in a folder of its own and can tell whether anything of them is left.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/source.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "gtest/gtest.h"

namespace capsweep::integration {

inline std::string ShellQuoted(const std::string& text) {
  std::string quoted = "'";
  for (char c : text) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted + "'";
}

struct Finished {
  int code = -1;
  std::string out, err;
};

// One started command; its output goes to files. Killed when dropped.
class Running {
 public:
  Running(Subprocess child, std::string out, std::string err)
      : child_(std::move(child)), out_(std::move(out)), err_(std::move(err)) {}
  pid_t pid() const { return child_.pid(); }
  void Signal(int signal) { child_.Signal(signal); }
  std::string Err() const { return Read(err_); }
  Finished Wait(Duration limit = std::chrono::seconds(120)) {
    const auto code = child_.Wait(limit);
    EXPECT_TRUE(code.has_value()) << "took too long; said:\n" << Read(out_) << Read(err_);
    return {code.value_or(-1), Read(out_), Read(err_)};
  }

 private:
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Subprocess child_;
  std::string out_, err_;
};

class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    mark_ = RandomHexId();
    folder_ = StrCat(::testing::TempDir(), "/capsweep_integration_", mark_.substr(0, 12));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    EXPECT_TRUE(NothingLeftWithin(std::chrono::seconds(15)));
    std::filesystem::remove_all(folder_);
  }

  std::string Path(const std::string& name) const { return StrCat(folder_, "/", name); }

  void Write(const std::string& name, const std::string& text) const { std::ofstream(Path(name)) << text; }

  // Starts a program of the build in the test's folder.
  std::unique_ptr<Running> Start(const std::vector<std::string>& arguments, const std::string& program = "capsweep") {
    const std::string number = StrCat(++started_);
    const std::string out = Path(StrCat(".out", number)), err = Path(StrCat(".err", number));
    std::string command =
        StrCat("cd ", ShellQuoted(folder_), " && exec ", ShellQuoted(StrCat(CAPSWEEP_BIN_DIR, "/", program)));
    for (const std::string& argument : arguments) {
      StrAppend(&command, " ", ShellQuoted(argument));
    }
    StrAppend(&command, " >", ShellQuoted(out), " 2>", ShellQuoted(err), " </dev/null");
    SubprocessOptions options;
    options.argv = {"/bin/sh", "-c", command};
    options.env = {{"CAPSWEEP_TEST_MARK", mark_}, {"CAPSWEEP_DB", ""}, {"CAPSWEEP_COORDINATOR", ""}};
    auto child = Subprocess::Start(options);
    EXPECT_TRUE(child.ok()) << child.status().message();
    return std::make_unique<Running>(*std::move(child), out, err);
  }

  Finished Call(const std::vector<std::string>& arguments) { return Start(arguments)->Wait(); }

  // Processes that were started by this test, directly or not: they inherited its mark.
  std::vector<std::pair<pid_t, std::string>> Left() const {
    std::vector<std::pair<pid_t, std::string>> left;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos || name == StrCat(getpid())) {
        continue;
      }
      std::ifstream environment(entry.path() / "environ", std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(environment), {}};
      if (text.find(mark_) != std::string::npos) {
        std::ifstream command(entry.path() / "cmdline", std::ios::binary);
        left.emplace_back(std::stoi(name), std::string{std::istreambuf_iterator<char>(command), {}});
      }
    }
    return left;
  }

  pid_t FindProcess(const std::string& program) const {
    for (const auto& [pid, command] : Left()) {
      if (command.substr(0, command.find('\0')).ends_with(program)) {
        return pid;
      }
    }
    return -1;
  }

  ::testing::AssertionResult NothingLeftWithin(Duration limit) const {
    const auto end = std::chrono::steady_clock::now() + limit;
    auto left = Left();
    while (!left.empty() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      left = Left();
    }
    return left.empty() ? ::testing::AssertionSuccess()
                        : ::testing::AssertionFailure() << left.size() << " processes left, one is " << left[0].second;
  }

  // Names in the folder, without the files that hold what commands said.
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (const std::string name = entry.path().filename().string(); name[0] != '.') {
        names.push_back(name);
      }
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // A query's rows as CSV lines without the header.
  std::string Rows(const std::string& database, const std::string& sql) {
    const Finished answer = Call({"query", sql, "--format", "csv", "--db", database});
    EXPECT_EQ(answer.code, 0) << answer.err;
    return answer.out.substr(answer.out.find('\n') + 1);
  }

  // What must not depend on what went wrong on the way.
  std::string Counts(const std::string& database, const std::string& sweep) {
    return Rows(database,
                StrCat("SELECT point_key, items_mem, items_mem_best, tokens_mem, nll_bits, items_corr, steps, epochs, "
                       "stop_reason FROM v_results WHERE sweep = ",
                       cli::SqlLiteral(sweep), " ORDER BY point_key"));
  }

  std::string folder_, mark_;
  int started_ = 0;
};

// Seconds of training, too many items to stop early: time to be killed in.
inline constexpr int kLongSteps = 15000;
inline constexpr int kLongItems = 4000;

// heads × widths × seeds points of `steps` steps each.
inline std::string SweepFile(const std::string& name, const std::string& heads, const std::string& widths, int repeats,
                             int steps, int dataset_size = 60) {
  return StrCat("sweep: ", name, "\ntask: {mode: label, vocab: 16, seq_len: 4}\nmodel: {family: xt, heads: ", heads,
                ", head_dim: 8, width: ", widths, "}\ndata: {dataset_size: ", dataset_size,
                "}\ntrain: {lr: 3.0e-3, batch_size: 20, steps: ", steps, ", patience: 0}\nrepeats: ", repeats, "\n");
}

}  // namespace capsweep::integration
