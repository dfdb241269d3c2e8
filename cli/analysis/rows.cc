#include "cli/analysis/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "cli/table.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

// What may tell architectures and recipes apart, in the order in which a name lists it.
const std::vector<std::string>& NamingColumns() {
  static const auto* const kColumns = new std::vector<std::string>{
      "family",     "mode",       "layers",       "heads",     "head_dim", "width",     "mlp_width",
      "freeze_mlp", "activation", "positions",    "dropout",   "seq_len",  "vocab",     "tokens",
      "file_hash",  "optimizer",  "lr",           "schedule",  "warmup",   "clip_norm", "momentum",
      "loss",       "batch_size", "weight_decay", "lm_targets"};
  return *kColumns;
}

class RowReader {
 public:
  static absl::StatusOr<RowReader> Make(const store::Table& table, const std::vector<std::string>& needed) {
    RowReader reader;
    for (size_t i = 0; i < table.columns.size(); ++i) reader.index_[table.columns[i]] = i;
    for (const auto& list : {needed, NamingColumns()}) {
      for (const std::string& name : list) {
        if (!reader.index_.contains(name)) return absl::InternalError(StrCat("v_results has no column ", name));
      }
    }
    return reader;
  }

  double Real(const std::vector<store::Cell>& row, const std::string& name) const {
    const store::Cell& cell = row[index_.at(name)];
    if (const auto* real = std::get_if<double>(&cell)) return *real;
    if (const auto* integer = std::get_if<int64_t>(&cell)) return static_cast<double>(*integer);
    return std::numeric_limits<double>::quiet_NaN();
  }
  int64_t Integer(const std::vector<store::Cell>& row, const std::string& name) const {
    const auto* integer = std::get_if<int64_t>(&row[index_.at(name)]);
    return integer == nullptr ? 0 : *integer;
  }
  std::string Text(const std::vector<store::Cell>& row, const std::string& name) const {
    const store::Cell& cell = row[index_.at(name)];
    if (const auto* text = std::get_if<std::string>(&cell)) return *text;
    if (const auto* integer = std::get_if<int64_t>(&cell)) {
      return IsBooleanColumn(name) ? (*integer != 0 ? "true" : "false") : StrCat(*integer);
    }
    if (const auto* real = std::get_if<double>(&cell)) return StrCat(*real);
    return "";
  }

 private:
  std::map<std::string, size_t> index_;
};

// Whether head_dim is width / heads everywhere (`head_dim: split`), so that a name needs not say it.
bool SplitsWidth(const RowReader& reader, const store::Table& results) {
  return std::all_of(results.rows.begin(), results.rows.end(), [&](const auto& row) {
    return reader.Integer(row, "heads") * reader.Integer(row, "head_dim") == reader.Integer(row, "width");
  });
}

}  // namespace

absl::StatusOr<std::vector<ResultRow>> ReadResultRows(const store::Table& results) {
  absl::StatusOr<RowReader> made =
      RowReader::Make(results, {"point_id", "stop_reason", "dataset_size", "targets", "budget_steps", "budget_epochs",
                                "items_mem", "items_corr", "params_total", "params_train", "bits_mem", "train_loss",
                                "heldout_loss", "neighbour_mean", "neighbour_median"});
  if (!made.ok()) return made.status();
  const RowReader& reader = *made;
  std::vector<std::string> naming;
  for (const std::string& name : NamingColumns()) {
    std::set<std::string> values;
    for (const auto& row : results.rows) values.insert(reader.Text(row, name));
    const bool follows = name == "head_dim" && SplitsWidth(reader, results);
    if (values.size() > 1 && !follows) naming.push_back(name);
  }
  const bool alone = naming.empty();  // nothing varies
  if (alone) naming = {"family", "layers", "width"};
  std::vector<ResultRow> rows;
  for (const auto& row : results.rows) {
    ResultRow r;
    for (const std::string& name : naming) {
      const std::string words = StrCat(name, " ", reader.Text(row, name));
      StrAppend(&r.architecture, r.architecture.empty() ? "" : ", ", words);
      if (alone || name == "family" || name == "seq_len" || name == "mlp_width") continue;
      StrAppend(&r.variant, r.variant.empty() ? "" : ", ", words);
    }
    r.point_id = reader.Integer(row, "point_id");
    r.family = reader.Text(row, "family");
    r.mode = reader.Text(row, "mode");
    r.stop_reason = reader.Text(row, "stop_reason");
    for (const auto& [field, name] :
         {std::pair{&r.layers, "layers"}, std::pair{&r.width, "width"}, std::pair{&r.vocab, "vocab"},
          std::pair{&r.seq_len, "seq_len"}, std::pair{&r.dataset_size, "dataset_size"},
          std::pair{&r.targets, "targets"}, std::pair{&r.budget_steps, "budget_steps"},
          std::pair{&r.budget_epochs, "budget_epochs"}, std::pair{&r.items_mem, "items_mem"},
          std::pair{&r.params_total, "params_total"}, std::pair{&r.params_train, "params_train"}}) {
      *field = reader.Integer(row, name);
    }
    for (const auto& [field, name] :
         {std::pair{&r.items_corr, "items_corr"}, std::pair{&r.bits_mem, "bits_mem"},
          std::pair{&r.train_loss, "train_loss"}, std::pair{&r.lr, "lr"}, std::pair{&r.warmup, "warmup"},
          std::pair{&r.heldout_loss, "heldout_loss"}, std::pair{&r.neighbour_mean, "neighbour_mean"},
          std::pair{&r.neighbour_median, "neighbour_median"}}) {
      *field = reader.Real(row, name);
    }
    rows.push_back(std::move(r));
  }
  return rows;
}

}  // namespace capsweep::cli
