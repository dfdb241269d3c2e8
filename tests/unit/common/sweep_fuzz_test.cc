// Damaged sweep files and random expressions: any outcome but a crash, an exception or a hang is fine.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "common/file.h"
#include "common/sweep/expression.h"
#include "common/sweep/parse.h"
#include "common/text.h"

namespace capsweep {
namespace {

const std::vector<std::string>& Pieces() {
  static const auto& pieces = *new std::vector<std::string>{
      "[",    "]",    "{",     "}",   ":",    ",",        "- ",   "&a ",  "*a",    "!!x ", "\"",  "'",
      "#",    "\n",   "  ",    "=",   "1e99", "-1",       ".nan", "true", "split", "---",  "...", "|\n",
      ">\n",  "? ",   "<<: ",  "%T",  "\t",   "\r\n",     "\0",   "\xff", "heads", "==",   "&&",  "max(",
      "(",    ")",    "1e400", "0x1", "~",    "where",    "log2", "?",    ": ",    "^",    "!",   "{log2:",
      "from", "step", "steps", "%",   "=1",   "\xe2\x82", "@",    "`",    "_",     "=/",   "1_0", "\\"};
  return pieces;
}

std::string Damage(std::string text, std::mt19937_64& random) {
  const auto below = [&random](size_t n) { return static_cast<size_t>(random() % n); };
  for (size_t edits = 1 + below(6); edits > 0; --edits) {
    if (text.empty()) text.push_back('a');
    const size_t at = below(text.size());
    switch (below(5)) {
      case 0:
        text.erase(at, 1 + below(20));
        break;
      case 1:
        text.insert(at, Pieces()[below(Pieces().size())]);
        break;
      case 2:
        text[at] = static_cast<char>(random());
        break;
      case 3: {
        const std::string copy = text.substr(below(text.size()), 1 + below(60));
        text.insert(at, copy);
        break;
      }
      default:
        text.replace(at, 1 + below(4), Pieces()[below(Pieces().size())]);
    }
  }
  return text;
}

TEST(SweepFuzzTest, DamagedSamplesAreParsedOrRefusedWithALine) {
  std::mt19937_64 random(20240721);
  std::vector<std::string> samples;
  for (const char* name : {"quickstart", "ecm-small"}) {
    auto text = ReadFile(StrCat(CAPSWEEP_SOURCE_DIR, "/sweeps/", name, ".yaml"));
    ASSERT_TRUE(text.ok()) << text.status();
    samples.push_back(*text);
  }
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = Damage(samples[i % samples.size()], random);
    const auto spec = ParseSweep(text, "s.yaml");
    if (spec.ok()) continue;
    ++refused;
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(spec.status().message().substr(0, 7), "s.yaml:") << spec.status() << "\n" << text;
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 3000);
}

TEST(SweepFuzzTest, RandomExpressionsCompileOrAreRefused) {
  const std::vector<std::string> words = {
      "heads", "width", "params_train", "mode", "\"label\"", "1",    "2.5", "1e300", "+",  "-", "*", "/",
      "^",     "%",     "&&",           "||",   "!",         "==",   "!=",  "<",     ">=", "?", ":", "(",
      ")",     ",",     "max(",         "min",  "sqrt(",     "true", "ln(", "_pi"};
  std::mt19937_64 random(7);
  const std::vector<double> values(sweep::VariableCount(), 3.0);
  int compiled = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = 1 + random() % 12; n > 0; --n) StrAppend(&text, words[random() % words.size()], " ");
    const auto expression = sweep::Expression::Compile(text);
    if (!expression.ok()) continue;
    ++compiled;
    const double once = expression->Evaluate(values), twice = expression->Evaluate(values);
    EXPECT_TRUE(once == twice || (once != once && twice != twice)) << text;
  }
  EXPECT_GT(compiled, 200);
}

}  // namespace
}  // namespace capsweep
