// capsweep design: the smallest model that memorizes a target number of items.
#include "ecm/design.h"

#include <cmath>
#include <memory>

#include "absl/strings/numbers.h"
#include "cli/app.h"
#include "cli/choose_fit.h"
#include "cli/design_verify.h"
#include "cli/table.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

struct DesignArguments {
  FitChoice choice;
  VerifyOptions verify;
  std::string format = "table", head_dim;
  ecm::DesignRequest request;
};

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

// One line for the choice by the estimate and one for the safe choice, if it is another model.
std::string MemoryText(const std::vector<ecm::Candidate>& candidates, double bits_per_item) {
  std::string text;
  for (const auto& [candidate, why] : ChosenModels(candidates)) {
    const double trained = candidate.capacity / static_cast<double>(candidate.params_train);
    StrAppend(&text, "Memory of the ", why, " (heads ", candidate.heads, ", width ", candidate.width,
              "): ", FormatNumber(candidate.memory_per_param, 3), " items per parameter, ", FormatNumber(trained, 3),
              " per trained parameter",
              bits_per_item > 0 ? StrCat(" (", FormatNumber(trained * bits_per_item, 3), " bits)") : "", ".\n");
  }
  return text;
}

// Bits of one item, of a group that says what it is made of.
double BitsPerItem(const ecm::GroupFit& group, int64_t seq_len) {
  const auto mode = group.group.find("mode"), vocab = group.group.find("vocab");
  double letters = 0;
  if (mode == group.group.end() || vocab == group.group.end() || !absl::SimpleAtod(vocab->second, &letters)) return 0;
  return std::log2(letters) * (mode->second == "label" ? 1 : static_cast<double>(seq_len));
}

absl::StatusOr<int> Design(const DesignArguments& options, Console& console) {
  const FitChoice& choice = options.choice;
  const int given = (choice.fit_id != 0) + !choice.csv.empty() + !choice.sweep.empty();
  if (given != 1) {
    return absl::InvalidArgumentError("give one of: the name of a sweep, --fit ID, --csv FILE");
  }
  if (!(options.request.target > 0)) {
    return absl::InvalidArgumentError("--target must be a number of items above 0");
  }
  if (options.verify.verify && !choice.csv.empty()) {
    return absl::InvalidArgumentError(
        "--verify: a CSV does not hold how its cells were trained (learning rate, batch size, budget, …), so nothing "
        "can be trained alike; verify with the name of a sweep or --fit ID");
  }
  ecm::DesignRequest request = options.request;
  RETURN_IF_ERROR(SetHeadDim(options.head_dim, request));
  ASSIGN_OR_RETURN(const ecm::FitReport report, LoadFit(choice, console));
  ASSIGN_OR_RETURN(const ecm::GroupFit* group, ChooseGroup(report, choice.group));
  ASSIGN_OR_RETURN(const auto candidates, ecm::Design(*group, request));
  if (options.format == "table") {
    console.out << CandidatesText(candidates, request) << MemoryText(candidates, BitsPerItem(*group, request.seq_len))
                << std::flush;
  }
  Verification verification;
  if (options.verify.verify) {
    ASSIGN_OR_RETURN(const std::string sweep, SweepOf(choice));
    ASSIGN_OR_RETURN(verification, VerifyDesign(options.verify, choice.source, sweep, *group, candidates,
                                                request.target, request.seq_len, console));
    if (verification.signal != 0) {
      return 128 + verification.signal;
    }
  }
  if (options.format == "json") {
    console.out << DesignJson(candidates, verification);
  } else if (options.verify.verify) {
    console.out << VerificationText(verification);
  }
  return verification.failed_points > 0 ? kExitFailed : kExitOk;
}

}  // namespace

void AddDesignVerb(Verbs& verbs) {
  auto options = std::make_shared<DesignArguments>();
  ecm::DesignRequest& request = options->request;
  CLI::App* verb = verbs.Add("design", "The smallest model that memorizes a target number of items",
                             "capsweep design quickstart --target 500 --seq-len 8");
  FitChoice& choice = options->choice;
  verb->add_option("sweep", choice.sweep, "Use the current fit of this sweep (made now if there is none)")
      ->type_name("SWEEP");
  verb->add_option("--fit", choice.fit_id, "Use this stored fit")->check(CLI::PositiveNumber)->type_name("ID");
  verb->add_option("--csv", choice.csv, "Fit this file and use that")->type_name("FILE");
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
  verb->add_option("--group", choice.group, "Which group of the fit, as FIELD=VALUE; may be repeated")
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
  AddVerifyOptions(*verb, options->verify);
  AddFitOptions(*verb, choice.fit);
  AddFormatOption(*verb, options->format, {"table", "json"});
  AddSourceOptions(*verb, choice.source);
  verbs.SetAction(verb, [options](Console& console) { return Design(*options, console); });
}

}  // namespace capsweep::cli
