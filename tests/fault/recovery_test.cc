// backup, doctor, salvage, restore, migration: what people reach for when a database is old, damaged or gone.
#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "common/fail_point.h"
#include "coordinator/store/schema.h"
#include "tests/fault/cluster.h"

namespace capsweep::fault {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kGolden[] = CAPSWEEP_SOURCE_DIR "/tests/golden/schema/";
const int kNewest = store::NewestVersion();
// Columns that every schema version has, of what the fixtures hold.
constexpr char kOldResults[] =
    "SELECT point_id || ' ' || attempt || ' ' || point_key || ' ' || items_mem || ' ' || tokens_mem || ' ' || "
    "printf('%.17g %.17g', nll_bits, items_corr) || ' ' || steps || ' ' || stop_reason FROM results ORDER BY point_id";
constexpr char kOldStates[] =
    "SELECT point_id || ' ' || point_key || ' ' || state || ' ' || reason FROM points ORDER BY point_id";
constexpr char kOldAttempts[] =
    "SELECT point_id || ' ' || attempt || ' ' || coalesce(outcome, '-') || ' ' || message FROM attempts ORDER BY "
    "point_id, "
    "attempt";
constexpr char kOldRest[] =
    "SELECT (SELECT COUNT(*) FROM curves) || ' ' || (SELECT COUNT(*) FROM sweep_points) || ' ' || (SELECT hex(bytes) "
    "FROM "
    "checkpoints) || ' ' || (SELECT COUNT(*) FROM fits) || ' ' || (SELECT COUNT(*) FROM events WHERE kind = 'fixture')";

std::vector<std::string> Everything(const std::string& database) {
  std::vector<std::string> all;
  for (const char* sql : {kOldResults, kOldStates, kOldAttempts, kOldRest}) {
    for (std::string& row : Read(database, sql)) all.push_back(std::move(row));
  }
  return all;
}

struct Answer {
  int code = -1;
  std::string out, err;
};

Answer Call(const std::vector<std::string>& arguments, const Environment& environment = {},
            const std::string& program = "capsweep") {
  const std::string out = StrCat(::testing::TempDir(), "/fault-", getpid(), ".out"), err = StrCat(out, ".err");
  SubprocessOptions how;
  how.argv = {"/bin/sh",
              "-c",
              "out=$1; err=$2; shift 2; exec \"$@\" >\"$out\" 2>\"$err\"",
              "sh",
              out,
              err,
              Binary(program.c_str())};
  how.argv.insert(how.argv.end(), arguments.begin(), arguments.end());
  how.env = environment;
  how.env.insert({{"CAPSWEEP_DB", ""}, {"CAPSWEEP_COORDINATOR", ""}});
  auto child = Subprocess::Start(how);
  EXPECT_TRUE(child.ok()) << child.status();
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    fs::remove(path);
    return text;
  };
  Answer answer;
  answer.code = child->Wait(seconds(60)).value_or(-1);
  answer.out = read(out);
  answer.err = read(err);
  return answer;
}

// A coordinator on `database` until it serves, or until it is killed; its exit code.
int OpenAndClose(const std::string& database, const std::string& fail = "") {
  SubprocessOptions how;
  how.argv = {Binary("capsweep-coordinator"),     "--db",        database, "--listen",
              StrCat("127.0.0.1:", ChoosePort()), "--log-level", "off"};
  if (!fail.empty()) how.env["CAPSWEEP_FAIL"] = fail;
  how.pipe_stdout = true;
  how.stderr_path = StrCat(database, ".stderr");
  auto child = Subprocess::Start(how);
  EXPECT_TRUE(child.ok()) << child.status();
  const auto deadline = std::chrono::steady_clock::now() + seconds(60);
  while (std::chrono::steady_clock::now() < deadline) {
    char buffer[256];
    if (read(child->stdout_fd(), buffer, sizeof buffer) > 0) {
      child->Signal(SIGTERM);
      break;
    }
    if (const auto code = child->Poll(); code.has_value()) return *code;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return child->Wait(seconds(30)).value_or(-1);
}

void FlipBytes(const std::string& path, std::streamoff at, size_t count, char value) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(at);
  file << std::string(count, value);
}

class RecoveryTest : public ::testing::Test {
 protected:
  // A database of `points` measured points of one sweep, with nobody using it.
  std::string Measured(const std::string& name) {
    ClusterOptions options;
    options.sweep = SweepText(15);
    options.points = 120;
    options.trainer_ms = 1;
    Cluster cluster(folder_.Path(name), options);
    cluster.SubmitUntilTaken();
    EXPECT_TRUE(cluster.FinishWithin(seconds(60)));
    cluster.Stop();
    return cluster.Database();
  }
  std::string Copy(const std::string& from, const std::string& name) {
    const std::string to = folder_.Path(name);
    fs::copy_file(from, to, fs::copy_options::overwrite_existing);
    return to;
  }

  FaultFolder folder_;
};

TEST_F(RecoveryTest, ADatabaseOfEveryReleasedVersionOpensInTheNewestWithAllItHolds) {
  for (int version = 1; version <= kNewest; ++version) {
    const std::string database = Copy(StrCat(kGolden, "v", version, ".db"), StrCat("v", version, ".db"));
    ASSERT_EQ(Read(database, "PRAGMA user_version"), std::vector<std::string>{std::to_string(version)});
    const auto before = Everything(database);
    ASSERT_GT(before.size(), 30u);
    EXPECT_EQ(OpenAndClose(database), 0);
    EXPECT_EQ(Read(database, "PRAGMA user_version"), std::vector<std::string>{std::to_string(kNewest)});
    auto after = Everything(database);
    // The attempt that was running may have been ended by then; nothing else changes.
    EXPECT_EQ(after, before) << "version " << version;
    EXPECT_EQ(fs::exists(StrCat(database, ".v", version, ".backup")), version < kNewest);
    const Answer healthy = Call({"doctor", database});
    EXPECT_EQ(healthy.code, 0) << healthy.out << healthy.err;
  }
}

TEST_F(RecoveryTest, AMigrationKilledAnywhereLeavesTheOldOrTheNewVersionWhole) {
  std::mt19937_64 random(1);
  int old_ones = 0, killed = 0;
  for (const std::string_view place : kFailPointNames) {
    if (!place.starts_with("migrate.")) continue;
    for (int version = 1; version < kNewest; ++version) {
      const std::string database = Copy(StrCat(kGolden, "v", version, ".db"), "killed.db");
      for (const char* suffix : {"-wal", "-shm", "-journal", ".lock"}) fs::remove(database + suffix);
      for (int v = 1; v < kNewest; ++v) fs::remove(StrCat(database, ".v", v, ".backup"));
      const auto before = Everything(database);
      const int hit =
          place == "migrate.step" ? 1 + static_cast<int>(random() % static_cast<uint64_t>(kNewest - version)) : 1;
      EXPECT_EQ(OpenAndClose(database, StrCat(place, "@", hit, "=kill")), 128 + SIGKILL) << place;
      ++killed;
      const std::string found = Read(database, "PRAGMA user_version").at(0);
      EXPECT_TRUE(found == std::to_string(version) || found == std::to_string(kNewest)) << found;
      old_ones += found == std::to_string(version) ? 1 : 0;
      EXPECT_EQ(Everything(database), before) << place;
      EXPECT_EQ(Read(database, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
      EXPECT_EQ(OpenAndClose(database), 0) << place;
      EXPECT_EQ(Read(database, "PRAGMA user_version"), std::vector<std::string>{std::to_string(kNewest)});
      EXPECT_EQ(Everything(database), before) << place;
      const std::string copy = StrCat(database, ".v", version, ".backup");
      EXPECT_EQ(Read(copy, "PRAGMA user_version"), std::vector<std::string>{std::to_string(version)});
      EXPECT_EQ(Everything(copy), before) << "the copy made before the migration";
    }
  }
  EXPECT_EQ(killed, 6 * (kNewest - 1));
  EXPECT_GE(old_ones, 4 * (kNewest - 1)) << "killed too late";
}

TEST_F(RecoveryTest, ABackupOfALiveDatabaseRestoresAndTheSweepGoesOnToTheSameResults) {
  ClusterOptions options;
  options.sweep = SweepText(15);
  options.points = 120;
  const auto expected = QuietRun(folder_.Path("quiet"), options);
  Cluster cluster(folder_.Path("cluster"), options);
  cluster.SubmitUntilTaken();
  ASSERT_TRUE(cluster.WaitForDone(30, seconds(60)));
  const std::string copy = folder_.Path("copy.db");
  const Answer backup = Call({"backup", copy, "--db", cluster.Database()});
  ASSERT_EQ(backup.code, 0) << backup.err;
  EXPECT_THAT(backup.out, HasSubstr("120 points"));
  EXPECT_EQ(Call({"backup", copy, "--db", cluster.Database()}).code, 2) << "never overwritten";
  const Answer healthy = Call({"doctor", copy});
  EXPECT_EQ(healthy.code, 0) << healthy.out;
  EXPECT_GE(Read(copy, "SELECT COUNT(*) FROM results").size(), 1u);
  ASSERT_TRUE(cluster.WaitForDone(60, seconds(60)));

  // The disk is lost, with results that the agents were told are safe; docs/recovery.md.
  cluster.HoldCoordinatorDown(true);
  for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(cluster.Database() + suffix);
  fs::copy_file(copy, cluster.Database());
  cluster.ForgetProgress();
  cluster.HoldCoordinatorDown(false);
  ASSERT_TRUE(cluster.FinishWithin(seconds(90)));
  cluster.Stop();
  cluster.ExpectResults(expected);
}

TEST_F(RecoveryTest, ABackupKilledAnywhereLeavesACompleteOneOrNone) {
  const std::string database = Copy(StrCat(kGolden, "v", kNewest, ".db"), "a.db");
  const auto before = Everything(database);
  int killed = 0;
  for (const std::string_view place : kFailPointNames) {
    if (!place.starts_with("backup.")) continue;
    const std::string copy = folder_.Path(StrCat(place, ".db"));
    EXPECT_EQ(Call({"backup", copy, "--db", database}, {{"CAPSWEEP_FAIL", StrCat(place, "@1=kill")}}).code,
              128 + SIGKILL);
    ++killed;
    if (fs::exists(copy)) {
      EXPECT_EQ(place, "backup.renamed");
      EXPECT_EQ(Everything(copy), before);
    } else {
      EXPECT_EQ(Call({"backup", copy, "--db", database}).code, 0);
      EXPECT_EQ(Everything(copy), before);
    }
  }
  EXPECT_EQ(killed, 4);
}

TEST_F(RecoveryTest, DoctorExplainsWhatIsWrong) {
  const std::string good = Measured("measured");
  EXPECT_EQ(Call({"doctor", good}).code, 0);
  const auto examine = [&](const std::string& sql) {
    const std::string database = Copy(good, "bad.db");
    EXPECT_TRUE(Read(database, sql).empty());
    const Answer answer = Call({"doctor", database, "--format", "json"});
    EXPECT_EQ(answer.code, 1) << sql << answer.out << answer.err;
    const auto report = nlohmann::json::parse(answer.out);
    EXPECT_FALSE(report["healthy"]);
    std::string problems;
    for (const auto& finding : report["findings"]) {
      if (finding["level"] == "problem") {
        StrAppend(&problems, finding["what"].get<std::string>(), "\n");
        EXPECT_FALSE(finding["advice"].get<std::string>().empty());
      }
    }
    return problems;
  };
  EXPECT_THAT(examine("DELETE FROM results WHERE point_id = 7"), HasSubstr("1 points are done and have no result"));
  EXPECT_THAT(examine("UPDATE points SET state = 'pending' WHERE point_id = 7"),
              HasSubstr("1 results belong to points that are not done"));
  EXPECT_THAT(examine("UPDATE attempts SET outcome = 'lost' WHERE point_id = 7"),
              HasSubstr("1 results have no accepted attempt"));
  EXPECT_THAT(
      examine("INSERT INTO attempts SELECT point_id, attempt + 1, worker, incarnation, device, started_ms, ended_ms, "
              "outcome, cause, message, late_result FROM attempts WHERE point_id = 7"),
      HasSubstr("1 points have more than one accepted attempt"));
  EXPECT_THAT(examine("UPDATE points SET width = 17 WHERE point_id = 7"), HasSubstr("is not the hash of its fields"));
  EXPECT_THAT(examine("UPDATE results SET items_mem = 10000 WHERE point_id = 7"), HasSubstr("contradict themselves"));
  EXPECT_THAT(examine("DELETE FROM sweeps"), HasSubstr("have lost what they belong to"));

  std::ofstream(folder_.Path("text.db")) << "sweep: x\n";
  const Answer text = Call({"doctor", folder_.Path("text.db")});
  EXPECT_EQ(text.code, 1);
  EXPECT_THAT(text.out, HasSubstr("is not a database"));
  EXPECT_EQ(Call({"doctor", folder_.Path("none.db")}).code, 2);
  const std::string short_one = Copy(good, "short.db");
  fs::resize_file(short_one, fs::file_size(short_one) / 2);
  const Answer cut = Call({"doctor", short_one});
  EXPECT_EQ(cut.code, 1);
  EXPECT_THAT(cut.out, HasSubstr("the file is cut off"));
  fs::create_directories(folder_.Path("spool/corrupt"));
  std::ofstream(folder_.Path("spool/corrupt/x.report")) << "x";
  const Answer spool = Call({"doctor", good, "--spool", folder_.Path("spool")});
  EXPECT_EQ(spool.code, 1);
  EXPECT_THAT(spool.out, HasSubstr("1 damaged reports were put aside"));
}

// Pages overwritten at random: the coordinator must not go on as if nothing were, and what is salvaged must be true.
TEST_F(RecoveryTest, DamagedPagesAreNoticedAndEverythingElseIsSalvaged) {
  const std::string good = Measured("measured");
  const auto results = Read(good, kOldResults);
  const std::set<std::string> truth(results.begin(), results.end());
  const auto pages = static_cast<uint64_t>(fs::file_size(good) / 4096);
  std::mt19937_64 random(8);
  int noticed = 0, rounds = 0;
  size_t salvaged = 0;
  for (; rounds < 12; ++rounds) {
    const std::string database = Copy(good, StrCat("hurt-", rounds, ".db"));
    const uint64_t page = 1 + random() % (pages - 1);  // not the first: it names the tables
    FlipBytes(database, static_cast<std::streamoff>(page * 4096), 4096, static_cast<char>(random()));
    const Answer doctor = Call({"doctor", database, "--salvage", folder_.Path(StrCat("saved-", rounds, ".db"))});
    EXPECT_TRUE(doctor.code == 0 || doctor.code == 1) << doctor.code << doctor.err;
    noticed += doctor.code;
    const std::string saved = folder_.Path(StrCat("saved-", rounds, ".db"));
    ASSERT_TRUE(fs::exists(saved)) << doctor.out << doctor.err;
    for (const std::string& row : Read(saved, kOldResults)) {
      EXPECT_TRUE(truth.contains(row)) << "made up: " << row;
      ++salvaged;
    }
    const Answer sound = Call({"doctor", saved});
    EXPECT_EQ(sound.code, 0) << sound.out;
    EXPECT_EQ(OpenAndClose(saved), 0);
  }
  EXPECT_GE(noticed, 8) << "most pages are in use";
  EXPECT_GT(salvaged, truth.size() * static_cast<size_t>(rounds) / 2) << "most results are far from the damage";
}

TEST_F(RecoveryTest, ADatabaseCutShortIsRefusedOrSoundAndACutLogLosesOnlyItsEnd) {
  const std::string good = Measured("measured");
  std::mt19937_64 random(9);
  for (int round = 0; round < 6; ++round) {
    const std::string database = Copy(good, "short.db");
    for (const char* suffix : {"-wal", "-shm", ".lock"}) fs::remove(database + suffix);
    fs::resize_file(database, random() % fs::file_size(good));
    // Refused at once, or found while it is read; never served as if it were whole.
    const Answer doctor = Call({"doctor", database});
    EXPECT_EQ(doctor.code, 1) << doctor.out;
    fs::remove(database);
  }
  // The log of a killed coordinator, cut anywhere: an older moment of the same truth.
  ClusterOptions options;
  options.sweep = SweepText(15);
  options.points = 120;
  Cluster cluster(folder_.Path("killed"), options);
  cluster.SubmitUntilTaken();
  ASSERT_TRUE(cluster.WaitForDone(60, seconds(60)));
  cluster.HoldCoordinatorDown(true);
  const std::string log = cluster.Database() + "-wal";
  ASSERT_GT(fs::file_size(log), 100'000u);
  for (int round = 0; round < 6; ++round) {
    const std::string database = Copy(cluster.Database(), "cut.db");
    fs::remove(database + "-shm");
    Copy(log, "cut.db-wal");
    fs::resize_file(database + "-wal", random() % fs::file_size(log));
    const Answer doctor = Call({"doctor", database});
    // A log that ends before the submission leaves no sweep, and one before the schema no schema.
    EXPECT_TRUE(doctor.code == 0 || doctor.out.find("no schema") != std::string::npos ||
                doctor.out.find("is empty") != std::string::npos ||
                doctor.out.find("not one of capsweep") != std::string::npos)
        << doctor.out;
    EXPECT_EQ(OpenAndClose(database), 0);
    EXPECT_EQ(Read(database, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
    EXPECT_EQ(Read(database,
                   "SELECT COUNT(*) FROM results r LEFT JOIN points p USING (point_id) WHERE p.state IS NOT 'done'"),
              std::vector<std::string>{"0"});
  }
  cluster.HoldCoordinatorDown(false);
  ASSERT_TRUE(cluster.FinishWithin(seconds(60)));
  cluster.Stop();
}

}  // namespace
}  // namespace capsweep::fault
