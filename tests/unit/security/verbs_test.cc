// Every verb of every service, by everyone, over both transports.
#include <google/protobuf/descriptor.h>

#include "coordinator/service/security/allow_list.h"
#include "gmock/gmock.h"
#include "tests/unit/security/secure_coordinator.h"

namespace capsweep::service {
namespace {

using grpc::StatusCode;
using security::Role;
using ::testing::HasSubstr;
using testing_support::HttpConnection;
using testing_support::SecureCoordinator;

std::vector<std::string> MethodsOf(const google::protobuf::ServiceDescriptor* service) {
  std::vector<std::string> paths;
  for (int i = 0; i < service->method_count(); ++i) {
    paths.push_back(StrCat("/", service->full_name(), "/", service->method(i)->name()));
  }
  return paths;
}

const google::protobuf::ServiceDescriptor* ServiceNamed(const std::string& name) {
  return google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
}

// Bytes that are a message of every verb, and the JSON likewise: what is asked is refused later, but let in.
bool LetIn(StatusCode code) {
  return code != StatusCode::UNAUTHENTICATED && code != StatusCode::PERMISSION_DENIED &&
         code != StatusCode::UNAVAILABLE && code != StatusCode::RESOURCE_EXHAUSTED && code != StatusCode::UNIMPLEMENTED;
}
bool LetIn(int status) {
  return status != 401 && status != 403 && status != 404 && status != 405 && status != 429 && status != 0;
}

TEST(AllowListTest, EveryVerbOfEveryServiceHasAnEntryWithARole) {
  for (const char* name : {"capsweep.v1.SweepService", "capsweep.v1.WorkerService"}) {
    const auto* service = ServiceNamed(name);
    ASSERT_NE(service, nullptr);
    for (const std::string& path : MethodsOf(service)) {
      const AllowedCall* call = FindAllowed(path);
      ASSERT_NE(call, nullptr) << path << " stands in no allow-list, so nobody may call it";
      EXPECT_FALSE(call->open) << path;
      EXPECT_FALSE(call->roles.empty()) << path;
    }
  }
  EXPECT_EQ(FindAllowed("/capsweep.v1.SweepService/Other"), nullptr);
}

class VerbsTest : public ::testing::Test {
 protected:
  static bool May(const std::string& path, Role role) {
    const auto& roles = FindAllowed(path)->roles;
    return std::find(roles.begin(), roles.end(), role) != roles.end();
  }

  SecureCoordinator coordinator_;
  const std::vector<std::string> user_verbs_ = MethodsOf(ServiceNamed("capsweep.v1.SweepService"));
};

TEST_F(VerbsTest, OverGrpcEachRoleReachesItsVerbsAndNobodyElseAny) {
  std::vector<std::string> all = user_verbs_;
  all.push_back("/capsweep.v1.WorkerService/Sync");
  const auto plain = coordinator_.Channel();
  coordinator_.MakeClient("late", "operator", -30, -1);
  coordinator_.MakeClient("odd", "admin", -1, 1);
  const auto expired = coordinator_.Channel("late");
  const auto odd = coordinator_.Channel("odd");
  const auto cleartext = coordinator_.NewChannel(grpc::InsecureChannelCredentials());
  for (const std::string& path : all) {
    coordinator_.clock.Move(600);  // refusals of earlier rounds are forgotten
    EXPECT_EQ(SecureCoordinator::CallGrpc(plain, path, "").error_code(), StatusCode::UNAUTHENTICATED) << path;
    EXPECT_EQ(SecureCoordinator::CallGrpc(plain, path, security::NewToken()).error_code(), StatusCode::UNAUTHENTICATED)
        << path;
    EXPECT_EQ(SecureCoordinator::CallGrpc(odd, path, "").error_code(), StatusCode::UNAUTHENTICATED) << path;
    EXPECT_EQ(SecureCoordinator::CallGrpc(expired, path, "").error_code(), StatusCode::UNAVAILABLE) << path;
    EXPECT_EQ(SecureCoordinator::CallGrpc(cleartext, path, coordinator_.Token("operator")).error_code(),
              StatusCode::UNAVAILABLE)
        << path;
    for (const Role role : {Role::kWorker, Role::kOperator, Role::kReader}) {
      const std::string word(security::ToWord(role));
      const grpc::Status status = SecureCoordinator::CallGrpc(plain, path, coordinator_.Token(word));
      if (May(path, role)) {
        EXPECT_TRUE(LetIn(status.error_code())) << path << " " << word << ": " << status.error_message();
      } else {
        EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << path << " " << word;
        EXPECT_THAT(status.error_message(), HasSubstr(StrCat("is a ", word)));
      }
    }
  }
}

TEST_F(VerbsTest, OverHttpEachRoleReachesItsVerbsAndNobodyElseAny) {
  coordinator_.MakeClient("late", "operator", -30, -1);
  for (const std::string& path : user_verbs_) {
    coordinator_.clock.Move(600);
    EXPECT_EQ(coordinator_.Post(path, "").status, 401) << path;
    EXPECT_EQ(coordinator_.Post(path, security::NewToken()).status, 401) << path;
    EXPECT_NE(coordinator_.Post(path, "", "{}", "late").status / 100, 2) << path;
    EXPECT_FALSE(LetIn(coordinator_.Post(path, "", "{}", "late").status)) << path;
    HttpConnection cleartext(coordinator_.http_port);
    EXPECT_EQ(cleartext.Call("POST", path, SecureCoordinator::PostHeaders(coordinator_.Token("operator")), "{}").status,
              0)
        << path;
    for (const Role role : {Role::kWorker, Role::kOperator, Role::kReader}) {
      const std::string word(security::ToWord(role));
      const HttpConnection::Response response = coordinator_.Post(path, coordinator_.Token(word));
      if (May(path, role)) {
        EXPECT_TRUE(LetIn(response.status)) << path << " " << word << ": " << response.status << " " << response.body;
      } else {
        EXPECT_EQ(response.status, 403) << path << " " << word;
        EXPECT_THAT(response.body, HasSubstr("permission_denied"));
      }
    }
  }
  // Workers call over gRPC alone, whoever asks.
  EXPECT_EQ(coordinator_.Post("/capsweep.v1.WorkerService/Sync", coordinator_.Token("worker")).status, 404);
}

TEST_F(VerbsTest, WhatEndsBeforeACallIsWrittenDownToo) {
  const std::string list = "/capsweep.v1.SweepService/ListSweeps";
  coordinator_.MakeClient("late", "operator", -30, -1);
  SecureCoordinator::CallGrpc(coordinator_.Channel("late"), list, "");
  SecureCoordinator::CallGrpc(coordinator_.NewChannel(grpc::InsecureChannelCredentials()), list, "");
  HttpConnection cleartext(coordinator_.http_port);
  EXPECT_EQ(cleartext.Call("GET", "/healthz", "Host: localhost\r\n", "").status, 0);
  for (int i = 0; i < 100 && coordinator_.Events("refused").size() < 3; ++i) {  // the other side needs a moment
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  const auto refused = coordinator_.Events("refused");
  EXPECT_THAT(refused, Contains(HasSubstr("TLS handshake: certificate verify failed: somebody at unknown: UNAUTHENT")));
  EXPECT_THAT(refused, Contains(HasSubstr("TLS handshake: wrong version number: somebody at unknown")));
  EXPECT_THAT(refused, Contains(HasSubstr("HTTP connection: somebody at 127.0.0.1:")));
  EXPECT_EQ(coordinator_.Post(list, coordinator_.Token("reader")).status, 200) << "still serving";
}

TEST_F(VerbsTest, ClientCertificatesSpeakForTheRoleInTheirSubject) {
  const std::string list = "/capsweep.v1.SweepService/ListSweeps", change = "/capsweep.v1.SweepService/ChangeSweep";
  EXPECT_TRUE(SecureCoordinator::CallGrpc(coordinator_.Channel("rita"), list, "").ok());
  EXPECT_EQ(SecureCoordinator::CallGrpc(coordinator_.Channel("rita"), change, "").error_code(),
            StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(SecureCoordinator::CallGrpc(coordinator_.Channel("willy"), list, "").error_code(),
            StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(LetIn(SecureCoordinator::CallGrpc(coordinator_.Channel("olga"), change, "").error_code()));
  EXPECT_EQ(coordinator_.Post(list, "", "{}", "rita").status, 200);
  EXPECT_EQ(coordinator_.Post(change, "", "{}", "rita").status, 403);
  EXPECT_TRUE(LetIn(coordinator_.Post(change, "", "{}", "olga").status));
  // A bad token is not made good by a certificate.
  EXPECT_EQ(coordinator_.Post(list, security::NewToken(), "{}", "rita").status, 401);
}

TEST_F(VerbsTest, ATokenThatWasTakenBackIsRefusedFromThenOn) {
  const std::string list = "/capsweep.v1.SweepService/ListSweeps";
  const auto channel = coordinator_.Channel();
  const std::string old = coordinator_.Token("reader"), fresh = security::NewToken();
  ASSERT_TRUE(SecureCoordinator::CallGrpc(channel, list, old).ok());
  std::filesystem::rename(coordinator_.Path("tokens"), coordinator_.Path("tokens.old"));
  ASSERT_TRUE(security::WriteSecretFile(coordinator_.Path("tokens"),
                                        StrCat("reader new-reader ", security::TokenHash(fresh), "\n"))
                  .ok());
  for (int i = 0; i < 200 && !SecureCoordinator::CallGrpc(channel, list, fresh).ok(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(SecureCoordinator::CallGrpc(channel, list, fresh).ok());
  coordinator_.clock.Move(600);
  EXPECT_EQ(SecureCoordinator::CallGrpc(channel, list, old).error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(coordinator_.Post(list, old).status, 401);
}

TEST_F(VerbsTest, ReflectionNeedsARoleAndHealthDoesNot) {
  const auto channel = coordinator_.Channel();
  const std::string reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  EXPECT_TRUE(SecureCoordinator::CallGrpc(channel, "/grpc.health.v1.Health/Check", "").ok());
  EXPECT_EQ(SecureCoordinator::CallGrpc(channel, reflection, "").error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(SecureCoordinator::CallGrpc(channel, reflection, coordinator_.Token("worker")).error_code(),
            StatusCode::PERMISSION_DENIED);
  EXPECT_NE(SecureCoordinator::CallGrpc(channel, "/other.Service/Call", coordinator_.Token("operator")).error_code(),
            StatusCode::OK);
}

TEST_F(VerbsTest, ChangesAndRefusalsAreAudited) {
  const auto channel = coordinator_.Channel();
  v1::SubmitSweepRequest submit;
  submit.set_text(testing_support::SweepText("audited", 1, 1));
  const std::string path = "/capsweep.v1.SweepService/";
  ASSERT_TRUE(SecureCoordinator::CallGrpc(channel, path + "SubmitSweep", coordinator_.Token("operator"),
                                          submit.SerializeAsString())
                  .ok());
  ASSERT_EQ(coordinator_.Post(path + "ChangeSweep", "", R"({"sweep": "audited", "verb": "PAUSE"})", "olga").status,
            200);
  ASSERT_EQ(coordinator_.Post(path + "ChangeSweep", coordinator_.Token("reader"), R"({"sweep": "audited"})").status,
            403);
  ASSERT_EQ(coordinator_.Post(path + "ChangeSweep", coordinator_.Token("operator"), R"({"sweep": "no"})").status, 400);
  using ::testing::AllOf;
  using ::testing::Contains;
  EXPECT_THAT(coordinator_.Events("call"),
              AllOf(Contains(AllOf(HasSubstr("SubmitSweep: operator operator at 127.0.0.1:"), HasSubstr("OK"))),
                    Contains(AllOf(HasSubstr("ChangeSweep: operator olga at 127.0.0.1:"),
                                   HasSubstr("sweep=audited verb=PAUSE: OK")))));
  EXPECT_THAT(coordinator_.Events("refused"),
              Contains(AllOf(HasSubstr("ChangeSweep: reader reader at 127.0.0.1:"), HasSubstr("PERMISSION_DENIED"))));
  EXPECT_THAT(coordinator_.Events("call_failed"), Contains(HasSubstr("sweep=no")));
}

TEST_F(VerbsTest, TheCommandLineSpeaksTlsWithATokenAndSaysWhatIsWrong) {
  const std::string address = coordinator_.server->address(), ca = coordinator_.Path("ca.crt");
  std::string out, err;
  EXPECT_EQ(testing_support::RunCapsweep(
                {"status", "--coordinator", address, "--tls-ca", ca, "--token-file", coordinator_.Path("reader.token")},
                &out, &err),
            0)
      << err;
  EXPECT_EQ(testing_support::RunCapsweep({"pause", "s", "--coordinator", address, "--tls-ca", ca, "--token-file",
                                          coordinator_.Path("reader.token")},
                                         &out, &err),
            2);
  EXPECT_THAT(err, HasSubstr("is a reader"));
  EXPECT_EQ(testing_support::RunCapsweep({"status", "--coordinator", address, "--tls-ca", ca}, &out, &err), 2);
  EXPECT_THAT(err, HasSubstr("--token-file"));
  EXPECT_EQ(testing_support::RunCapsweep({"status", "--coordinator", address}, &out, &err), 3);
  EXPECT_EQ(testing_support::RunCapsweep(
                {"status", "--coordinator", address, "--token-file", coordinator_.Path("reader.token")}, &out, &err),
            2);
  EXPECT_THAT(err, HasSubstr("never sent in plain text"));
}

TEST(CertsInitTest, FilesAreForTheirOwnerAndNothingIsWrittenOver) {
  const testing_support::TempFolder folder;
  std::string out, err;
  ASSERT_EQ(
      testing_support::RunCapsweep({"certs", "init", folder.Path("c"), "--host", "node1.example", "--days", "7"}, &out),
      0);
  EXPECT_THAT(out, HasSubstr("--listen node1.example:7171"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.Path("c"))) {
    EXPECT_EQ(static_cast<unsigned>(entry.status().permissions()) & 0777, 0600u) << entry.path();
    const auto text = ReadFile(entry.path().string());
    ASSERT_TRUE(text.ok());
    EXPECT_EQ(entry.path().extension() != ".token" &&
                  text->find(*ReadFile(folder.Path("c/worker.token"))) != std::string::npos,
              false);
  }
  EXPECT_EQ(testing_support::RunCapsweep({"certs", "init", folder.Path("c")}, &out, &err), 2);
  EXPECT_THAT(err, HasSubstr("never written over"));
  EXPECT_EQ(testing_support::RunCapsweep({"certs", "init", folder.Path("d"), "--client", "root:x"}, &out, &err), 2);
  EXPECT_EQ(testing_support::RunCapsweep({"certs", "init", folder.Path("d"), "--client", "worker:../x"}, &out, &err),
            2);
  EXPECT_FALSE(std::filesystem::exists(folder.Path("d")));
}

}  // namespace
}  // namespace capsweep::service
