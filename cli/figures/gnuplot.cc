#include "cli/figures/gnuplot.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include "common/file.h"
#include "common/status.h"
#include "common/subprocess.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr Duration kDrawingLimit = std::chrono::seconds(60);

std::string FindGnuplot() {
  const char* path = std::getenv("PATH");
  std::string folders = path == nullptr ? "/usr/bin:/bin" : path;
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string candidate = StrCat(folders.substr(begin, end - begin), "/gnuplot");
    if (end > begin && access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return "";
}

// Runs gnuplot on a script; what it says on standard error becomes the message.
absl::Status RunGnuplot(const std::string& script, const std::string& scratch) {
  RETURN_IF_ERROR(CheckGnuplot());
  const std::string gnuplot = FindGnuplot();
  const std::string script_path = StrCat(scratch, ".gp"), messages = StrCat(scratch, ".log");
  RETURN_IF_ERROR(WriteFileAtomic(script_path, script));
  SubprocessOptions options;
  options.argv = {gnuplot, "-d", script_path};  // -d: the user's .gnuplot changes nothing
  options.stderr_path = messages;
  absl::Status status;
  if (auto child = Subprocess::Start(options); !child.ok()) {
    status = child.status();
  } else if (const std::optional<int> code = child->Wait(kDrawingLimit); !code.has_value() || *code != 0) {
    const auto said = ReadFile(messages);
    status = absl::InternalError(StrCat("gnuplot ", code.has_value() ? StrCat("ended with ", *code) : "took too long",
                                        said.ok() && !said->empty() ? StrCat(": ", *said) : ""));
  }
  std::error_code ignored;
  std::filesystem::remove(script_path, ignored);
  std::filesystem::remove(messages, ignored);
  return status;
}

}  // namespace

absl::Status CheckGnuplot() {
  if (!FindGnuplot().empty()) return absl::OkStatus();
  return absl::FailedPreconditionError("gnuplot is not installed; install it with `apt-get install gnuplot-nox`");
}

absl::Status DrawChart(const Chart& chart, Format format, const std::string& path) {
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(path, error).string();
  if (error) {
    return FromErrno(error.value(), StrCat("find the folder of ", path));
  }
  const std::string part = StrCat(absolute, ".", getpid(), ".part");
  absl::Status status = RunGnuplot(GnuplotScript(chart, format, part), part);
  if (status.ok() && std::rename(part.c_str(), absolute.c_str()) != 0) {
    status = FromErrno(errno, StrCat("rename ", part, " to ", absolute));
  }
  std::filesystem::remove(part, error);
  return status;
}

absl::StatusOr<std::string> DrawSvg(const Chart& chart) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) {
    return FromErrno(error.value(), "find the folder of temporary files (TMPDIR)");
  }
  std::string own = (folder / "capsweep-figure-XXXXXX").string();
  if (mkdtemp(own.data()) == nullptr) {
    return FromErrno(errno, StrCat("make a folder ", own));
  }
  const std::string path = StrCat(own, "/figure.svg");
  absl::StatusOr<std::string> svg;
  if (const absl::Status drawn = DrawChart(chart, Format::kSvg, path); !drawn.ok()) {
    svg = drawn;
  } else {
    svg = ReadFile(path);
  }
  std::filesystem::remove_all(own, error);
  return svg;
}

}  // namespace capsweep::figures
