#include "common/sweep/expression.h"

#include <muParser.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "common/status.h"
#include "common/sweep/errors.h"
#include "common/sweep/expression_tokens.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

constexpr std::array<std::string_view, 3> kDerived = {"params_total", "params_train", "targets"};

double Min(const double* values, int count) {
  return std::any_of(values, values + count, [](double v) { return std::isnan(v); })
             ? std::numeric_limits<double>::quiet_NaN()
             : *std::min_element(values, values + count);
}

double Max(const double* values, int count) {
  return std::any_of(values, values + count, [](double v) { return std::isnan(v); })
             ? std::numeric_limits<double>::quiet_NaN()
             : *std::max_element(values, values + count);
}

// A language of our own within muParser: its built-in names would let "_pi", "rnd" or "sum" into sweep files.
void DefineLanguage(mu::Parser& parser) {
  parser.ClearFun();
  parser.ClearConst();
  parser.DefineFun("min", &Min);
  parser.DefineFun("max", &Max);
  const auto define = [&parser](const char* name, double (*function)(double)) { parser.DefineFun(name, function); };
  define("sqrt", [](double x) { return std::sqrt(x); });
  define("abs", [](double x) { return std::fabs(x); });
  define("exp", [](double x) { return std::exp(x); });
  define("ln", [](double x) { return std::log(x); });
  define("log", [](double x) { return std::log(x); });
  define("log2", [](double x) { return std::log2(x); });
  define("log10", [](double x) { return std::log10(x); });
  define("floor", [](double x) { return std::floor(x); });
  define("ceil", [](double x) { return std::ceil(x); });
  define("round", [](double x) { return std::round(x); });
  double (*negate)(double) = [](double x) { return x == 0 ? 1.0 : 0.0; };
  parser.DefineInfixOprt("!", negate);
  double (*modulo)(double, double) = [](double x, double y) { return x - y * std::floor(x / y); };
  parser.DefineOprt("%", modulo, mu::prMUL_DIV, mu::oaLEFT);
  // Folding constants is free to change the order of operations, and with it the last bit of a value.
  parser.EnableOptimizer(false);
}

}  // namespace

int ParamsTotalId() {
  return static_cast<int>(Fields().size());
}
int ParamsTrainId() {
  return ParamsTotalId() + 1;
}
int TargetsId() {
  return ParamsTotalId() + 2;
}
int VariableCount() {
  return ParamsTotalId() + static_cast<int>(kDerived.size());
}

std::string_view VariableName(int id) {
  return id < ParamsTotalId() ? Fields()[id].name : kDerived[id - ParamsTotalId()];
}

struct Expression::Program {
  mu::Parser parser;
  std::vector<double> values;  // the parser holds pointers into this
  std::vector<int> variables;

  // The one place that runs muParser, which throws; it parses on the first evaluation.
  absl::StatusOr<double> Run(const std::vector<size_t>& starts, const std::vector<Token>& tokens) {
    try {
      return parser.Eval();
    } catch (const mu::ParserError& e) {
      if (e.GetCode() == mu::ecTOO_MANY_PARAMS || e.GetCode() == mu::ecTOO_FEW_PARAMS) {
        return absl::InvalidArgumentError(StrCat("does not parse: a function has too ",
                                                 e.GetCode() == mu::ecTOO_MANY_PARAMS ? "many" : "few", " arguments"));
      }
      const size_t position = e.GetPos() < 0 ? std::string::npos : static_cast<size_t>(e.GetPos());
      for (size_t i = starts.size(); i-- > 0;) {
        if (starts[i] <= position && e.GetCode() != mu::ecUNEXPECTED_EOF && position != std::string::npos) {
          return absl::InvalidArgumentError(StrCat("does not parse near ", Show(tokens[i].text), " at character ",
                                                   tokens[i].offset + 1, "; an operator or a value is missing there"));
        }
      }
      return absl::InvalidArgumentError("does not parse: it ends where a value is expected, or lacks an operator");
    }
  }
};

Expression::Expression(std::unique_ptr<Program> program) : program_(std::move(program)) {}
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;
Expression::~Expression() = default;

absl::StatusOr<Expression> Expression::Compile(std::string_view text) {
  ASSIGN_OR_RETURN(const std::vector<Token> tokens, Tokenize(text));
  auto program = std::make_unique<Program>();
  program->values.assign(VariableCount(), 1.0);
  DefineLanguage(program->parser);
  std::string plain;
  std::vector<size_t> starts;
  for (const Token& token : tokens) {
    starts.push_back(plain.size());
    // muParser wants the parenthesis right behind a function.
    StrAppend(&plain, token.text, token.kind == Token::Kind::kFunction ? "" : " ");
    if (token.kind == Token::Kind::kName) {
      program->variables.push_back(token.variable);
      program->parser.DefineVar(token.text, &program->values[token.variable]);
    }
  }
  std::sort(program->variables.begin(), program->variables.end());
  program->variables.erase(std::unique(program->variables.begin(), program->variables.end()), program->variables.end());
  program->parser.SetExpr(plain);
  RETURN_IF_ERROR(program->Run(starts, tokens).status());
  return Expression(std::move(program));
}

const std::vector<int>& Expression::variables() const {
  return program_->variables;
}

double Expression::Evaluate(const std::vector<double>& values) const {
  for (const int id : program_->variables) {
    program_->values[id] = values[id];
  }
  const absl::StatusOr<double> value = program_->Run({}, {});
  return value.ok() ? *value : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace capsweep::sweep
