// Tokens, secret files and certificates, without a network.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "common/hash.h"
#include "common/security/certificates.h"
#include "common/security/secret_file.h"
#include "common/security/tokens.h"
#include "common/text.h"
#include "gmock/gmock.h"

namespace capsweep::security {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SecurityTest : public ::testing::Test {
 protected:
  SecurityTest() : folder_(StrCat(::testing::TempDir(), "/security-", RandomHexId())) {
    std::filesystem::create_directories(folder_);
  }
  ~SecurityTest() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const { return StrCat(folder_, "/", name); }

  const std::string folder_;
};

TEST_F(SecurityTest, SecretsAreWrittenForTheirOwnerAloneAndNeverOverWhatIsThere) {
  ASSERT_TRUE(WriteSecretFile(Path("a"), "x\n").ok());
  struct stat info;
  ASSERT_EQ(stat(Path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(*ReadSecretFile(Path("a")), "x\n");
  EXPECT_EQ(WriteSecretFile(Path("a"), "y").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadSecretFile(Path("a")), "x\n");
}

TEST_F(SecurityTest, AFileThatOthersCanReachIsRefusedByNameAndMode) {
  ASSERT_TRUE(WriteSecretFile(Path("a"), NewToken()).ok());
  for (const mode_t mode : {0644, 0640, 0620, 0601}) {
    chmod(Path("a").c_str(), mode);
    const absl::Status status = ReadTokenFile(Path("a")).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << mode;
    EXPECT_THAT(std::string(status.message()), HasSubstr(StrCat("chmod 600 ", Path("a"))));
  }
  chmod(Path("a").c_str(), 0400);
  EXPECT_TRUE(ReadTokenFile(Path("a")).ok());
}

TEST_F(SecurityTest, ATokenFileHoldsOneTokenAndItsErrorsNeverQuoteIt) {
  int n = 0;
  for (const std::string& content :
       {std::string(), std::string("short\n"), StrCat(NewToken(), " ", NewToken(), "\n"),
        StrCat(NewToken(), "\n", NewToken(), "\n"), std::string(300, 'x'), std::string(40, '\xff')}) {
    const std::string path = Path(StrCat("t", ++n));
    ASSERT_TRUE(WriteSecretFile(path, content).ok());
    const absl::Status status = ReadTokenFile(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << content;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    if (content.size() > 40) {
      EXPECT_THAT(std::string(status.message()), Not(HasSubstr(content.substr(0, 20))));
    }
  }
}

TEST_F(SecurityTest, TokensAreFoundByTheirHashOrText) {
  const std::string worker = NewToken(), reader = NewToken();
  EXPECT_NE(worker, reader);
  EXPECT_EQ(worker.size(), 64u);
  const auto table = TokenTable::Parse(
      StrCat("# comment\n\nworker rack-7 ", TokenHash(worker), "\nreader carol ", reader, " # her own\n"), "tokens");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->Find(worker), (Identity{"rack-7", Role::kWorker}));
  EXPECT_EQ(table->Find(reader), (Identity{"carol", Role::kReader}));
  for (const std::string& wrong :
       {std::string(), worker.substr(1), worker + "0", NewToken(), TokenHash(worker), std::string(1 << 20, 'a')}) {
    EXPECT_FALSE(table->Find(wrong).has_value()) << wrong.substr(0, 80);
  }
}

TEST_F(SecurityTest, AWrongTableIsRefusedByLineWithoutQuotingATokenOfIt) {
  const std::string token = NewToken();
  const std::pair<std::string, std::string> cases[] = {
      {"", "holds no token"},
      {StrCat("worker ", token), "tokens:1"},
      {StrCat("\nadmin a ", token), "tokens:2: role 'admin'"},
      {StrCat("worker a/b ", token), "the name"},
      {"worker a short", "must be 32"},
      {"worker a sha256:12", "64 lower-case hex"},
      {StrCat("worker a ", token, "\nreader a ", NewToken()), "taken above"},
      {StrCat("worker a ", token, "\nreader b ", TokenHash(token)), "has the token of 'a'"}};
  for (const auto& [text, message] : cases) {
    const absl::Status status = TokenTable::Parse(text, "tokens").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(token)));
  }
}

// What an early exit of the comparison would show: a token that agrees in all but its end, or stands last in the table,
// takes longer than one that differs at once. Medians of rounds that alternate, so that a busy machine hits both alike.
TEST_F(SecurityTest, FindingATokenTakesAsLongWhateverItAgreesIn) {
  std::string text;
  std::vector<std::string> tokens;
  for (int i = 0; i < 200; ++i) {
    tokens.push_back(NewToken());
    StrAppend(&text, "reader r", i, " ", TokenHash(tokens.back()), "\n");
  }
  const auto table = TokenTable::Parse(text, "tokens");
  ASSERT_TRUE(table.ok());
  std::string near = tokens.front();
  near.back() = near.back() == '0' ? '1' : '0';
  const std::string shown[] = {NewToken(), near, tokens.front(), tokens.back()};
  std::vector<double> times[4];
  for (int round = 0; round < 400; ++round) {
    for (int which = 0; which < 4; ++which) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < 5; ++i) EXPECT_EQ(table->Find(shown[which]).has_value(), which >= 2);
      times[which].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  double medians[4];
  for (int which = 0; which < 4; ++which) {
    std::nth_element(times[which].begin(), times[which].begin() + 200, times[which].end());
    medians[which] = times[which][200];
  }
  for (const double median : medians) {
    EXPECT_LT(median, 2 * medians[0]);
    EXPECT_GT(median, 0.5 * medians[0]);
  }
}

TEST_F(SecurityTest, CertificatesSayWhatTheyWereMadeFor) {
  const Validity validity{1'700'000'000, 1'800'000'000};
  const auto authority = MakeAuthority(validity);
  ASSERT_TRUE(authority.ok()) << authority.status();
  const auto server = MakeServerCertificate(*authority, {"node1.example", "10.0.0.7", "::1"}, validity);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = MakeClientCertificate(*authority, "worker", "rack-7", validity);
  ASSERT_TRUE(client.ok()) << client.status();
  const auto said = ReadCertificate(client->certificate);
  ASSERT_TRUE(said.ok());
  EXPECT_EQ(said->name, "rack-7");
  EXPECT_EQ(said->role, "worker");
  EXPECT_EQ(said->validity.not_before, validity.not_before);
  EXPECT_EQ(said->validity.not_after, validity.not_after);
  EXPECT_EQ(ReadCertificate(server->certificate)->hosts, std::vector<std::string>{"node1.example"});
  EXPECT_FALSE(ReadCertificate("no PEM").ok());
  EXPECT_FALSE(MakeServerCertificate(*authority, {"a host"}, validity).ok());
  EXPECT_FALSE(MakeServerCertificate(*authority, {"evil,DNS:other.example"}, validity).ok());

  EXPECT_TRUE(CheckKeyPair(*server, "s.crt", "s.key", 1'750'000'000).ok());
  EXPECT_THAT(std::string(CheckKeyPair(*server, "s.crt", "s.key", 1'900'000'000).status().message()),
              HasSubstr("s.crt: is valid from 2023-11-14"));
  EXPECT_THAT(
      std::string(CheckKeyPair({server->certificate, client->key}, "s.crt", "s.key", 1'750'000'000).status().message()),
      HasSubstr("s.key: is not the key of s.crt"));
}

}  // namespace
}  // namespace capsweep::security
