#include "cli/run_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "cli/console.h"
#include "cli/table.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

// Fields that can tell architectures apart; heads and width are always shown, the others where they differ.
constexpr std::string_view kFoundFields =
    "mode, vocab, seq_len, lm_targets, family, layers, heads, head_dim, width, freeze_mlp, mlp_width, activation, "
    "positions, dropout, tokens, vector_dim, optimizer, schedule, loss, batch_size";
constexpr size_t kFoundFieldCount = 20;
// Columns before them.
enum FoundColumn : size_t {
  kMeasure,
  kState,
  kReason,
  kMac,
  kUnsettled,
  kMls,
  kSize,
  kParams,
  kItems,
  kLr,
  kWarmup,
  kSeed
};
constexpr size_t kFirstField = kSeed + 1;
// Columns after them, for adaptive.
enum AdaptiveColumn : size_t { kTarget, kRounds, kProbes, kSeconds, kPredicted, kLow, kHigh };
constexpr std::string_view kAdaptiveColumns = "target, rounds, probes, seconds, predicted, low, high";
constexpr size_t kFirstAdaptive = kFirstField + kFoundFieldCount;

using FoundRow = std::vector<store::Cell>;

std::optional<double> FoundNumber(const store::Cell& cell) {
  if (const auto* real = std::get_if<double>(&cell)) return *real;
  if (const auto* whole = std::get_if<int64_t>(&cell)) return static_cast<double>(*whole);
  return std::nullopt;
}

std::string FoundText(const store::Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  const auto number = FoundNumber(cell);
  return number.has_value() ? FormatNumber(*number, 6) : "";
}

std::vector<size_t> ShownFields(const store::Table& table) {
  std::vector<size_t> shown;
  for (size_t i = kFirstField; i < kFirstField + kFoundFieldCount; ++i) {
    std::set<std::string> values;
    for (const FoundRow& row : table.rows) values.insert(FoundText(row[i]));
    const std::string& name = table.columns[i];
    if (values.size() > 1 || name == "heads" || name == "width") shown.push_back(i);
  }
  return shown;
}

std::string FoundName(const store::Table& table, const FoundRow& row, const std::vector<size_t>& shown) {
  std::string name;
  for (const size_t i : shown) StrAppend(&name, name.empty() ? "" : ", ", table.columns[i], " ", FoundText(row[i]));
  return name;
}

void AppendCapacities(const FoundRow& row, bool mls, std::vector<std::string>& cells) {
  const auto mac = FoundNumber(row[kMac]), found = FoundNumber(row[kMls]);
  const bool unsettled = FoundNumber(row[kUnsettled]).value_or(0) != 0;
  const bool stopped = FoundText(row[kState]) == "stopped";
  cells.push_back(mac.has_value() ? StrCat(unsettled ? "~ " : "", FormatNumber(*mac, 6)) : "");
  if (!mls) return;
  cells.push_back(found.has_value() ? StrCat(stopped ? "≥ " : "", FormatNumber(*found, 6)) : "");
  cells.push_back(mac.value_or(0) > 0 && found.has_value() ? FormatNumber(*found / *mac, 3) : "");
}

std::string CapacityRows(const store::Table& table, bool mls, const std::vector<size_t>& shown) {
  std::vector<std::string> header;
  for (const size_t i : shown) header.push_back(table.columns[i]);
  header.insert(header.end(), {"parameters", "MAC"});
  if (mls) header.insert(header.end(), {"MLS", "MLS/MAC"});
  TextTable out(std::move(header));
  std::vector<double> macs, found;
  bool unsettled = false;
  for (const FoundRow& row : table.rows) {
    std::vector<std::string> cells;
    for (const size_t i : shown) cells.push_back(FoundText(row[i]));
    cells.push_back(FoundText(row[kParams]));
    AppendCapacities(row, mls, cells);
    out.Add(std::move(cells));
    unsettled = unsettled || FoundNumber(row[kUnsettled]).value_or(0) != 0;
    if (FoundNumber(row[kMac]).has_value() && FoundNumber(row[kMls]).has_value()) {
      macs.push_back(*FoundNumber(row[kMac]));
      found.push_back(*FoundNumber(row[kMls]));
    }
  }
  std::string text = out.ToString();
  if (unsettled) {
    StrAppend(&text,
              "~ is a MAC that is not settled: the last doubling of the library changed it by more than a tenth, or "
              "there was none\n");
  }
  if (mls) {
    const double r = PearsonCorrelation(macs, found);
    StrAppend(&text, "correlation of MAC and MLS over ", macs.size(), " architectures: ",
              std::isnan(r) ? std::string("cannot be told from so few or equal ones") : FormatNumber(r, 3), "\n");
  }
  return text;
}

std::string MinnetRows(const store::Table& table, const std::vector<size_t>& shown) {
  std::vector<std::string> header = {"D"};
  for (const size_t i : shown) header.push_back(table.columns[i]);
  header.insert(header.end(), {"seed", "smallest", "P_min", "lr", "warmup"});
  TextTable out(std::move(header));
  for (const FoundRow& row : table.rows) {
    std::vector<std::string> cells = {FoundText(row[kItems])};
    for (const size_t i : shown) cells.push_back(FoundText(row[i]));
    cells.push_back(FoundText(row[kSeed]));
    const bool known = FoundNumber(row[kSize]).has_value();
    for (const FoundColumn column : {kSize, kParams, kLr, kWarmup})
      cells.push_back(known ? FoundText(row[column]) : "");
    out.Add(std::move(cells));
  }
  return out.ToString();
}

// `row` from the first of the adaptive columns on.
std::string SpentText(const store::Cell* row) {
  const double points = FoundNumber(row[kProbes]).value_or(0);
  return StrCat(FormatCount(static_cast<int64_t>(points)), points == 1 ? " point, " : " points, ",
                FormatNumber(FoundNumber(row[kSeconds]).value_or(0), 3), " s of training");
}

std::string PredictionText(const store::Cell* row) {
  const auto predicted = FoundNumber(row[kPredicted]);
  if (!predicted.has_value()) return "no prediction yet";
  const double low = FoundNumber(row[kLow]).value_or(0), high = FoundNumber(row[kHigh]).value_or(0);
  return StrCat(FormatNumber(*predicted, 5), " items (", FormatNumber(low, 5), " to ", FormatNumber(high, 5), ")");
}

std::string AdaptiveRows(const FoundRow& found) {
  const store::Cell* row = &found[kFirstAdaptive];
  const auto predicted = FoundNumber(row[kPredicted]);
  std::string text = StrCat("Predicted for ", FoundText(row[kTarget]), ": ");
  if (predicted.has_value()) {
    const double half = (FoundNumber(row[kHigh]).value_or(0) - FoundNumber(row[kLow]).value_or(0)) / 2;
    StrAppend(&text, FormatNumber(*predicted, 5), " items, 95 % interval ", FormatNumber(*FoundNumber(row[kLow]), 5),
              " to ", FormatNumber(*FoundNumber(row[kHigh]), 5), " (half of it is ",
              FormatNumber(100 * half / *predicted, 3), " % of the prediction)\n");
  } else {
    text += "nothing, for there is no fit\n";
  }
  const double rounds = FoundNumber(row[kRounds]).value_or(0);
  StrAppend(&text, "after ", FormatNumber(rounds, 6), rounds == 1 ? " round: " : " rounds: ", SpentText(row));
  const std::string state = FoundText(found[kState]);
  StrAppend(&text, "; ", state == "searching" ? std::string("it goes on") : FoundText(found[kReason]), "\n");
  return text;
}

}  // namespace

std::string AdaptiveProgressSql(const std::string& sweep) {
  return StrCat("SELECT sweep, state, reason, ", kAdaptiveColumns, " FROM v_searches WHERE measure = 'adaptive'",
                sweep.empty() ? "" : StrCat(" AND sweep = ", SqlLiteral(sweep)));
}

std::string AdaptiveProgressText(const std::vector<store::Cell>& row) {
  const store::Cell* own = &row[3];
  const bool searching = FoundText(row[1]) == "searching";
  return StrCat(searching ? StrCat("round ", FoundNumber(own[kRounds]).value_or(0) + 1) : FoundText(row[2]), ", ",
                SpentText(own), "; ", FoundText(own[kTarget]), ": ", PredictionText(own));
}

std::string SearchProgressText(int64_t architectures, int64_t settled, int64_t probes) {
  return StrCat("searching: ", FormatCount(settled), " of ", FormatCount(architectures), " architectures settled, ",
                FormatCount(probes), " probes");
}

double PearsonCorrelation(const std::vector<double>& a, const std::vector<double>& b) {
  const size_t n = std::min(a.size(), b.size());
  if (n < 3) return std::numeric_limits<double>::quiet_NaN();
  double mean_a = 0, mean_b = 0;
  for (size_t i = 0; i < n; ++i) {
    mean_a += a[i] / static_cast<double>(n);
    mean_b += b[i] / static_cast<double>(n);
  }
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < n; ++i) {
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
    ab += (a[i] - mean_a) * (b[i] - mean_b);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : std::numeric_limits<double>::quiet_NaN();
}

absl::StatusOr<std::string> SearchText(Source& source, const std::string& sweep) {
  ASSIGN_OR_RETURN(const store::Table table,
                   source.Query(StrCat("SELECT measure, state, reason, mac, mac_unsettled, mls, size, params_total, "
                                       "dataset_size, lr, warmup, data_seed, ",
                                       kFoundFields, ", ", kAdaptiveColumns,
                                       " FROM v_searches WHERE sweep = ", SqlLiteral(sweep), " ORDER BY cell"),
                                {}));
  if (table.rows.empty()) {
    return std::string();
  }
  const std::string measure = FoundText(table.rows[0][kMeasure]);
  if (measure == "adaptive") return AdaptiveRows(table.rows[0]);
  std::vector<size_t> shown = ShownFields(table);
  std::string text = measure == "minnet" ? MinnetRows(table, shown) : CapacityRows(table, measure == "mls", shown);
  for (const FoundRow& row : table.rows) {
    if (!FoundText(row[kReason]).empty()) {
      StrAppend(&text, FoundName(table, row, shown), ": ", FoundText(row[kReason]), "\n");
    }
  }
  return text;
}

}  // namespace capsweep::cli
