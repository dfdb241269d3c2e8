// capsweep design: the smallest model that memorizes a target number of items.
#include "ecm/design.h"

#include <memory>

#include "absl/strings/numbers.h"
#include "cli/app.h"
#include "cli/fit_options.h"
#include "cli/source.h"
#include "cli/summary.h"
#include "cli/table.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

struct DesignArguments {
  SourceOptions source;
  FitOptions fit;
  int64_t fit_id = 0;
  std::string sweep, csv, format = "table", head_dim;
  std::vector<std::string> group;
  ecm::DesignRequest request;
};

absl::StatusOr<ecm::FitReport> LoadFit(const DesignArguments& options, Console& console) {
  if (!options.csv.empty()) {
    ASSIGN_OR_RETURN(const auto groups, ReadCsvGroups(options.csv));
    ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(options.fit));
    return ecm::FitGroups(groups, settings);
  }
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  int64_t id = options.fit_id;
  if (id == 0) {
    RETURN_IF_ERROR(source->Sweeps(options.sweep).status());
    ASSIGN_OR_RETURN(id, FindCurrentFit(*source, options.sweep, ""));
  }
  if (id != 0) {
    console.err << "using fit " << id << " of " << source->Name() << std::endl;
    ASSIGN_OR_RETURN(const std::string json, source->Fit(id));
    return ecm::ReportFromJson(json);
  }
  ASSIGN_OR_RETURN(const auto groups, ReadGroups(*source, options.sweep, options.fit.capacity));
  ASSIGN_OR_RETURN(const ecm::FitSettings settings, ToSettings(options.fit));
  return ecm::FitGroups(groups, settings);
}

bool Matches(const ecm::GroupFit& group, const std::vector<std::string>& conditions) {
  for (const std::string& condition : conditions) {
    const size_t equals = condition.find('=');
    const auto found = group.group.find(condition.substr(0, equals));
    if (equals == std::string::npos || found == group.group.end() || found->second != condition.substr(equals + 1)) {
      return false;
    }
  }
  return true;
}

// A design needs one group: the models of another group are other models.
absl::StatusOr<const ecm::GroupFit*> ChooseGroup(const ecm::FitReport& report, const std::vector<std::string>& wanted) {
  std::vector<const ecm::GroupFit*> chosen;
  std::string titles;
  for (const ecm::GroupFit& group : report.groups) {
    StrAppend(&titles, "\n  ", GroupTitle(group.group));
    if (Matches(group, wanted)) {
      chosen.push_back(&group);
    }
  }
  if (chosen.size() != 1) {
    return absl::InvalidArgumentError(
        StrCat(chosen.empty() ? "no group of the fit matches --group" : "the fit has several groups that match",
               "; choose one with --group FIELD=VALUE (for example --group freeze_mlp=true). Groups:", titles));
  }
  if (!chosen[0]->error.empty()) {
    return absl::FailedPreconditionError(StrCat("this group could not be fitted: ", chosen[0]->error));
  }
  return chosen[0];
}

absl::Status SetHeadDim(const std::string& text, ecm::DesignRequest& request) {
  if (text == "split") {
    request.split_heads = true;
  } else if (!text.empty() && (!absl::SimpleAtoi(text, &request.head_dim) || request.head_dim < 1)) {
    return absl::InvalidArgumentError(StrCat("--head-dim ", text, ": must be a number of at least 1, or split"));
  }
  return absl::OkStatus();
}

std::string CandidatesText(const std::vector<ecm::Candidate>& candidates, const ecm::DesignRequest& request) {
  constexpr size_t kShown = 12;
  TextTable table({"heads", "width", "params", "trained", "capacity", "at least (95 %)", "items/param", "note"});
  bool safe_shown = false;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const ecm::Candidate& candidate = candidates[i];
    const bool first_safe = candidate.safe && !safe_shown;
    safe_shown = safe_shown || candidate.safe;
    if (i >= kShown && !first_safe) {
      continue;
    }
    std::string note = i == 0 ? "smallest by the estimate" : "";
    StrAppend(&note, first_safe ? (note.empty() ? "smallest safe choice" : ", and safe") : "",
              candidate.extrapolated
                  ? (note.empty() && !first_safe ? "outside what was measured" : ", outside what was measured")
                  : "");
    table.Add({StrCat(candidate.heads), StrCat(candidate.width), FormatCount(candidate.params),
               FormatCount(candidate.params_train), FormatNumber(candidate.capacity, 5),
               FormatNumber(candidate.capacity_low, 5), FormatNumber(candidate.memory_per_param, 3), note});
  }
  return StrCat("Models that memorize ", FormatNumber(request.target, 12), " items of length ", request.seq_len,
                ", smallest first:\n", table.ToString(2),
                safe_shown ? "" : "No candidate reaches the target at the lower bound of its interval.\n");
}

absl::StatusOr<int> Design(const DesignArguments& options, Console& console) {
  const int given = (options.fit_id != 0) + !options.csv.empty() + !options.sweep.empty();
  if (given != 1) {
    return absl::InvalidArgumentError("give one of: the name of a sweep, --fit ID, --csv FILE");
  }
  if (!(options.request.target > 0)) {
    return absl::InvalidArgumentError("--target must be a number of items above 0");
  }
  ecm::DesignRequest request = options.request;
  RETURN_IF_ERROR(SetHeadDim(options.head_dim, request));
  ASSIGN_OR_RETURN(const ecm::FitReport report, LoadFit(options, console));
  ASSIGN_OR_RETURN(const ecm::GroupFit* group, ChooseGroup(report, options.group));
  ASSIGN_OR_RETURN(const auto candidates, ecm::Design(*group, request));
  console.out << (options.format == "json" ? ecm::DesignToJson(candidates) : CandidatesText(candidates, request));
  return kExitOk;
}

}  // namespace

void AddDesignVerb(Verbs& verbs) {
  auto options = std::make_shared<DesignArguments>();
  ecm::DesignRequest& request = options->request;
  CLI::App* verb = verbs.Add("design", "The smallest model that memorizes a target number of items",
                             "capsweep design quickstart --target 500 --seq-len 8");
  verb->add_option("sweep", options->sweep, "Use the current fit of this sweep (made now if there is none)")
      ->type_name("SWEEP");
  verb->add_option("--fit", options->fit_id, "Use this stored fit")->check(CLI::PositiveNumber)->type_name("ID");
  verb->add_option("--csv", options->csv, "Fit this file and use that")->type_name("FILE");
  verb->add_option("--target", request.target, "Items to memorize")->required()->type_name("ITEMS");
  verb->add_option("--seq-len", request.seq_len, "Sequence length")
      ->required()
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  verb->add_option("--max-heads", request.max_heads, "Most heads to consider")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->type_name("H");
  verb->add_option("--max-width", request.max_width, "Largest width to consider")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("B");
  verb->add_option("--group", options->group, "Which group of the fit, as FIELD=VALUE; may be repeated")
      ->allow_extra_args(false)
      ->type_name("FIELD=VALUE");
  verb->add_option("--vocab", request.vocab, "Alphabet, for fits that do not say (CSV)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->type_name("V");
  verb->add_option("--layers", request.layers, "Layers, for fits that do not say (CSV)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->type_name("L");
  verb->add_option("--head-dim", options->head_dim, "Head size or split, for fits that do not say (CSV; default 8)")
      ->type_name("N|split");
  verb->add_flag("--freeze-mlp", request.freeze_mlp, "The MLP is frozen, for fits that do not say (CSV)");
  AddFitOptions(*verb, options->fit);
  AddFormatOption(*verb, options->format, {"table", "json"});
  AddSourceOptions(*verb, options->source);
  verbs.SetAction(verb, [options](Console& console) { return Design(*options, console); });
}

}  // namespace capsweep::cli
