#include "cli/measurements.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

// Read access to the rows of a table by column name.
class Columns {
 public:
  explicit Columns(const store::Table& table) {
    for (size_t i = 0; i < table.columns.size(); ++i) {
      index_[table.columns[i]] = i;
    }
  }

  absl::Status Require(const std::vector<std::string>& names) const {
    for (const std::string& name : names) {
      if (!index_.contains(name)) {
        return absl::InternalError(StrCat("v_results has no column ", name));
      }
    }
    return absl::OkStatus();
  }

  bool Has(const std::string& name) const { return index_.contains(name); }

  double Real(const std::vector<store::Cell>& row, const std::string& name) const {
    const store::Cell& cell = row[index_.at(name)];
    if (const auto* real = std::get_if<double>(&cell)) return *real;
    if (const auto* integer = std::get_if<int64_t>(&cell)) return static_cast<double>(*integer);
    return 0;
  }

  int64_t Integer(const std::vector<store::Cell>& row, const std::string& name) const {
    const store::Cell& cell = row[index_.at(name)];
    if (const auto* integer = std::get_if<int64_t>(&cell)) return *integer;
    if (const auto* real = std::get_if<double>(&cell)) return static_cast<int64_t>(*real);
    return 0;
  }

  std::string Text(const std::vector<store::Cell>& row, const std::string& name) const {
    const store::Cell& cell = row[index_.at(name)];
    if (const auto* text = std::get_if<std::string>(&cell)) return *text;
    if (const auto* integer = std::get_if<int64_t>(&cell)) return StrCat(*integer);
    if (const auto* real = std::get_if<double>(&cell)) return StrCat(*real);
    return "";
  }

 private:
  std::map<std::string, size_t> index_;
};

const std::vector<std::string>& GroupColumns() {
  static const auto* const kColumns =
      new std::vector<std::string>{"mode", "vocab",    "family",     "layers",     "head_dim", "optimizer",
                                   "lr",   "schedule", "batch_size", "eval_every", "patience", "backend"};
  return *kColumns;
}

const std::vector<std::string>& OtherColumns() {
  static const auto* const kColumns = new std::vector<std::string>{
      "heads",        "width",      "seq_len",      "freeze_mlp",    "lm_targets",  "lr_final",
      "dataset_size", "targets",    "budget_steps", "budget_epochs", "steps",       "init_seed",
      "items_mem",    "items_corr", "bits_mem",     "params_total",  "params_train"};
  return *kColumns;
}

// Columns that name a group only where they are unusual, with their usual text; files of older versions lack them.
const std::vector<std::pair<std::string, std::string>>& LaterColumns() {
  static const auto* const kColumns = new std::vector<std::pair<std::string, std::string>>{
      {"mlp_width", "0"},    {"activation", "gelu"},   {"positions", "absolute"}, {"dropout", "0"},
      {"tokens", "uniform"}, {"zipf_s", "1"},          {"negbin_r", "1"},         {"negbin_p", "0.5"},
      {"file_hash", ""},     {"warmup", "0"},          {"momentum", "0.9"},       {"weight_decay", "0"},
      {"clip_norm", "0"},    {"loss", "cross_entropy"}};
  return *kColumns;
}

ecm::Measurement FromRow(const Columns& columns, const std::vector<store::Cell>& row) {
  ecm::Measurement m;
  for (const std::string& name : GroupColumns()) {
    m.group[name] = columns.Text(row, name);
  }
  m.freeze_mlp = columns.Integer(row, "freeze_mlp") != 0;
  m.group["freeze_mlp"] = m.freeze_mlp ? "true" : "false";
  // Two fields that only mean something in one mode or schedule.
  if (m.group["mode"] == "lm") {
    m.group["lm_targets"] = columns.Text(row, "lm_targets");
  }
  if (m.group["schedule"] == "cosine") {
    m.group["lr_final"] = columns.Text(row, "lr_final");
  }
  for (const auto& [name, by_default] : LaterColumns()) {
    const std::string value = columns.Has(name) ? columns.Text(row, name) : by_default;
    if (value != by_default) m.group[name] = value;
  }
  m.heads = columns.Integer(row, "heads");
  m.width = columns.Integer(row, "width");
  m.seq_len = columns.Integer(row, "seq_len");
  m.layers = columns.Integer(row, "layers");
  m.head_dim = columns.Integer(row, "head_dim");
  m.vocab = columns.Integer(row, "vocab");
  m.dataset_size = columns.Integer(row, "dataset_size");
  m.targets = columns.Integer(row, "targets");
  m.budget_steps = columns.Integer(row, "budget_steps");
  m.budget_epochs = columns.Integer(row, "budget_epochs");
  m.steps = columns.Integer(row, "steps");
  m.seed = static_cast<uint64_t>(columns.Integer(row, "init_seed"));
  m.items_mem = columns.Integer(row, "items_mem");
  m.items_corr = columns.Real(row, "items_corr");
  m.bits_mem = columns.Real(row, "bits_mem");
  m.params_total = columns.Integer(row, "params_total");
  m.params_train = columns.Integer(row, "params_train");
  return m;
}

}  // namespace

absl::Status AppendMeasurements(const store::Table& results, std::vector<ecm::Measurement>& out) {
  const Columns columns(results);
  RETURN_IF_ERROR(columns.Require(GroupColumns()));
  RETURN_IF_ERROR(columns.Require(OtherColumns()));
  for (const auto& row : results.rows) {
    out.push_back(FromRow(columns, row));
  }
  return absl::OkStatus();
}

void MergeSplitHeads(std::vector<ecm::Measurement>& measurements) {
  std::set<int64_t> head_dims;
  for (const ecm::Measurement& m : measurements) {
    if (m.heads * m.head_dim != m.width) {
      return;
    }
    head_dims.insert(m.head_dim);
  }
  if (head_dims.size() < 2) {
    return;
  }
  for (ecm::Measurement& m : measurements) {
    m.group["head_dim"] = "split";
  }
}

absl::StatusOr<std::vector<ecm::Measurement>> ReadMeasurements(Source& source, const std::string& sweep) {
  std::vector<ecm::Measurement> measurements;
  RETURN_IF_ERROR(
      source.Results(sweep, "", [&](const store::Table& page) { return AppendMeasurements(page, measurements); }));
  if (measurements.empty()) {
    return absl::FailedPreconditionError(StrCat("sweep ", sweep, " has no results yet in ", source.Name(),
                                                "; `capsweep status ", sweep, " ", source.Flag(), "` shows why"));
  }
  MergeSplitHeads(measurements);
  return measurements;
}

}  // namespace capsweep::cli
