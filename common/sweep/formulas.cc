#include "common/sweep/formulas.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

std::vector<int> IdsOf(std::initializer_list<std::string_view> names) {
  std::vector<int> ids;
  for (const std::string_view name : names) ids.push_back(FieldId(name));
  return ids;
}

const Axis* FindAxis(const SweepSpec& spec, std::string_view field) {
  for (const Axis& axis : spec.axes) {
    if (axis.field == field) return &axis;
  }
  return nullptr;
}

bool HasSplit(const Axis& axis) {
  return std::any_of(axis.values.begin(), axis.values.end(), [](const Scalar& value) {
    const auto* word = std::get_if<std::string>(&value);
    return word != nullptr && *word == kSplit;
  });
}

// Steps by the variable they make known, and their order by depth-first search.
class Graph {
 public:
  void Add(Step step) {
    const int id = step.id;
    steps_.insert_or_assign(id, std::move(step));
  }
  bool Has(int id) const { return steps_.count(id) > 0; }

  // Every step in an order that works; each cycle found is an error at the line of its first field.
  std::vector<Step> Order(Errors& errors) {
    for (const auto& [id, step] : steps_) Visit(id, errors);
    std::vector<Step> ordered;
    for (const int id : order_) ordered.push_back(std::move(steps_.at(id)));
    return ordered;
  }

 private:
  enum class State { kNew, kOpen, kDone };

  void Visit(int id, Errors& errors) {
    const auto step = steps_.find(id);
    if (step == steps_.end() || state_[id] == State::kDone) return;
    if (state_[id] == State::kOpen) {
      ReportCycle(id, errors);
      return;
    }
    state_[id] = State::kOpen;
    path_.push_back(id);
    for (const int need : step->second.needs) Visit(need, errors);
    path_.pop_back();
    state_[id] = State::kDone;
    order_.push_back(id);
  }

  void ReportCycle(int id, Errors& errors) const {
    std::string path;
    const Step* field = nullptr;  // derived quantities have no line
    for (auto at = std::find(path_.begin(), path_.end(), id); at != path_.end(); ++at) {
      StrAppend(&path, VariableName(*at), " -> ");
      if (field == nullptr && steps_.at(*at).line > 0) field = &steps_.at(*at);
    }
    errors.Add(field->line, VariableName(field->id),
               StrCat("the expressions need each other in a cycle: ", path, VariableName(id),
                      "; give one of these fields a value of its own"));
  }

  std::map<int, Step> steps_;
  std::map<int, State> state_;
  std::vector<int> path_;
  std::vector<int> order_;
};

void CheckBudgetUse(const SweepSpec& spec, const Expression& expression, int line, std::string_view field,
                    Errors& errors) {
  for (const std::string_view budget : {"epochs", "steps"}) {
    const bool used = std::count(expression.variables().begin(), expression.variables().end(), FieldId(budget)) > 0;
    if (used && FindAxis(spec, budget) == nullptr) {
      errors.Add(line, field,
                 StrCat("uses ", budget, ", which this file does not set; set it or use the other budget"));
    }
  }
}

void AddAxis(const SweepSpec& spec, const Axis& axis, Graph& graph, Errors& errors) {
  const int id = FieldId(axis.field);
  if (id < 0) {
    errors.Add(axis.line, axis.field, "unknown field");
    return;
  }
  Step step{id, axis.line, axis.expression};
  if (axis.expression.empty()) {
    if (HasSplit(axis)) {
      step.needs = IdsOf({"width", "heads"});
      graph.Add(std::move(step));
    }
    return;
  }
  if (Fields()[id].kind == FieldKind::kText) {
    errors.Add(axis.line, axis.field, "holds a text and cannot be computed; give a text");
    return;
  }
  if (Fields()[id].kind == FieldKind::kWord) {
    errors.Add(axis.line, axis.field, "holds a word and cannot be computed; give a word or a list of words");
    return;
  }
  absl::StatusOr<Expression> expression = Expression::Compile(axis.expression);
  if (!expression.ok()) {
    errors.Add(axis.line, axis.field,
               StrCat("the expression ", Show("=" + axis.expression), ": ", expression.status().message()));
    return;
  }
  CheckBudgetUse(spec, *expression, axis.line, axis.field, errors);
  step.needs = expression->variables();
  step.expression = std::move(*expression);
  graph.Add(std::move(step));
}

// Parameters are not worth counting at every point if no expression asks for them.
void DropUnusedDerived(std::vector<Step>& steps, const std::optional<Expression>& where) {
  std::set<int> used;
  if (where.has_value()) used.insert(where->variables().begin(), where->variables().end());
  for (const Step& step : steps) {
    if (step.expression.has_value()) used.insert(step.needs.begin(), step.needs.end());
  }
  std::erase_if(steps, [&used](const Step& step) { return step.id >= ParamsTotalId() && used.count(step.id) == 0; });
}

}  // namespace

Formulas CompileFormulas(const SweepSpec& spec, Errors& errors) {
  Formulas formulas;
  Graph graph;
  const size_t before = errors.size();
  for (const Axis& axis : spec.axes) AddAxis(spec, axis, graph, errors);
  if (!spec.where.empty()) {
    absl::StatusOr<Expression> where = Expression::Compile(spec.where);
    if (where.ok()) {
      CheckBudgetUse(spec, *where, spec.where_line, "where", errors);
      formulas.where = std::move(*where);
    } else {
      errors.Add(spec.where_line, "where", StrCat("the condition ", Show(spec.where), ": ", where.status().message()));
    }
  }
  // What CountParams and MaxTargets read.
  const std::vector<int> shape = IdsOf({"mode", "vocab", "seq_len", "family", "layers", "heads", "head_dim", "width",
                                        "freeze_mlp", "mlp_width", "positions", "tokens", "vector_dim", "loss"});
  graph.Add({ParamsTotalId(), 0, "", std::nullopt, shape});
  graph.Add({ParamsTrainId(), 0, "", std::nullopt, shape});
  graph.Add({TargetsId(), 0, "", std::nullopt, IdsOf({"mode", "seq_len"})});
  std::vector<Step> steps = graph.Order(errors);
  if (errors.size() == before) {
    DropUnusedDerived(steps, formulas.where);
    formulas.steps = std::move(steps);
  }
  return formulas;
}

}  // namespace capsweep::sweep
