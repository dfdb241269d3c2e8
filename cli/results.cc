// capsweep results, query.
#include <cmath>
#include <memory>

#include "cli/app.h"
#include "cli/source.h"
#include "cli/table.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

// What fits a terminal; csv, json and jsonl hold every column.
const std::vector<std::string>& ResultColumns() {
  static const auto* const kColumns = new std::vector<std::string>{
      "mode",      "seq_len",    "heads",    "width",        "freeze_mlp", "dataset_size", "seed",
      "items_mem", "items_corr", "bits_mem", "params_train", "steps",      "stop_reason",  "seconds"};
  return *kColumns;
}

const std::vector<std::string>& CellColumns() {
  static const auto* const kColumns = new std::vector<std::string>{"mode",
                                                                   "seq_len",
                                                                   "heads",
                                                                   "width",
                                                                   "freeze_mlp",
                                                                   "dataset_size",
                                                                   "n",
                                                                   "items_mem_mean",
                                                                   "items_mem_sd",
                                                                   "items_corr_mean",
                                                                   "items_corr_sd",
                                                                   "bits_mem_mean",
                                                                   "params_train",
                                                                   "steps_mean"};
  return *kColumns;
}

struct ResultsOptions {
  SourceOptions source;
  std::string sweep, where, format = "table";
  bool cells = false;
};

absl::StatusOr<int> Results(const ResultsOptions& options, Console& console) {
  ASSIGN_OR_RETURN(const Format format, FormatFromWord(options.format));
  if (options.cells && !options.where.empty()) {
    return absl::InvalidArgumentError(
        "--where filters single results and --cells shows means over seeds; give one of them "
        "(or use `capsweep query` on v_cells)");
  }
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  if (options.cells) {
    ASSIGN_OR_RETURN(const store::Table cells, source->Cells(options.sweep));
    WriteTable(console.out, format, cells, format == Format::kTable ? CellColumns() : std::vector<std::string>());
    return kExitOk;
  }
  RowWriter writer(console.out, format, format == Format::kTable ? ResultColumns() : std::vector<std::string>());
  RETURN_IF_ERROR(source->Results(options.sweep, options.where, [&](const store::Table& page) {
    writer.Header(page.columns);
    for (const auto& row : page.rows) {
      writer.Row(row);
    }
    // A reader that went away (`| head`) must not make the rest be read.
    return console.out ? absl::OkStatus() : absl::AbortedError("could not write the output (is the pipe closed?)");
  }));
  writer.Finish();
  if (writer.rows() == 0 && format == Format::kTable) {
    console.err << "no results" << (options.where.empty() ? "" : " match --where") << " in sweep " << options.sweep
                << "\n";
  }
  return kExitOk;
}

struct QueryOptions {
  SourceOptions source;
  std::string sql, format = "table";
  int64_t max_rows = 100'000;
  double timeout_seconds = 30;
};

absl::StatusOr<int> Query(const QueryOptions& options, Console& console) {
  ASSIGN_OR_RETURN(const Format format, FormatFromWord(options.format));
  if (options.max_rows < 1 || !(options.timeout_seconds > 0) || options.timeout_seconds > 3600) {
    return absl::InvalidArgumentError("--max-rows must be at least 1 and --timeout above 0 and at most 3600 seconds");
  }
  ASSIGN_OR_RETURN(const auto source, OpenSource(options.source));
  store::QueryLimits limits;
  limits.max_rows = options.max_rows;
  limits.max_time = FromSeconds(options.timeout_seconds);
  const absl::StatusOr<store::Table> answer = source->Query(options.sql, limits);
  if (absl::IsDeadlineExceeded(answer.status())) {
    return absl::InvalidArgumentError(answer.status().message());  // the user's to mend, like any other bad query
  }
  RETURN_IF_ERROR(answer.status());
  const store::Table& table = *answer;
  WriteTable(console.out, format, table);
  if (table.truncated) {
    console.err << "capsweep: a limit cut the answer off after " << table.rows.size()
                << " rows; raise --max-rows, or read the file itself with --db" << std::endl;
  }
  return kExitOk;
}

}  // namespace

void AddResultsVerbs(Verbs& verbs) {
  auto results = std::make_shared<ResultsOptions>();
  CLI::App* verb = verbs.Add("results", "The measurements of a sweep",
                             "capsweep results quickstart --where 'heads = 4 AND width >= 16' --format csv");
  verb->add_option("sweep", results->sweep, "The sweep's name")->required()->type_name("SWEEP");
  verb->add_option("--where", results->where, "SQL condition over the columns of v_results")->type_name("EXPR");
  verb->add_flag("--cells", results->cells, "Means and standard deviations over seeds (v_cells)");
  AddFormatOption(*verb, results->format, {"table", "csv", "json", "jsonl"});
  AddSourceOptions(*verb, results->source);
  verbs.SetAction(verb, [results](Console& console) { return Results(*results, console); });

  auto query = std::make_shared<QueryOptions>();
  verb = verbs.Add("query", "Read-only SQL over the database (docs/schema.md)",
                   "capsweep query 'SELECT heads, width, avg(items_mem) FROM v_results GROUP BY 1, 2'");
  verb->add_option("sql", query->sql, "One SELECT statement")->required()->type_name("SQL");
  verb->add_option("--max-rows", query->max_rows, "Stop after this many rows")->capture_default_str()->type_name("N");
  verb->add_option("--timeout", query->timeout_seconds, "Stop after this time")
      ->capture_default_str()
      ->type_name("SECONDS");
  AddFormatOption(*verb, query->format, {"table", "csv", "json", "jsonl"});
  AddSourceOptions(*verb, query->source);
  verbs.SetAction(verb, [query](Console& console) { return Query(*query, console); });
}

}  // namespace capsweep::cli
