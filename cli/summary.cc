#include "cli/summary.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_format.h"
#include "cli/console.h"
#include "cli/table.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

std::string Capacity(const ecm::Row& row) {
  const int decimals = row.capacity < 100 ? 1 : 0;
  const char* mark = row.censored ? "≥ " : row.at_chance ? "~ " : "";
  std::string text = absl::StrFormat("%s%.*f", mark, decimals, row.capacity);
  if (row.sd >= 0 && row.repeats > 1) {
    StrAppend(&text, " ± ", absl::StrFormat("%.*f", row.sd < 10 ? 1 : 0, row.sd));
  }
  return text;
}

std::string BitsPerParameter(const ecm::Row& row) {
  const double parameters = row.params_train > 0 ? row.params_train : row.params_total;
  return parameters > 0 && row.bits_per_item > 0
             ? absl::StrFormat("%.2f", row.capacity * row.bits_per_item / parameters)
             : "";
}

std::vector<ecm::Row> BySequenceThenHeads(std::vector<ecm::Row> rows) {
  std::sort(rows.begin(), rows.end(), [](const ecm::Row& a, const ecm::Row& b) {
    return std::tie(a.seq_len, a.heads, a.width, a.budget) < std::tie(b.seq_len, b.heads, b.width, b.budget);
  });
  return rows;
}

// Whether a cell was trained with more than one budget, so that only the budget tells its rows apart.
bool RepeatsCells(const std::vector<ecm::Row>& sorted) {
  return std::adjacent_find(sorted.begin(), sorted.end(), [](const ecm::Row& a, const ecm::Row& b) {
           return std::tie(a.seq_len, a.heads, a.width) == std::tie(b.seq_len, b.heads, b.width);
         }) != sorted.end();
}

std::string GroupTable(const ecm::Group& group, size_t max_rows) {
  const std::vector<ecm::Row> rows = BySequenceThenHeads(group.rows);
  std::vector<std::string> columns = {"seq_len", "heads", "width", "capacity (items)", "n", "params", "bits/param"};
  const bool with_budget = RepeatsCells(rows);
  if (with_budget) {
    columns.emplace_back(rows.front().budget_in_epochs ? "epochs" : "steps");
  }
  TextTable table(columns);
  for (size_t i = 0; i < rows.size() && i < max_rows; ++i) {
    const ecm::Row& row = rows[i];
    const bool same_length = i > 0 && rows[i - 1].seq_len == row.seq_len;
    const bool same_heads = same_length && rows[i - 1].heads == row.heads;
    std::vector<std::string> cells = {same_length ? "" : FormatNumber(row.seq_len, 12),
                                      same_heads ? "" : FormatNumber(row.heads, 12),
                                      FormatNumber(row.width, 12),
                                      Capacity(row),
                                      StrCat(row.repeats),
                                      row.params_total > 0 ? FormatCount(static_cast<int64_t>(row.params_total)) : "",
                                      BitsPerParameter(row)};
    if (with_budget) {
      cells.push_back(FormatCount(static_cast<int64_t>(row.budget)));
    }
    table.Add(std::move(cells));
  }
  return table.ToString(2);
}

}  // namespace

std::string CapacityText(const std::vector<ecm::Group>& groups, size_t max_rows, const std::string& more) {
  std::string text;
  bool censored = false, at_chance = false;
  for (const ecm::Group& group : groups) {
    StrAppend(&text, "Capacity: ", GroupTitle(group.key), "\n", GroupTable(group, max_rows));
    if (group.rows.size() > max_rows) {
      StrAppend(&text, "  … ", group.rows.size() - max_rows, " more rows: ", more, "\n");
    }
    text += "\n";
    for (const ecm::Row& row : group.rows) {
      censored = censored || row.censored;
      at_chance = at_chance || row.at_chance;
    }
  }
  StrAppend(&text,
            "capacity = items memorized beyond guessing, mean ± standard deviation over n seeds; bits per trained "
            "parameter.\n");
  if (censored) {
    text += "≥: the whole library was memorized, the model could hold more; use a larger dataset_size.\n";
  }
  if (at_chance) {
    text += "~: not distinguishable from guessing.\n";
  }
  return text;
}

}  // namespace capsweep::cli
