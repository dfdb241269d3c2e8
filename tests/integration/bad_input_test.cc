// Wrong sweep files, databases and addresses: exit code 2 (or 3), a message that helps, nothing created.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "processes.h"

namespace capsweep::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGood[] =
    "sweep: good\n"
    "task: {mode: label, vocab: 16, seq_len: 4}\n"
    "model: {family: xt, heads: 2, head_dim: 8, width: 8}\n"
    "data: {dataset_size: 40}\n"
    "train: {lr: 3.0e-3, batch_size: 20, steps: 30}\n";

// The good file with `from` replaced by `to`.
std::string With(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string AliasBomb() {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    StrAppend(&text, "a", i, ": &a", i, " [");
    for (int j = 0; j < 9; ++j) {
      StrAppend(&text, j == 0 ? "*a" : ", *a", i - 1);
    }
    text += "]\n";
  }
  return text;
}

std::string Cycle() {
  std::string text = With("dataset_size: 40", "dataset_size: \"=steps\"");
  return text.replace(text.find("steps: 30"), 9, "steps: \"=dataset_size\"");
}

class BadInputTest : public ProcessTest {};

TEST_F(BadInputTest, EveryWrongSweepFileIsTwoWithLineAndFieldAndNothingIsCreated) {
  struct Case {
    std::string what, text;
    std::vector<std::string> said;
  };
  const std::vector<Case> cases = {
      {"empty file", "", {}},
      {"not YAML", "sweep: [unclosed\n  : : }", {}},
      {"alias bomb", AliasBomb(), {}},
      {"unknown field", With("width: 8", "width: 8, colour: red"), {":3:", "colour"}},
      {"heads 0", With("heads: 2", "heads: 0"), {":3:", "heads", "0"}},
      {"heads -1", With("heads: 2", "heads: -1"), {":3:", "heads", "-1"}},
      {"heads 1.5", With("heads: 2", "heads: 1.5"), {":3:", "heads", "1.5"}},
      {"heads two", With("heads: 2", "heads: \"two\""), {":3:", "heads", "two"}},
      {"width not divisible", With("heads: 2, head_dim: 8", "heads: 3, head_dim: split"), {"width"}},
      {"library too large", With("dataset_size: 40", "dataset_size: 70000"), {"dataset_size", "70000"}},
      {"huge grid",
       With("width: 8", "width: {from: 8, to: 1000007, step: 1}, layers: {from: 1, to: 1000, step: 1}") +
           "repeats: 1000\n",
       {}},
      {"lr NaN", With("lr: 3.0e-3", "lr: .nan"), {":5:", "lr"}},
      {"lr negative", With("lr: 3.0e-3", "lr: -0.1"), {":5:", "lr", "-0.1"}},
      {"duplicate values", With("heads: 2", "heads: [2, 3, 2]"), {":3:", "heads"}},
      {"where excludes all", kGood + std::string("where: \"width > 100\"\n"), {"where"}},
      {"where does not parse", kGood + std::string("where: \"width > > 3\"\n"), {":6:", "where"}},
      {"cycle", Cycle(), {"dataset_size"}},
      {"unknown name", With("dataset_size: 40", "dataset_size: \"=nothing * 2\""), {":4:", "dataset_size", "nothing"}},
      {"value 0", With("dataset_size: 40", "dataset_size: \"=0 * width\""), {"dataset_size"}},
      {"value NaN", With("dataset_size: 40", "dataset_size: \"=(width - width) / (width - width)\""), {"dataset_size"}},
      {"value 1e15", With("steps: 30", "steps: \"=1e15\""), {"steps"}},
      {"both budgets", With("steps: 30", "steps: 30, epochs: 3"), {"epochs", "steps"}},
  };
  for (const Case& wrong : cases) {
    Write("bad.yaml", wrong.text);
    const Finished run = Call({"run", "bad.yaml"});
    EXPECT_EQ(run.code, 2) << wrong.what << ": " << run.err;
    EXPECT_THAT(run.err, HasSubstr("bad.yaml")) << wrong.what;
    for (const std::string& part : wrong.said) {
      EXPECT_THAT(run.err, HasSubstr(part)) << wrong.what;
    }
    EXPECT_EQ(run.out, "") << wrong.what;
    EXPECT_THAT(Files(), ElementsAre("bad.yaml")) << wrong.what;
  }
}

TEST_F(BadInputTest, AllErrorsOfAFileAreReportedAtOnce) {
  std::string text = With("heads: 2", "heads: 0");
  text.replace(text.find("lr: 3.0e-3"), 10, "lr: -1");
  Write("bad.yaml", text);
  const Finished run = Call({"run", "bad.yaml"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("heads"));
  EXPECT_THAT(run.err, HasSubstr("lr"));
}

TEST_F(BadInputTest, DatabasesThatAreNoneNewerOrReadOnlyAreRefusedUntouched) {
  Write("good.yaml", kGood);
  Write("text.db", std::string(4096, 'x'));
  ASSERT_EQ(Call({"run", "good.yaml", "--db", "newer.db", "--no-plot", "--no-fit"}).code, 0);
  std::filesystem::remove_all(Path("newer.db.spool"));
  std::filesystem::copy(Path("newer.db"), Path("frozen.db"));
  {
    // user_version stands at byte 60 of the header.
    std::fstream file(Path("newer.db"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(60);
    file.write("\0\0\x7f\xff", 4);
  }
  chmod(Path("frozen.db").c_str(), 0444);
  const std::vector<std::string> before = Files();
  for (const char* name : {"text.db", "newer.db", "frozen.db"}) {
    const auto content = ReadFile(Path(name));
    const Finished run = Call({"run", "good.yaml", "--db", name});
    EXPECT_EQ(run.code, 2) << name << ": " << run.err;
    EXPECT_THAT(run.err, HasSubstr(name));
    EXPECT_EQ(*ReadFile(Path(name)), *content) << name;
  }
  EXPECT_EQ(Call({"run", "good.yaml", "--db", "no/such/folder/x.db"}).code, 2);
  EXPECT_EQ(Files(), before);
}

TEST_F(BadInputTest, TheFileThatTheCasesBreakRuns) {
  Write("good.yaml", kGood);
  const Finished run = Call({"run", "good.yaml", "--no-plot", "--no-fit"});
  EXPECT_EQ(run.code, 0) << run.err;
}

}  // namespace
}  // namespace capsweep::integration
