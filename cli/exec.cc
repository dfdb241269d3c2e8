// capsweep coordinator, worker: run the sibling program. capsweep version.
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "cli/app.h"
#include "common/build_info.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

absl::Status ExecSibling(const std::string& program, const std::vector<std::string>& arguments) {
  const std::string path = StrCat(ExecutableFolder(), "/", program);
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  execv(path.c_str(), argv.data());
  return absl::InternalError(
      StrCat(FromErrno(errno, StrCat("start ", path)).message(), "; build or install it beside this program"));
}

void AddSibling(Verbs& verbs, const std::string& name, const std::string& description, const std::string& example) {
  CLI::App* verb = verbs.Add(name, description, example);
  // Everything after the verb, --help included, belongs to the sibling.
  verb->prefix_command();
  verb->set_help_flag();
  verbs.SetAction(verb, [verb, name](Console& console) -> absl::StatusOr<int> {
    console.out.flush();
    return ExecSibling(StrCat("capsweep-", name), verb->remaining());
  });
}

}  // namespace

void AddExecVerbs(Verbs& verbs) {
  AddSibling(verbs, "coordinator", "Serve a database to workers and users (capsweep-coordinator)",
             "capsweep coordinator --db results.db --listen 127.0.0.1:7171");
  AddSibling(verbs, "worker", "Train for a coordinator (capsweep-worker)",
             "capsweep worker --coordinator 127.0.0.1:7171 --devices auto");
  CLI::App* version = verbs.Add("version", "Version, build type and compiler", "capsweep version");
  verbs.SetAction(version, [](Console& console) -> absl::StatusOr<int> {
    console.out << "capsweep " << BuildInfo() << "\n";
    return kExitOk;
  });
}

}  // namespace capsweep::cli
