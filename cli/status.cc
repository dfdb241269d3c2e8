// capsweep status, workers, explain.
#include <algorithm>
#include <map>
#include <memory>

#include "cli/app.h"
#include "cli/remote.h"
#include "cli/run_search.h"
#include "cli/source.h"
#include "cli/status_table.h"
#include "cli/table.h"
#include "cli/workers_table.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr double kWatchSeconds = 1;

struct ReadOptions {
  SourceOptions source;
  std::string sweep;
  std::string format = "table";
  bool watch = false;
};

std::string WorkersText(const std::vector<core::WorkerView>& workers) {
  if (workers.empty()) {
    return "no workers have connected; start one with `capsweep worker --coordinator HOST:PORT`\n";
  }
  TextTable table(
      {"worker", "host", "state", "seen", "device", "kind", "device state", "slots", "running", "done", "reason"});
  for (const core::WorkerView& worker : workers) {
    std::vector<std::string> head = {worker.worker.value(), worker.host, std::string(core::ToWord(worker.state)),
                                     FormatDuration(worker.last_seen_seconds)};
    if (worker.devices.empty()) {
      head.insert(head.end(), {"", "", "", "", "", "", worker.reason});
      table.Add(head);
    }
    for (const core::DeviceView& device : worker.devices) {
      std::vector<std::string> row = head;
      row.insert(row.end(), {device.name, device.kind, device.state, StrCat(device.slots), StrCat(device.running),
                             FormatCount(device.points_done), device.reason.empty() ? worker.reason : device.reason});
      table.Add(std::move(row));
      head.assign(4, "");  // said once per worker
    }
  }
  return table.ToString();
}

// The text of one look in a format; `json` and `jsonl` from objects, `csv` from the table.
std::string Look(Format format, const std::string& text, const std::vector<std::string>& objects,
                 const std::function<std::string()>& csv) {
  switch (format) {
    case Format::kTable:
      return text;
    case Format::kCsv:
      return csv();
    case Format::kJson:
      return objects.empty() ? "[]\n" : StrCat("[\n  ", StrJoin(objects, ",\n  "), "\n]\n");
    case Format::kJsonl:
      return objects.empty() ? "" : StrCat(StrJoin(objects, "\n"), "\n");
  }
  return "";
}

std::string Csv(const store::Table& table) {
  std::ostringstream out;
  WriteTable(out, Format::kCsv, table);
  return out.str();
}

absl::StatusOr<std::string> StatusOnce(Source& source, const ReadOptions& options, Format format) {
  ASSIGN_OR_RETURN(const auto sweeps, source.Sweeps(options.sweep));
  std::map<std::string, std::string> adaptive;
  const bool searching =
      std::any_of(sweeps.begin(), sweeps.end(), [](const store::SweepProgress& s) { return s.architectures > 0; });
  if (format == Format::kTable && searching) {
    // A file of an older version has no such columns, and no such sweeps.
    if (const auto found = source.Query(AdaptiveProgressSql(options.sweep), {}); found.ok()) {
      for (const auto& row : found->rows) adaptive[std::get<std::string>(row[0])] = AdaptiveProgressText(row);
    }
  }
  return Look(format, StatusText(sweeps, adaptive), StatusToJson(sweeps), [&] { return Csv(StatusToTable(sweeps)); });
}

absl::StatusOr<std::string> WorkersOnce(Source& source, const ReadOptions&, Format format) {
  ASSIGN_OR_RETURN(const auto workers, source.Workers());
  return Look(format, WorkersText(workers), WorkersToJson(workers), [&] { return Csv(WorkersToTable(workers)); });
}

using LookFunction = absl::StatusOr<std::string> (*)(Source&, const ReadOptions&, Format);

// Redraws in place on a terminal, where each line is cleared as it is overwritten and what is left below is erased; in
// a file or pipe one look follows the other. Ends with the first signal, leaving the terminal as it was.
absl::StatusOr<int> Watch(Source& source, const ReadOptions& options, Format format, LookFunction look,
                          Console& console) {
  const SignalWatch signals;
  const bool in_place = console.out_is_terminal && format == Format::kTable;
  console.out << (in_place ? "\x1b[?25l\x1b[2J" : "");
  absl::Status status;
  while (SignalWatch::Caught() == 0) {
    const absl::StatusOr<std::string> text = look(source, options, format);
    if (!text.ok()) {
      status = text.status();
      break;
    }
    if (in_place) {
      console.out << "\x1b[H";
      for (size_t begin = 0; begin < text->size();) {
        const size_t end = text->find('\n', begin);
        console.out << ClipToWidth(std::string_view(*text).substr(begin, end - begin), TerminalColumns()) << "\x1b[K\n";
        begin = end + 1;
      }
      console.out << "\x1b[J";
    } else {
      console.out << *text;
    }
    console.out.flush();
    if (!console.out || SleepUnlessSignalled(kWatchSeconds)) {
      break;
    }
  }
  console.out << (in_place ? "\x1b[?25h" : "");
  console.out.flush();
  RETURN_IF_ERROR(status);
  return SignalWatch::Caught() == 0 ? kExitFailed : kExitOk;
}

absl::StatusOr<int> Read(const ReadOptions& options, LookFunction look, Console& console) {
  ASSIGN_OR_RETURN(const Format format, FormatFromWord(options.format));
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  if (options.watch) {
    return Watch(*source, options, format, look, console);
  }
  ASSIGN_OR_RETURN(const std::string text, look(*source, options, format));
  console.out << text;
  return kExitOk;
}

void AddReadOptions(CLI::App& verb, ReadOptions& options) {
  AddSourceOptions(verb, options.source);
  AddFormatOption(verb, options.format, {"table", "csv", "json", "jsonl"});
  verb.add_flag("--watch", options.watch, "Show again every second until Ctrl-C");
}

void AddWorkerChange(Verbs& verbs, CLI::App* parent, const std::string& name, const std::string& description,
                     v1::ChangeWorkerRequest::Verb change, const std::string& said) {
  struct Options {
    std::string worker;
    RemoteOptions coordinator;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = verbs.Add(name, description, StrCat("capsweep workers ", name, " node-7"), parent);
  verb->add_option("worker", options->worker, "The worker's name, as `capsweep workers` shows it")
      ->required()
      ->type_name("ID");
  AddRemoteOptions(*verb, options->coordinator);
  verbs.SetAction(verb, [options, change, said](Console& console) -> absl::StatusOr<int> {
    ASSIGN_OR_RETURN(const auto remote, Remote::Connect(options->coordinator));
    RETURN_IF_ERROR(remote->ChangeWorker(options->worker, change));
    console.out << options->worker << said << "\n";
    return kExitOk;
  });
}

}  // namespace

void AddStatusVerbs(Verbs& verbs) {
  auto status = std::make_shared<ReadOptions>();
  CLI::App* verb = verbs.Add("status", "How far sweeps are", "capsweep status quickstart --db quickstart.db --watch");
  verb->add_option("sweep", status->sweep, "Only this sweep")->type_name("SWEEP");
  AddReadOptions(*verb, *status);
  verbs.SetAction(verb, [status](Console& console) { return Read(*status, StatusOnce, console); });

  auto workers = std::make_shared<ReadOptions>();
  verb = verbs.Add("workers", "Workers, their devices and what they do; drain or remove one",
                   "capsweep workers --coordinator 127.0.0.1:7171");
  AddReadOptions(*verb, *workers);
  verbs.SetAction(verb, [workers](Console& console) { return Read(*workers, WorkersOnce, console); });
  AddWorkerChange(verbs, verb, "drain", "Let a worker finish what it holds and give it nothing more",
                  v1::ChangeWorkerRequest::DRAIN, " finishes what it holds and gets nothing more");
  AddWorkerChange(verbs, verb, "remove", "Forget a worker; what it holds goes to others",
                  v1::ChangeWorkerRequest::REMOVE, " is removed; what it held goes to other workers");

  struct ExplainOptions {
    std::string subject;
    RemoteOptions coordinator;
  };
  auto explain = std::make_shared<ExplainOptions>();
  verb = verbs.Add("explain", "Why a sweep or point is not running", "capsweep explain quickstart");
  verb->add_option("subject", explain->subject, "A sweep's name, or a point's key or id")
      ->required()
      ->type_name("SWEEP|POINT");
  AddRemoteOptions(*verb, explain->coordinator);
  verbs.SetAction(verb, [explain](Console& console) -> absl::StatusOr<int> {
    ASSIGN_OR_RETURN(const auto remote, Remote::Connect(explain->coordinator));
    ASSIGN_OR_RETURN(const std::string text, remote->Explain(explain->subject));
    console.out << text << (text.ends_with('\n') ? "" : "\n");
    return kExitOk;
  });
}

}  // namespace capsweep::cli
