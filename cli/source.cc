#include "cli/source.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <system_error>

#include "absl/strings/str_replace.h"
#include "cli/remote.h"
#include "cli/workers_table.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/store.h"

namespace capsweep::cli {
namespace {

constexpr int64_t kFilePageRows = 5000;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class FileSource : public Source {
 public:
  FileSource(std::string path, std::unique_ptr<store::Reader> reader)
      : path_(std::move(path)), reader_(std::move(reader)) {}

  std::string Name() const override { return path_; }
  std::string Flag() const override { return StrCat("--db ", path_); }

  absl::StatusOr<std::vector<store::SweepProgress>> Sweeps(const std::string& sweep) override {
    return reader_->Progress(sweep);
  }

  absl::StatusOr<std::vector<core::WorkerView>> Workers() override {
    ASSIGN_OR_RETURN(const store::Table table, reader_->Workers());
    return WorkersFromTable(table);
  }

  absl::StatusOr<store::Table> Query(const std::string& sql, const store::QueryLimits& limits) override {
    return reader_->Query(sql, limits);
  }

  absl::Status Results(const std::string& sweep, const std::string& where, const Page& page) override {
    store::QueryLimits limits;
    limits.max_rows = kFilePageRows;
    int64_t after_point = 0;
    while (true) {
      ASSIGN_OR_RETURN(const store::Table table, reader_->Results(sweep, where, after_point, limits));
      RETURN_IF_ERROR(page(table));
      if (!table.truncated || table.rows.empty()) {
        return absl::OkStatus();
      }
      const auto column = std::find(table.columns.begin(), table.columns.end(), "point_id");
      if (column == table.columns.end()) {
        return absl::InternalError("v_results has no column point_id to page by");
      }
      after_point = std::get<int64_t>(table.rows.back()[static_cast<size_t>(column - table.columns.begin())]);
    }
  }

  absl::StatusOr<store::Table> Cells(const std::string& sweep) override { return reader_->Cells(sweep); }

  absl::StatusOr<std::string> Fit(int64_t id) override { return reader_->Fit(id); }

  absl::StatusOr<int64_t> StoreFit(const std::string& sweep, const std::string& fit_json,
                                   const std::string& settings_json) override {
    store::Options options;
    options.create = false;
    // The last connection to close folds the write-ahead log into the file; one that only reads cannot.
    reader_.reset();
    absl::StatusOr<int64_t> id = [&]() -> absl::StatusOr<int64_t> {
      ASSIGN_OR_RETURN(const auto writer, store::Store::Open(path_, options));
      return writer->AddFit(sweep, fit_json, settings_json);
    }();
    ASSIGN_OR_RETURN(reader_, store::Reader::Open(path_));
    return id;
  }

 private:
  const std::string path_;
  std::unique_ptr<store::Reader> reader_;
};

class RemoteSource : public Source {
 public:
  explicit RemoteSource(std::unique_ptr<Remote> remote) : remote_(std::move(remote)) {}

  std::string Name() const override { return StrCat("the coordinator at ", remote_->address()); }
  std::string Flag() const override { return StrCat("--coordinator ", remote_->address()); }

  absl::StatusOr<std::vector<store::SweepProgress>> Sweeps(const std::string& sweep) override {
    return remote_->Sweeps(sweep);
  }

  absl::StatusOr<std::vector<core::WorkerView>> Workers() override { return remote_->Workers(); }

  absl::StatusOr<store::Table> Query(const std::string& sql, const store::QueryLimits& limits) override {
    return remote_->Query(sql, limits);
  }

  absl::Status Results(const std::string& sweep, const std::string& where, const Page& page) override {
    std::string page_token;
    const auto fetch = [&] { return remote_->ResultsPage(sweep, where, page_token); };
    absl::StatusOr<store::Table> table = fetch();
    while (true) {
      RETURN_IF_ERROR(table.status());
      // The coordinator reads the next page while this one is used.
      std::future<absl::StatusOr<store::Table>> next;
      if (!page_token.empty()) {
        next = std::async(std::launch::async, fetch);
      }
      RETURN_IF_ERROR(page(*table));
      if (!next.valid()) {
        return absl::OkStatus();
      }
      table = next.get();
    }
  }

  absl::StatusOr<store::Table> Cells(const std::string& sweep) override {
    RETURN_IF_ERROR(remote_->Sweeps(sweep).status());
    return remote_->Query(StrCat("SELECT * FROM v_cells WHERE sweep = ", SqlLiteral(sweep)), {});
  }

  absl::StatusOr<std::string> Fit(int64_t id) override {
    ASSIGN_OR_RETURN(const store::Table table,
                     remote_->Query(StrCat("SELECT fit_json FROM fits WHERE fit_id = ", id), {}));
    if (table.rows.empty()) {
      return absl::NotFoundError(
          StrCat("no fit ", id, " at ", Name(), "; `capsweep query 'SELECT fit_id, sweep FROM fits'` lists them"));
    }
    const auto* text = std::get_if<std::string>(&table.rows[0][0]);
    return text == nullptr ? absl::StatusOr<std::string>(absl::DataLossError("fits.fit_json is not text")) : *text;
  }

  absl::StatusOr<int64_t> StoreFit(const std::string& sweep, const std::string& fit_json,
                                   const std::string& settings_json) override {
    return remote_->StoreFit(sweep, fit_json, settings_json);
  }

 private:
  const std::unique_ptr<Remote> remote_;
};

// Paths of the *.db files here that open as capsweep databases.
std::vector<std::string> DatabasesHere() {
  std::vector<std::string> found;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(".", error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (entry->path().extension() == ".db" && store::Reader::Open(name).ok()) {
      found.push_back(name);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void AddSourceOptions(CLI::App& verb, SourceOptions& options) {
  verb.add_option("--db", options.database, "Read straight from this database file (also CAPSWEEP_DB)")
      ->type_name("FILE");
  verb.add_option("--coordinator", options.coordinator, "Read through this coordinator (also CAPSWEEP_COORDINATOR)")
      ->type_name("HOST:PORT");
  AddSecurityOptions(verb, options.security);
}

absl::StatusOr<std::unique_ptr<Source>> OpenFileSource(const std::string& path) {
  ASSIGN_OR_RETURN(auto reader, store::Reader::Open(path));
  return std::make_unique<FileSource>(path, std::move(reader));
}

absl::StatusOr<std::unique_ptr<Source>> OpenRemoteSource(const RemoteOptions& options) {
  ASSIGN_OR_RETURN(auto remote, Remote::Connect(options));
  return std::make_unique<RemoteSource>(std::move(remote));
}

absl::StatusOr<std::unique_ptr<Source>> OpenSource(const SourceOptions& options) {
  SourceOptions chosen = options;
  if (chosen.database.empty() && chosen.coordinator.empty()) {
    chosen.database = Environment("CAPSWEEP_DB");
    chosen.coordinator = Environment("CAPSWEEP_COORDINATOR");
    if (!chosen.database.empty() && !chosen.coordinator.empty()) {
      return absl::InvalidArgumentError(
          "CAPSWEEP_DB and CAPSWEEP_COORDINATOR are both set; say which with --db FILE or --coordinator HOST:PORT");
    }
  }
  if (!chosen.database.empty() && !chosen.coordinator.empty()) {
    return absl::InvalidArgumentError("--db and --coordinator name two places to read from; give one of them");
  }
  if (!chosen.coordinator.empty()) {
    return OpenRemoteSource({chosen.coordinator, options.security});
  }
  if (!chosen.database.empty()) {
    return OpenFileSource(chosen.database);
  }
  const std::vector<std::string> here = DatabasesHere();
  if (here.size() == 1) {
    return OpenFileSource(here[0]);
  }
  return absl::InvalidArgumentError(
      StrCat(here.empty() ? "there is no capsweep database in this folder"
                          : StrCat("this folder holds several capsweep databases (", StrJoin(here, ", "), ")"),
             "; say where to read from with --db FILE or --coordinator HOST:PORT (a local coordinator listens on ",
             kDefaultCoordinator, ")"));
}

std::string SqlLiteral(const std::string& text) {
  return StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

}  // namespace capsweep::cli
