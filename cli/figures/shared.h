// What the makers of figures share.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/figures/figures.h"

namespace capsweep::figures {

using GroupKey = std::map<std::string, std::string>;

// "capacity C (items)", or what --capacity made of it.
std::string CapacityLabel(const FigureData& data);

Axis WidthAxis(const std::vector<ecm::Row>& rows);
Axis CapacityAxis(const FigureData& data);  // from 0

// "1 head", "2 heads".
std::string HeadsWord(double heads);
std::string Plural(size_t count, const std::string& word);  // "1 row", "2 rows"

// The place of a value among all there are: its style is the same in all panels.
class Levels {
 public:
  void Add(double value) { values_.insert(value); }
  int Index(double value) const { return static_cast<int>(std::distance(values_.begin(), values_.find(value))); }
  const std::set<double>& values() const { return values_; }

 private:
  std::set<double> values_;
};
enum class Field { kHeads, kWidth, kSeqLen };
double ValueOf(const ecm::Row& row, Field field);
Levels LevelsOf(const std::vector<ecm::Group>& groups, Field field);

// The rows that a fit looks at: of each cell the one with the smallest budget.
std::vector<ecm::Row> BaseRows(const ecm::Group& group);
// All groups with their base rows only; groups without a row are left out.
std::vector<ecm::Group> BaseGroups(const FigureData& data);

// Mean with ± SD where it is known, times `factor`.
ChartPoint MeanPoint(double x, const ecm::Row& row, double factor = 1);

// Adds points, those that only bound a capacity or cannot be told from guessing as open ones without a title. Says
// whether there were such.
bool AddMeasured(Panel& panel, const std::vector<ecm::Row>& rows, const std::string& title, int style, Field x,
                 Mark mark = Mark::kPoints);
// The sentence for the notes if there were such.
extern const char* const kOpenPoints;

// The usable fit of a group; nullptr if there is none.
const ecm::GroupFit* FitOf(const ecm::FitReport& report, const GroupKey& key);
// Its best form over widths; empty if `fit` is nullptr or all widths are the same.
std::vector<ChartPoint> ModelOverWidth(const ecm::GroupFit* fit, double heads, double seq_len,
                                       const std::vector<ecm::Row>& rows);
// "lines: best form `min`" or "… (`min` for frozen MLP, …)"; "" if nothing was fitted.
std::string ModelWords(const FigureData& data);

// The sequence length a figure shows: data.seq_len, or the largest. InvalidArgument names those there are.
absl::StatusOr<double> ChosenSeqLen(const FigureData& data);

// "text, name" without empty parts.
std::string JoinTitle(const std::string& a, const std::string& b);

absl::Status CannotDraw(const FigureData& data, const std::string& why);
// Keeps the number of panels within what can be read; says in the notes what it left out.
void LimitPanels(Chart& chart);

}  // namespace capsweep::figures
