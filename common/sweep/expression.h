// Arithmetic over the fields of a point: the text after '=' of a field and the text of `where`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/sweep/fields.h"

namespace capsweep::sweep {

// The names an expression may use: every field (its id), then the quantities derived from fields.
int VariableCount();
int ParamsTotalId();
int ParamsTrainId();
int TargetsId();
std::string_view VariableName(int id);

// Operators, by rising precedence: ?: , ||, &&, comparisons, + -, * / %, unary + - !, ^. Functions: min, max (one or
// more arguments), sqrt, abs, exp, ln, log (natural, as ln), log2, log10, floor, ceil, round (half away from zero).
// true and false are 1 and 0. A field that holds words can only be compared with == or != to one of its words in
// quotes.
//
// Not thread-safe: an instance belongs to one thread at a time.
class Expression {
 public:
  // InvalidArgument says what is wrong: does not parse, an unknown name, a misuse of a word.
  static absl::StatusOr<Expression> Compile(std::string_view text);

  Expression(Expression&&) noexcept;
  Expression& operator=(Expression&&) noexcept;
  ~Expression();

  // Ids of the variables the text uses, ascending, each once.
  const std::vector<int>& variables() const;

  // `values` holds VariableCount() numbers; those used are read. NaN or infinite where mathematics says so.
  double Evaluate(const std::vector<double>& values) const;

 private:
  struct Program;
  explicit Expression(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

}  // namespace capsweep::sweep
