#include "cli/app.h"

#include "cli/table.h"
#include "common/build_info.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr char kDescription[] =
    "capsweep measures how much tiny transformers memorize, at scale.\n"
    "A sweep file names a grid of models and tasks; every point of it is trained once and kept in one database.";

constexpr char kFooter[] =
    "Start here:  capsweep run sweeps/quickstart.yaml\n"
    "Exit codes:  0 done, 1 failed, 2 bad usage or bad input, 3 coordinator unreachable\n"
    "Environment: CAPSWEEP_DB, CAPSWEEP_COORDINATOR, CAPSWEEP_TLS_CA, CAPSWEEP_TOKEN_FILE,\n"
    "             CAPSWEEP_LOG, NO_COLOR";

// The chain of verbs that was chosen, for messages: "capsweep workers drain".
std::string ChosenVerb(const CLI::App& app) {
  std::string name = "capsweep";
  const CLI::App* current = &app;
  while (true) {
    const auto chosen = current->get_subcommands();
    if (chosen.empty()) {
      return name;
    }
    current = chosen[0];
    StrAppend(&name, " ", current->get_name());
  }
}

}  // namespace

Verbs::Verbs() : app_(std::make_unique<CLI::App>(kDescription, "capsweep")) {
  app_->require_subcommand(1);
  app_->footer(kFooter);
  app_->set_version_flag("--version", [] { return StrCat("capsweep ", BuildInfo()); });
  app_->get_formatter()->column_width(34);
}

CLI::App* Verbs::Add(const std::string& name, const std::string& description, const std::string& example,
                     CLI::App* parent) {
  CLI::App* verb = (parent == nullptr ? app_.get() : parent)->add_subcommand(name, description);
  if (!example.empty()) {
    verb->footer(StrCat("Example:\n  ", example));
  }
  return verb;
}

void Verbs::SetAction(CLI::App* verb, Action action) {
  actions_.emplace_back(verb, std::move(action));
}

int Verbs::Run(const std::vector<std::string>& arguments, Console& console) {
  try {
    app_->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::Success& help) {  // --help and --version are reported this way
    app_->exit(help, console.out, console.err);
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    console.err << "capsweep: " << error.what() << "; see `" << ChosenVerb(*app_) << " --help`" << std::endl;
    return kExitBadInput;
  }
  for (const auto& [verb, action] : actions_) {
    // Sub-verbs are added after their parents but only they carry the action.
    if (verb->parsed() && verb->get_subcommands().empty()) {
      const absl::StatusOr<int> code = action(console);
      console.out.flush();
      if (!code.ok()) {
        console.err << "capsweep: " << code.status().message() << std::endl;
        return ExitCodeFor(code.status());
      }
      if (!console.out) {
        console.err << "capsweep: could not write the output (is the disk full or the pipe closed?)" << std::endl;
        return kExitFailed;
      }
      return *code;
    }
  }
  console.err << "capsweep: no verb given; see `capsweep --help`" << std::endl;
  return kExitBadInput;
}

int RunCommandLine(const std::vector<std::string>& arguments, Console& console) {
  Verbs verbs;
  AddRunVerb(verbs);
  AddSubmitVerbs(verbs);
  AddStatusVerbs(verbs);
  AddResultsVerbs(verbs);
  AddFitVerb(verbs);
  AddDesignVerb(verbs);
  AddSuggestVerb(verbs);
  AddPlotVerb(verbs);
  AddAnalyzeVerb(verbs);
  AddReportVerb(verbs);
  AddCertsVerb(verbs);
  AddRecoveryVerbs(verbs);
  AddExecVerbs(verbs);
  return verbs.Run(arguments, console);
}

CLI::Option* AddFormatOption(CLI::App& verb, std::string& format, const std::vector<std::string>& words) {
  return verb.add_option("--format", format, StrCat("Output format: ", StrJoin(words, ", ")))
      ->check(CLI::IsMember(words))
      ->capture_default_str()
      ->type_name("FORMAT");
}

}  // namespace capsweep::cli
