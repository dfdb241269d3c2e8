// The report: its HTML from data, and the whole verb over real databases, a real coordinator and the real gnuplot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "cli/app.h"
#include "cli/html.h"
#include "cli/report_page.h"
#include "common/file.h"
#include "common/param_count.h"
#include "common/text.h"
#include "tests/support/call_cli.h"
#include "tests/support/coordinator_harness.h"
#include "tests/unit/cli/html_reader.h"
#include "tests/unit/cli/synthetic_sweep.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kHostile[] = "<script>alert('1 & \"2\"')</script>\x01\xFF";

TEST(HtmlTest, EscapesMarkupControlCharactersAndBrokenUtf8) {
  EXPECT_EQ(EscapeHtml("a<b>&\"'\n\t\xC3\xA9"), "a&lt;b&gt;&amp;&quot;&#39;\n\t\xC3\xA9");
  EXPECT_EQ(EscapeHtml(std::string_view("\x00\x1B\x7F", 3)), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(EscapeHtml("\xC3"), "\xEF\xBF\xBD");                                  // cut off
  EXPECT_EQ(EscapeHtml("\xC0\xBC"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // a < in two bytes
  EXPECT_EQ(EscapeHtml("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
}

TEST(HtmlTest, TablesEscapeAndPutNumbersOnTheRight) {
  const std::string table =
      HtmlTable({"<h>"}, {{"1,234"}, {"≥ 250 ± 3.1"}, {"320 of 320"}, {"<td>"}, {"-"}, {"e"}, {""}});
  EXPECT_THAT(table, AllOf(HasSubstr("<th>&lt;h&gt;</th>"), HasSubstr("<td class=\"n\">1,234</td>"),
                           HasSubstr("<td class=\"n\">≥ 250 ± 3.1</td>"), HasSubstr("<td>320 of 320</td>"),
                           HasSubstr("<td>&lt;td&gt;</td>"), HasSubstr("<td>e</td>"), HasSubstr("<td></td>")));
}

TEST(HtmlTest, EmbeddedSvgLosesWhatAPageMustNotHave) {
  const std::string svg =
      "<?xml version=\"1.0\"?>\n<svg \n width=\"8\"\n xmlns=\"http://www.w3.org/2000/svg\"\n "
      "xmlns:xlink=\"http://www.w3.org/1999/xlink\"\n><title>Gnuplot</title><!-- <b> -->\n<g id=\"a\">"
      "<path id='p'/><use xlink:href='#p'/><rect clip-path=\"url(#a)\"/><text> id='x' &lt;></text>"
      "<script>bad()</script><a xlink:href=\"http://x\"><desc>d</desc></a></g></svg>trailing";
  const std::string embedded = EmbedSvg(svg, "f1_", "a \"label\"");
  EXPECT_THAT(embedded, AllOf(HasSubstr("aria-label=\"a &quot;label&quot;\""), HasSubstr("<g id=\"f1_a\">"),
                              HasSubstr("<path id='f1_p'/><use href='#f1_p'/>"), HasSubstr("url(#f1_a)"),
                              HasSubstr("<text> id='x' &lt;&gt;</text>")));
  for (const char* gone : {"xlink", "Gnuplot", "<!--", "bad()", "<script", "<desc", "trailing", "<?xml", "<a"}) {
    EXPECT_THAT(embedded, Not(HasSubstr(gone)));
  }
  EXPECT_EQ(HtmlProblem(HtmlPage("t", embedded)), "");
  EXPECT_EQ(EmbedSvg("no picture", "f1_", "x"), "");
}

TEST(HtmlTest, TheReaderOfThisTestSeesProblems) {
  EXPECT_EQ(HtmlProblem(HtmlPage("t", "<p>a</p>")), "");
  for (const char* bad : {"<p>a", "<p>a</b></p>", "a > b", "a & b", "<p <b></p>", "</p>"}) {
    EXPECT_NE(HtmlProblem(HtmlPage("t", bad)), "") << bad;
  }
  EXPECT_EQ(OutsideReference("<svg xmlns=\"http://www.w3.org/2000/svg\">"), "");
  EXPECT_NE(OutsideReference("<img src=\"x\">"), "");
  EXPECT_NE(OutsideReference("see https://example.org"), "");
}

ReportFacts HostileFacts() {
  ReportFacts facts;
  facts.progress = {.sweep = kHostile,
                    .state = "running",
                    .reason = kHostile,
                    .points = 9,
                    .done = 5,
                    .failed = 1,
                    .running = 1,
                    .pending = 2};
  facts.file_name = facts.text = facts.measure = facts.source = facts.made_at = facts.made_by = kHostile;
  facts.first_result = facts.last_result = kHostile;
  facts.results = facts.by_budget = 5;
  facts.devices = {{kHostile, kHostile, kHostile, kHostile, kHostile, 5, 2.5}};
  facts.failures = {{kHostile, 1}};
  return facts;
}

figures::FigureData FittedData(const SyntheticGrid& grid = {}) {
  figures::FigureData data = SyntheticData(grid);
  data.fit = SyntheticFit(data.groups);
  return data;
}

TEST(ReportHtmlTest, HostileDataStaysText) {
  figures::FigureData data = FittedData();
  data.sweep = kHostile;
  for (ecm::Group& group : data.groups) group.key["mode"] = kHostile;
  for (ecm::GroupFit& fit : data.fit.groups) {
    fit.group["mode"] = kHostile;
    fit.warnings = {kHostile};
    fit.saturation_reason = kHostile;
    fit.forms["minlin"].notes = {kHostile};
  }
  data.fit.groups[1].error = kHostile;
  const std::vector<ReportFigure> drawn = {
      {.kind = &figures::FigureKinds()[0], .svg = "<svg width=\"1\"></svg>", .notes = {kHostile}},
      {.kind = &figures::FigureKinds()[1], .why_not = kHostile}};
  const std::string page = ReportHtml(HostileFacts(), data, drawn);
  EXPECT_EQ(HtmlProblem(page), "");
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("\xFF")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(&#39;1 &amp; &quot;2&quot;&#39;)&lt;/script&gt;"));
  EXPECT_EQ(OutsideReference(page), "");
}

TEST(ReportHtmlTest, HoldsCapacitiesFitsAndWhyAFigureIsMissing) {
  figures::FigureData data = FittedData({.widths = {8, 16}, .frozen = {"true"}});
  data.fit.groups[0].holdout = "heads=4";
  data.fit.groups[0].forms["minlin"].heldout_rmse = 20.5;
  data.fit.groups[0].forms["minlin"].heldout_mape = 4.5;
  data.fit.groups[0].baselines["poly2"].heldout_rmse = 10.25;
  data.fit.groups[0].forms["max"].skipped = "too few rows";
  ReportFacts facts;
  facts.text = "sweep: known\n";
  const std::string page =
      ReportHtml(facts, data, {{.kind = figures::FindFigure("mls"), .why_not = "this sweep measured no MLS"}});
  EXPECT_EQ(HtmlProblem(page), "");
  const std::string known = StrCat(static_cast<int>(SyntheticCapacity(1, 16, 8, true) + 0.5));
  EXPECT_THAT(page, HasSubstr(StrCat("<td class=\"n\">", known, " ± ")));
  EXPECT_THAT(page,
              AllOf(HasSubstr("<th>width 8</th><th>width 16</th>"), HasSubstr("<pre>sweep: known\n</pre>"),
                    HasSubstr("form minlin"), HasSubstr("baseline poly2"), HasSubstr("Not fitted: max (too few rows)."),
                    HasSubstr("Not drawn: this sweep measured no MLS."), HasSubstr("@media print")));
}

// Steps that follow the width: the longer budgets stand in one line, not in one for each width.
TEST(ReportHtmlTest, LongerBudgetsAreMultiplesOfTheSmallest) {
  figures::FigureData data = SyntheticData(
      {.heads = {1}, .widths = {8, 16}, .lengths = {8}, .frozen = {"true"}, .budgets = {1000, 3000}}, 0.1);
  for (ecm::Row& row : data.groups[0].rows) row.budget *= row.width / 8;
  const std::string page = ReportHtml({}, data, {});
  const size_t first = page.find("<td class=\"n\">8</td><td class=\"n\">1</td><td>1×</td>");
  const size_t second = page.find("<td class=\"n\">8</td><td class=\"n\">1</td><td>3×</td>");
  EXPECT_NE(first, std::string::npos) << page;
  EXPECT_NE(second, std::string::npos);
  EXPECT_EQ(page.find("<td></td>", first), std::string::npos);  // every line has both widths
}

TEST(FitSentencesTest, ClaimOnlyWhatTheNumbersShow) {
  figures::FigureData data = FittedData({.frozen = {"true"}});
  ecm::GroupFit& fit = data.fit.groups[0];
  fit.forms["minlin"].aicc = 10;
  fit.forms["max"].aicc = 30;
  fit.forms["softmin"].aicc = 11;
  EXPECT_THAT(FitSentences(fit),
              Contains(AllOf(HasSubstr("prefer it to max (ΔAICc 20.0)"), HasSubstr("cannot tell it from softmin"))));
  EXPECT_THAT(FitSentences(fit), Contains("No baseline has a lower AICc than minlin."));
  fit.baselines["poly3"].aicc = -5;
  fit.baselines["poly1"].aicc = 50;
  EXPECT_THAT(FitSentences(fit), Contains("1 baseline describes the fitted rows better than minlin by AICc, best of "
                                          "all poly3 (-5.0 against 10.0)."));
  EXPECT_THAT(FitSentences(fit), Contains(HasSubstr("Nothing was held out")));
  EXPECT_THAT(FitSentences(fit), Contains("Saturation was not observed: a test says so."));
  fit.saturation = "observed";
  EXPECT_THAT(FitSentences(fit), Contains("A saturation bound was observed: a test says so."));
  fit.saturation = "budget-limited";
  EXPECT_THAT(FitSentences(fit), Contains("Saturation is budget-limited: a test says so."));
  fit.holdout = "heads=4";
  fit.forms["minlin"].heldout_rmse = 20.5;
  fit.forms["minlin"].heldout_mape = 4.5;
  EXPECT_THAT(FitSentences(fit), Contains(HasSubstr("no other form or baseline predicts those rows better")));
  fit.baselines["poly2"].heldout_rmse = 10.25;
  fit.baselines["poly2"].heldout_mape = 2.0;
  EXPECT_THAT(FitSentences(fit), Contains(HasSubstr("predicted better by poly2 (RMSE 10.25 items, MAPE 2.0 %)")));
  fit.error = "too few rows";
  EXPECT_THAT(FitSentences(fit), ElementsAre("No capacity model: too few rows."));
}

TEST(MissingSentencesTest, NamesWhatWasNotMeasured) {
  ReportFacts facts = {.progress = {.running = 1, .pending = 3}, .results = 10, .by_budget = 8};
  figures::FigureData data = SyntheticData({.frozen = {"true"}, .seeds = 1});
  data.groups[0].rows[0].censored = true;
  data.groups[0].rows[1].at_chance = true;
  EXPECT_THAT(MissingSentences(facts, data),
              ElementsAre("4 points are not measured yet.", HasSubstr("one seed"), HasSubstr("1 of 48 cells memorized"),
                          HasSubstr("1 of 48 cells cannot be told"), HasSubstr("8 of 10 runs ended with their budget"),
                          HasSubstr("no MLS")));
  figures::FigureData whole = SyntheticData({.frozen = {"true"}, .budgets = {1000, 3000}});
  whole.libraries.push_back({.mac = 1, .mls = 1});
  EXPECT_THAT(MissingSentences({.results = 10, .by_budget = 8}, whole), IsEmpty());
}

// ---- the verb

class ReportVerbTest : public ::testing::Test {
 protected:
  // A finished sweep of 1 to 4 heads, three widths, two lengths and two seeds, with capacities that follow a law.
  void MakeDatabase(const std::string& name) {
    std::vector<PointSpec> points;
    for (int64_t heads = 1; heads <= 4; ++heads) {
      for (const int64_t width : {8, 16, 32}) {
        for (const int64_t length : {4, 8}) {
          for (uint64_t seed = 1; seed <= 2; ++seed) {
            PointSpec point = store::MakePoint(heads, seed, 4000);
            point.width = width;
            point.seq_len = length;
            point.freeze_mlp = true;
            points.push_back(point);
          }
        }
      }
    }
    store::TestStore store(Database());
    store.Add(store::MakeSweep(name, StrCat("sweep: ", name, "\n# <b>not bold</b> & such\n")), points);
    for (const PointSpec& point : points) {
      const auto capacity =
          static_cast<int64_t>(SyntheticCapacity(static_cast<double>(point.heads), static_cast<double>(point.width),
                                                 static_cast<double>(point.seq_len), true) *
                                   (point.init_seed == 1 ? 0.97 : 1.03) +
                               800);
      store.Finish(point, capacity);
    }
    store.Close();
  }
  std::string Database() const { return folder_.File("sweep.db"); }
  std::string Page() const { return folder_.File("report.html"); }

  store::TempFolder folder_;
};

TEST_F(ReportVerbTest, WritesOneWholePageAndNothingElse) {
  MakeDatabase("known");
  const Answer answer =
      Call({"report", "known", "--db", Database(), "--out", Page(), "--starts", "64", "--bootstrap", "0"});
  ASSERT_EQ(answer.code, 0) << answer.err;
  EXPECT_EQ(answer.out, StrCat("wrote ", Page(), "\n"));
  const std::string page = *ReadFile(Page());
  EXPECT_EQ(HtmlProblem(page), "");
  EXPECT_EQ(OutsideReference(page), "");
  EXPECT_THAT(page, AllOf(HasSubstr("# &lt;b&gt;not bold&lt;/b&gt; &amp; such"), HasSubstr("Figure 1: "),
                          HasSubstr("form minlin"), HasSubstr("known.yaml"), HasSubstr("48 asked for, 48 measured"),
                          HasSubstr("Not drawn: sweep known: it has no architecture with several batch sizes")));
  size_t pictures = 0;
  for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1)) ++pictures;
  EXPECT_EQ(pictures, 9U);  // all but freeze, batch, budget and mls
  std::set<std::string> ids;
  for (size_t at = page.find(" id="); at != std::string::npos; at = page.find(" id=", at + 1)) {
    const std::string id = page.substr(at + 5, page.find(page[at + 4], at + 5) - at - 5);
    EXPECT_TRUE(ids.insert(id).second) << id << " stands twice";
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("part"))) << entry.path();
  }
}

TEST_F(ReportVerbTest, ThroughACoordinatorItIsTheSame) {
  MakeDatabase("known");
  const std::vector<std::string> options = {"--starts", "64", "--bootstrap", "0"};
  std::vector<std::string> from_file = {"report", "known", "--db", Database(), "--out", Page()};
  from_file.insert(from_file.end(), options.begin(), options.end());
  ASSERT_EQ(Call(from_file).code, 0);
  testing_support::Coordinator coordinator(Database());
  std::vector<std::string> from_server = {
      "report", "known", "--coordinator", coordinator.server->address(), "--out", folder_.File("other.html")};
  from_server.insert(from_server.end(), options.begin(), options.end());
  const Answer answer = Call(from_server);
  ASSERT_EQ(answer.code, 0) << answer.err;
  const auto figures_of = [](const std::string& page) {
    const size_t begin = page.find("<h2>Capacities"), end = page.find("<footer>");
    return page.substr(begin, end - begin);
  };
  EXPECT_EQ(figures_of(*ReadFile(Page())), figures_of(*ReadFile(folder_.File("other.html"))));
  const Answer plot = Call({"plot", "known", "--kind", "curves", "--coordinator", coordinator.server->address(),
                            "--out", folder_.File("curves.svg")});
  EXPECT_EQ(plot.code, 0) << plot.err;
}

TEST_F(ReportVerbTest, AHostileSweepNameIsText) {
  const std::string owned = folder_.File("owned");
  const std::string name = StrCat("'; system('touch ", owned, "'); <script>x</script>");
  MakeDatabase(name);
  const Answer answer =
      Call({"report", name, "--db", Database(), "--out", Page(), "--starts", "64", "--bootstrap", "0"});
  ASSERT_EQ(answer.code, 0) << answer.err;
  const std::string page = *ReadFile(Page());
  EXPECT_EQ(HtmlProblem(page), "");
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_FALSE(std::filesystem::exists(owned));
}

TEST_F(ReportVerbTest, ErrorsSayWhatIsWrongAndKeepTheOldPage) {
  MakeDatabase("known");
  ASSERT_TRUE(WriteFileAtomic(Page(), "old").ok());
  const Answer unknown = Call({"report", "nown", "--db", Database(), "--out", Page()});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("known"));
  const Answer name = Call({"report", "known", "--db", Database(), "--out", folder_.File("report.pdf")});
  EXPECT_EQ(name.code, 2);
  EXPECT_THAT(name.err, HasSubstr("must end in .html"));
  const Answer folder = Call({"report", "known", "--db", Database(), "--out", folder_.File("no/report.html")});
  EXPECT_EQ(folder.code, 2);
  EXPECT_THAT(folder.err, HasSubstr("there is no folder"));
  std::filesystem::create_directory(folder_.File("dir.html"));
  EXPECT_EQ(Call({"report", "known", "--db", Database(), "--out", folder_.File("dir.html")}).code, 2);
  const Answer length = Call(
      {"report", "known", "--db", Database(), "--out", Page(), "--seq-len", "5", "--starts", "64", "--bootstrap", "0"});
  EXPECT_EQ(length.code, 2);
  EXPECT_THAT(length.err, HasSubstr("sequence length 4, 8"));
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder_.path().c_str(), 1);
  const Answer missing = Call({"report", "known", "--db", Database(), "--out", Page()});
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.err, HasSubstr("apt-get install gnuplot-nox"));
  EXPECT_EQ(*ReadFile(Page()), "old");
}

TEST_F(ReportVerbTest, ASweepWithoutResultsIsAnError) {
  store::TestStore store(Database());
  store.Add(store::MakeSweep("empty"), store::MakePoints(2, 2));
  store.Close();
  const Answer answer = Call({"report", "empty", "--db", Database(), "--out", Page()});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("no results yet"));
  EXPECT_FALSE(std::filesystem::exists(Page()));
}

// The columns `mac` and `mls` of v_capacity, where they are, and NULL where a cell has but one of the two.
TEST_F(ReportVerbTest, MlsIsDrawnWhereTheViewHoldsBoth) {
  MakeDatabase("known");
  const auto set_view = [&](const std::string& mls) {
    auto db = store::Database::Open(Database(), store::Database::Access::kWrite);
    ASSERT_TRUE(db.ok()) << db.status();
    const absl::Status changed = db->Execute(
        StrCat("DROP VIEW v_capacity; CREATE VIEW v_capacity AS SELECT sweep, heads, width, seq_len, freeze_mlp, "
               "items_corr_mean AS mac, ",
               mls, " AS mls FROM v_cells;"));
    ASSERT_TRUE(changed.ok()) << changed;
  };
  const std::vector<std::string> plot = {"plot",   "known", "--db",  Database(),
                                         "--kind", "mls",   "--out", folder_.File("mls.svg")};
  set_view("NULL");
  EXPECT_EQ(Call(plot).code, 2);
  EXPECT_THAT(Call(plot).err, HasSubstr("this sweep measured no MLS"));
  set_view("CASE WHEN heads < 3 THEN 0.5 * items_corr_mean END");
  const Answer answer = Call(plot);
  EXPECT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(answer.out,
              AllOf(HasSubstr("12 architectures"), HasSubstr("0.50 in the median"), HasSubstr("r = 1.000")));
  std::vector<std::string> from = plot;
  from.insert(from.end(), {"--mls-from", "known"});
  EXPECT_EQ(Call(from).out, answer.out);
}

// Another sweep of the file may give the MLS; one that has none, or does not exist, is an error.
TEST_F(ReportVerbTest, MlsCanComeFromAnotherSweep) {
  MakeDatabase("known");
  const std::vector<std::string> plot = {"plot",   "known", "--db",  Database(),
                                         "--kind", "mls",   "--out", folder_.File("mls.svg")};
  std::vector<std::string> from = plot;
  from.insert(from.end(), {"--mls-from", "known"});
  EXPECT_EQ(Call(from).code, 2);
  EXPECT_THAT(Call(from).err, HasSubstr("--mls-from known: that sweep measured no MLS"));
  from.back() = "nown";
  EXPECT_EQ(Call(from).code, 2);
  EXPECT_THAT(Call(from).err, HasSubstr("known"));
  EXPECT_THAT(Call(plot).err, HasSubstr("`--mls-from SWEEP`"));
}

// A search for least networks of 4 library sizes, whose least network has 10 parameters an item.
class LeastNetworkReportTest : public ReportVerbTest {
 protected:
  void MakeSearch(bool memorized) {
    std::vector<PointSpec> points;
    for (const int64_t items : {100, 200, 400, 800}) {
      for (const int64_t layers : {1, 2}) {
        PointSpec point = store::MakePoint(2, 1, items);
        point.layers = layers;
        points.push_back(point);
      }
    }
    store::TestStore store(Database());
    SweepSpec sweep = store::MakeSweep("least", "sweep: least\n");
    store.Add(sweep, points);
    for (const PointSpec& point : points) {
      store.Finish(point, memorized && point.layers == 2 ? point.dataset_size : point.dataset_size / 2);
    }
    store.Close();
    auto db = store::Database::Open(Database(), store::Database::Access::kWrite);
    ASSERT_TRUE(db.ok()) << db.status();
    const absl::Status changed = db->Execute(
        "UPDATE sweeps SET measure = 'minnet'; UPDATE results SET params_total = 10 * dataset_size FROM points "
        "WHERE points.point_id = results.point_id AND layers = 2; UPDATE results SET params_total = 5 * dataset_size "
        "FROM points WHERE points.point_id = results.point_id AND layers = 1;");
    ASSERT_TRUE(changed.ok()) << changed;
  }
};

TEST_F(LeastNetworkReportTest, ItsReportHoldsThatQuestionAlone) {
  MakeSearch(true);
  const Answer answer = Call({"report", "least", "--db", Database(), "--out", Page()});
  ASSERT_EQ(answer.code, 0) << answer.err;
  const std::string page = *ReadFile(Page());
  EXPECT_EQ(HtmlProblem(page), "");
  EXPECT_EQ(OutsideReference(page), "");
  EXPECT_THAT(page, AllOf(HasSubstr("<h2>Least networks</h2>"), HasSubstr("P_min ~ D^1 "), HasSubstr("Figure 1: "),
                          Not(HasSubstr("<h2>Fits</h2>")), Not(HasSubstr("<h2>Capacities</h2>")),
                          Not(HasSubstr("Figure 2: ")), Not(HasSubstr("no MLS"))));
  const Answer bits = Call({"analyze", "least", "--of", "bits", "--db", Database()});
  EXPECT_EQ(bits.code, 2);
  EXPECT_THAT(bits.err, HasSubstr("--of minnet fits it"));
  const Answer kind = Call({"plot", "least", "--kind", "losses", "--db", Database(), "--out", folder_.File("a.svg")});
  EXPECT_EQ(kind.code, 2);
  EXPECT_THAT(kind.err, HasSubstr("kinds that fit it: minnet"));
}

TEST_F(LeastNetworkReportTest, WhereNoneMemorizedItSaysSo) {
  MakeSearch(false);
  const Answer answer = Call({"report", "least", "--db", Database(), "--out", Page()});
  ASSERT_EQ(answer.code, 0) << answer.err;
  EXPECT_THAT(*ReadFile(Page()), AllOf(HasSubstr("Not drawn: sweep least: no network that was tried memorized"),
                                       HasSubstr("<td>none</td>")));
}

TEST_F(ReportVerbTest, AnalysesThatDoNotFitNameThoseThatDo) {
  MakeDatabase("known");
  for (const char* of : {"minnet", "families", "assoc", "adaptive"}) {
    const Answer answer = Call({"analyze", "known", "--of", of, "--db", Database()});
    EXPECT_EQ(answer.code, 2) << of;
    EXPECT_THAT(answer.err, AllOf(HasSubstr("sweep known "), HasSubstr("`capsweep fit` fits it"))) << of;
  }
  EXPECT_EQ(Call({"analyze", "known", "--of", "bits", "--db", Database()}).code, 0);
}

TEST_F(ReportVerbTest, OneCellAndFullLibrariesAreReportedAsSuch) {
  store::TestStore store(Database());
  const std::vector<PointSpec> points = {store::MakePoint(2, 1, 100), store::MakePoint(2, 2, 100)};
  store.Add(store::MakeSweep("one"), points);
  for (const PointSpec& point : points) store.Finish(point, 100);
  store.Close();
  const Answer answer = Call({"report", "one", "--db", Database(), "--out", Page(), "--bootstrap", "0"});
  ASSERT_EQ(answer.code, 0) << answer.err;
  const std::string page = *ReadFile(Page());
  EXPECT_EQ(HtmlProblem(page), "");
  EXPECT_THAT(page, AllOf(HasSubstr("No capacity model: "), HasSubstr("≥ "), HasSubstr("1 of 1 cells memorized")));
}

TEST_F(ReportVerbTest, EveryKindIsDrawnOrSaysWhyNot) {
  MakeDatabase("known");
  const std::set<std::string> impossible = {"freeze",  "batch",     "budget", "mls",    "families",   "losses",
                                            "balance", "distances", "bits",   "minnet", "prediction", "chosen"};
  for (const figures::FigureKind& kind : figures::FigureKinds()) {
    const std::string out = folder_.File(StrCat(kind.name, ".svg"));
    const Answer answer =
        Call({"plot", "known", "--db", Database(), "--kind", kind.name, "--out", out, "--starts", "64"});
    if (impossible.contains(kind.name)) {
      EXPECT_EQ(answer.code, 2) << kind.name;
      EXPECT_THAT(answer.err, HasSubstr("sweep known: ")) << kind.name;
      EXPECT_THAT(answer.err, HasSubstr("kinds that fit it: capacity, panels, ")) << kind.name;
      EXPECT_FALSE(std::filesystem::exists(out));
    } else {
      EXPECT_EQ(answer.code, 0) << kind.name << ": " << answer.err;
      EXPECT_THAT(*ReadFile(out), HasSubstr("</svg>"));
    }
  }
  const Answer unknown = Call({"plot", "known", "--db", Database(), "--kind", "pie", "--out", folder_.File("a.svg")});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_EQ(Call({"plot", "known", "--db", Database(), "--out", folder_.File("a.pdf")}).code, 2);
}

}  // namespace
}  // namespace capsweep::cli
