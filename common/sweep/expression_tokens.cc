#include "common/sweep/expression_tokens.h"

#include <array>
#include <charconv>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "common/status.h"
#include "common/sweep/errors.h"
#include "common/sweep/expression.h"
#include "common/text.h"

namespace capsweep::sweep {
namespace {

using Kind = Token::Kind;

constexpr size_t kMaxLength = 2000;
constexpr std::array<std::string_view, 12> kFunctions = {"min", "max",  "sqrt",  "abs",   "exp",  "ln",
                                                         "log", "log2", "log10", "floor", "ceil", "round"};
// Longest first, so that "<=" is not read as "<".
constexpr std::array<std::string_view, 17> kOperators = {"<=", ">=", "==", "!=", "&&", "||", "+", "-", "*",
                                                         "/",  "^",  "%",  "<",  ">",  "!",  "?", ":"};

bool IsNameChar(char c) {
  return absl::ascii_isalnum(c) || c == '_';
}

bool IsOperator(const Token& token, std::string_view text) {
  return token.kind == Kind::kOperator && token.text == text;
}

bool IsWordField(const Token& token) {
  return token.kind == Kind::kName && token.variable < static_cast<int>(Fields().size()) &&
         (Fields()[token.variable].kind == FieldKind::kWord || Fields()[token.variable].kind == FieldKind::kText);
}

// Names of another language for something this one has.
std::string_view OtherSpelling(std::string_view text) {
  if (text == "and" || text == "AND" || text == "&") return "&&";
  if (text == "or" || text == "OR" || text == "|") return "||";
  if (text == "not" || text == "NOT") return "!";
  if (text == "=") return "==";
  if (text == "**") return "^";
  if (text == "<>") return "!=";
  if (text == "pow") return "^";
  if (text == "True") return "true";
  if (text == "False") return "false";
  return "";
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<Token>> Run() {
    if (text_.size() > kMaxLength) {
      return Bad("the expression has ", text_.size(), " characters; use at most ", kMaxLength);
    }
    while (SkipSpace()) {
      RETURN_IF_ERROR(Next());
    }
    if (tokens_.empty()) {
      return Bad("the expression is empty; write a number or a formula");
    }
    RETURN_IF_ERROR(CheckParentheses());
    RETURN_IF_ERROR(ResolveWords());
    return std::move(tokens_);
  }

 private:
  bool SkipSpace() {
    while (at_ < text_.size() && absl::ascii_isspace(text_[at_])) ++at_;
    return at_ < text_.size();
  }

  void Push(Kind kind, size_t length) {
    tokens_.push_back({kind, std::string(text_.substr(at_, length)), at_});
    at_ += length;
  }

  absl::Status Next() {
    const char c = text_[at_];
    if (absl::ascii_isdigit(c) || c == '.') return Number();
    if (absl::ascii_isalpha(c) || c == '_') return Name();
    if (c == '"' || c == '\'') return Word(c);
    if (c == '(' || c == ')' || c == ',') {
      Push(c == '(' ? Kind::kOpen : c == ')' ? Kind::kClose : Kind::kComma, 1);
      return absl::OkStatus();
    }
    const std::string_view two = text_.substr(at_, 2);
    if (two == "**" || two == "<>") {
      return Bad("\"", two, "\" at character ", at_ + 1, " is not an operator; write ", OtherSpelling(two));
    }
    for (const std::string_view op : kOperators) {
      if (text_.substr(at_).starts_with(op)) {
        Push(Kind::kOperator, op.size());
        return absl::OkStatus();
      }
    }
    const std::string_view other = OtherSpelling(text_.substr(at_, 1));
    return Bad(Show(text_.substr(at_, 1)), " at character ", at_ + 1, " is not an operator",
               other.empty() ? "" : "; write ", other);
  }

  absl::Status Number() {
    const char* begin = text_.data() + at_;
    double value = 0;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc() || !std::isfinite(value)) {
      return Bad("the number at character ", at_ + 1, " cannot be read; write it as 120 or 3.0e-3");
    }
    Push(Kind::kNumber, end - begin);
    tokens_.back().text = StrCat(value);
    return absl::OkStatus();
  }

  absl::Status Name() {
    size_t end = at_;
    while (end < text_.size() && IsNameChar(text_[end])) ++end;
    const std::string_view name = text_.substr(at_, end - at_);
    size_t next = end;
    while (next < text_.size() && absl::ascii_isspace(text_[next])) ++next;
    const bool called = next < text_.size() && text_[next] == '(';
    if (!called && (name == "true" || name == "false")) {
      Push(Kind::kNumber, name.size());
      tokens_.back().text.assign(1, name == "true" ? '1' : '0');
      return absl::OkStatus();
    }
    if (called) {
      for (const std::string_view function : kFunctions) {
        if (name == function) {
          Push(Kind::kFunction, name.size());
          return absl::OkStatus();
        }
      }
      return UnknownName(name, "function", {kFunctions.begin(), kFunctions.end()});
    }
    std::vector<std::string_view> known;
    for (int id = 0; id < VariableCount(); ++id) {
      known.push_back(VariableName(id));
      if (known.back() == name) {
        Push(Kind::kName, name.size());
        tokens_.back().variable = id;
        return absl::OkStatus();
      }
    }
    return UnknownName(name, "name", known);
  }

  static absl::Status UnknownName(std::string_view name, std::string_view what,
                                  const std::vector<std::string_view>& known) {
    if (const std::string_view other = OtherSpelling(name); !other.empty()) {
      return Bad("unknown ", what, " ", Show(name), "; write ", other);
    }
    if (const std::string_view near = Nearest(name, known); !near.empty()) {
      return Bad("unknown ", what, " ", Show(name), "; did you mean ", near, "?");
    }
    if (what == "function") {
      return Bad("unknown function ", Show(name),
                 "; use min, max, sqrt, abs, exp, ln, log, log2, log10, floor, ceil or round");
    }
    return Bad("unknown name ", Show(name),
               "; use the fields of the sweep file, params_total, params_train and targets");
  }

  absl::Status Word(char quote) {
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) {
      return Bad("the quote at character ", at_ + 1, " is not closed");
    }
    tokens_.push_back({Kind::kWord, std::string(text_.substr(at_ + 1, end - at_ - 1)), at_});
    at_ = end + 1;
    return absl::OkStatus();
  }

  absl::Status CheckParentheses() const {
    std::vector<bool> of_function;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const Token& token = tokens_[i];
      if (token.kind == Kind::kOpen) {
        of_function.push_back(i > 0 && tokens_[i - 1].kind == Kind::kFunction);
      } else if (token.kind == Kind::kClose) {
        if (of_function.empty()) {
          return Bad("the \")\" at character ", token.offset + 1, " closes nothing");
        }
        if (tokens_[i - 1].kind == Kind::kOpen) {
          return Bad("nothing stands between the parentheses at character ", token.offset);
        }
        of_function.pop_back();
      } else if (token.kind == Kind::kComma && (of_function.empty() || !of_function.back())) {
        return Bad("the \",\" at character ", token.offset + 1, " separates no arguments of a function");
      }
    }
    return of_function.empty() ? absl::OkStatus() : Bad("a \")\" is missing at the end");
  }

  // Whether tokens first..last are a whole comparison, so that a word's number never enters arithmetic.
  bool StandsAlone(size_t first, size_t last) const {
    const auto separates = [](const Token& t) {
      return IsOperator(t, "&&") || IsOperator(t, "||") || IsOperator(t, "?") || IsOperator(t, ":");
    };
    const bool before = first == 0 || tokens_[first - 1].kind == Kind::kOpen ||
                        tokens_[first - 1].kind == Kind::kComma || separates(tokens_[first - 1]);
    const bool after = last + 1 == tokens_.size() || tokens_[last + 1].kind == Kind::kClose ||
                       tokens_[last + 1].kind == Kind::kComma || separates(tokens_[last + 1]);
    return before && after;
  }

  absl::Status ResolveWords() {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].kind != Kind::kWord && !IsWordField(tokens_[i])) continue;
      if (i + 2 >= tokens_.size() || !(IsOperator(tokens_[i + 1], "==") || IsOperator(tokens_[i + 1], "!=")) ||
          !StandsAlone(i, i + 2)) {
        return MisusedWord(tokens_[i]);
      }
      const bool word_first = tokens_[i].kind == Kind::kWord;
      Token& word = tokens_[word_first ? i : i + 2];
      const Token& name = tokens_[word_first ? i + 2 : i];
      if (word.kind != Kind::kWord || !IsWordField(name)) {
        return MisusedWord(tokens_[i]);
      }
      RETURN_IF_ERROR(NumberWord(Fields()[name.variable], word));
      i += 2;
    }
    return absl::OkStatus();
  }

  static absl::Status NumberWord(const Field& field, Token& word) {
    for (size_t k = 0; k < field.words.size(); ++k) {
      if (field.words[k] == word.text) {
        word.kind = Kind::kNumber;
        word.text = StrCat(k);
        return absl::OkStatus();
      }
    }
    if (field.words.empty()) {
      return Bad(field.name, " holds a text and cannot stand in an expression");
    }
    return Bad(field.name, " is never ", Show(word.text), "; its words are ", WordList(field));
  }

  static absl::Status MisusedWord(const Token& token) {
    if (token.kind == Kind::kWord) {
      return Bad("the word ", Show(token.text), " can only be compared with a field of words, as in mode == \"label\"");
    }
    const Field& field = Fields()[token.variable];
    if (field.words.empty()) {
      return Bad(field.name, " holds a text and cannot stand in an expression");
    }
    return Bad(field.name, " holds a word and can only be compared with one in quotes by == or !=, as in ", field.name,
               " == \"", field.words[0], "\"");
  }

  static std::string WordList(const Field& field) {
    std::string list;
    for (const std::string_view word : field.words) StrAppend(&list, list.empty() ? "" : ", ", word);
    return list;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view expression) {
  return Scanner(expression).Run();
}

}  // namespace capsweep::sweep
