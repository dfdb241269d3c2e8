#include "common/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capsweep {
namespace {

using ::testing::HasSubstr;

constexpr Duration kLong = std::chrono::seconds(10);

SubprocessOptions Shell(const std::string& script) {
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", script};
  return options;
}

std::string ReadToEnd(int fd) {
  std::string text;
  char buffer[4096];
  while (true) {
    pollfd wait{fd, POLLIN, 0};
    if (poll(&wait, 1, 10000) <= 0) return text + "<timeout>";
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0) return text;
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
  }
}

bool Gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (kill(pid, 0) != 0) return true;
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string pid_text, name, state;
    if (stat >> pid_text >> name >> state && state == "Z") return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

std::string TempPath(const std::string& name) {
  return ::testing::TempDir() + "/subprocess_" + std::to_string(getpid()) + "_" + name;
}

TEST(SubprocessTest, ExitCodeIsReported) {
  auto child = Subprocess::Start(Shell("exit 7"));
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(child->Wait(kLong), 7);
  EXPECT_EQ(child->Poll(), 7);
}

TEST(SubprocessTest, DeathBySignalIs128PlusSignal) {
  auto child = Subprocess::Start(Shell("kill -SEGV $$"));
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(child->Wait(kLong), 128 + SIGSEGV);
}

TEST(SubprocessTest, MissingProgramIsAnErrorThatNamesIt) {
  SubprocessOptions options;
  options.argv = {"/nonexistent/program"};
  auto child = Subprocess::Start(options);
  ASSERT_FALSE(child.ok());
  EXPECT_THAT(std::string(child.status().message()), HasSubstr("/nonexistent/program"));
}

TEST(SubprocessTest, InputIsEchoedAndEnvironmentIsAdded) {
  SubprocessOptions options = Shell("read line; echo \"$line $CAPSWEEP_TEST_WORD\"");
  options.env["CAPSWEEP_TEST_WORD"] = "there";
  options.pipe_stdin = options.pipe_stdout = true;
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_EQ(write(child->stdin_fd(), "hello\n", 6), 6);
  EXPECT_EQ(ReadToEnd(child->stdout_fd()), "hello there\n");
  EXPECT_EQ(child->Wait(kLong), 0);
}

TEST(SubprocessTest, OutputPipeWithNothingInItDoesNotBlock) {
  SubprocessOptions options = Shell("sleep 60");
  options.pipe_stdout = true;
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok()) << child.status();
  char byte;
  EXPECT_EQ(read(child->stdout_fd(), &byte, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(child->Poll(), std::nullopt);
  EXPECT_EQ(child->Wait(std::chrono::milliseconds(20)), std::nullopt);
}

TEST(SubprocessTest, DestructionKillsTheChildAndWhatItStarted) {
  pid_t shell = 0, grandchild = 0;
  {
    SubprocessOptions options = Shell("sleep 60 & echo $!; wait");
    options.pipe_stdout = true;
    auto child = Subprocess::Start(options);
    ASSERT_TRUE(child.ok()) << child.status();
    shell = child->pid();
    pollfd wait{child->stdout_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&wait, 1, 10000), 1);
    char text[32] = {};
    ASSERT_GT(read(child->stdout_fd(), text, sizeof text - 1), 0);
    grandchild = std::stoi(text);
  }
  EXPECT_TRUE(Gone(shell));
  EXPECT_TRUE(Gone(grandchild));
}

// The promise agents rely on: closing one child's input reaches it although a later child was started meanwhile.
TEST(SubprocessTest, LaterChildDoesNotHoldAnEarlierChildsPipeOpen) {
  SubprocessOptions first_options = Shell("cat; echo end");
  first_options.pipe_stdin = first_options.pipe_stdout = true;
  auto first = Subprocess::Start(first_options);
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = Subprocess::Start(Shell("sleep 60"));
  ASSERT_TRUE(second.ok()) << second.status();
  first->CloseStdin();
  EXPECT_EQ(ReadToEnd(first->stdout_fd()), "end\n");
  EXPECT_EQ(first->Wait(kLong), 0);
  EXPECT_EQ(second->Poll(), std::nullopt);
}

TEST(SubprocessTest, DescriptorsWithoutCloseOnExecStayWithTheParent) {
  // A number that the shell's own pipes do not take.
  const int low = open("/dev/null", O_RDONLY);
  const int leak = fcntl(low, F_DUPFD, 200);
  close(low);
  ASSERT_GE(leak, 200);
  SubprocessOptions options = Shell("ls /proc/$$/fd | tr '\\n' ' '");
  options.pipe_stdout = true;
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_THAT(ReadToEnd(child->stdout_fd()), ::testing::Not(HasSubstr(" " + std::to_string(leak) + " ")));
  close(leak);
}

TEST(SubprocessTest, WriteToADeadChildFailsInsteadOfKillingUs) {
  SubprocessOptions options = Shell("exit 0");
  options.pipe_stdin = true;
  auto child = Subprocess::Start(options);
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_EQ(child->Wait(kLong), 0);
  EXPECT_EQ(write(child->stdin_fd(), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST(SubprocessTest, StandardErrorIsAppendedToTheFile) {
  const std::string path = TempPath("stderr");
  for (const char* word : {"one", "two"}) {
    SubprocessOptions options = Shell(std::string("echo ") + word + " >&2");
    options.stderr_path = path;
    auto child = Subprocess::Start(options);
    ASSERT_TRUE(child.ok()) << child.status();
    ASSERT_EQ(child->Wait(kLong), 0);
  }
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), "one\ntwo\n");
  unlink(path.c_str());
}

TEST(SubprocessTest, ChildStartsInItsOwnGroupWithUsualSignals) {
  signal(SIGTERM, SIG_IGN);
  auto child = Subprocess::Start(Shell("sleep 60"));
  signal(SIGTERM, SIG_DFL);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(getpgid(child->pid()), child->pid());
  child->Signal(SIGTERM);
  EXPECT_EQ(child->Wait(kLong), 128 + SIGTERM);
}

TEST(SubprocessTest, MoveAssignmentKeepsTheChildAlive) {
  auto started = Subprocess::Start(Shell("sleep 60"));
  ASSERT_TRUE(started.ok()) << started.status();
  const pid_t pid = started->pid();
  Subprocess moved = std::move(*started);
  EXPECT_EQ(moved.pid(), pid);
  EXPECT_EQ(moved.Poll(), std::nullopt);
}

}  // namespace
}  // namespace capsweep
