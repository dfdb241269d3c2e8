// capsweep certs init: an authority of one's own, certificates and tokens for a coordinator and its users.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "cli/app.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/security/certificates.h"
#include "common/security/role.h"
#include "common/security/secret_file.h"
#include "common/security/tokens.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

using security::KeyPair;

constexpr int64_t kDay = 24 * 60 * 60;
// Clocks of a cluster differ by less.
constexpr int64_t kClockSlack = 60 * 60;

struct CertsOptions {
  std::string folder;
  std::vector<std::string> hosts;
  std::vector<std::string> clients;  // ROLE:NAME
  int days = 365;
};

struct NewFile {
  std::string name, content;
};

absl::Status AddClient(const std::string& client, const KeyPair& authority, const security::Validity& validity,
                       std::vector<NewFile>& files) {
  const size_t colon = client.find(':');
  const std::string role = client.substr(0, colon), name = colon == std::string::npos ? "" : client.substr(colon + 1);
  security::Role known;
  if (!security::FromWord(role, known) || name.empty() || name.size() > 64 || name[0] == '.' ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
          std::string::npos) {
    return absl::InvalidArgumentError(StrCat("--client '", client,
                                             "': must be ROLE:NAME, the role worker, operator or reader, the name of "
                                             "letters, digits, '-', '_' and '.', as in worker:rack-7"));
  }
  ASSIGN_OR_RETURN(const KeyPair pair, security::MakeClientCertificate(authority, role, name, validity));
  files.push_back({StrCat(name, ".crt"), pair.certificate});
  files.push_back({StrCat(name, ".key"), pair.key});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NewFile>> MakeFiles(const CertsOptions& options) {
  const int64_t now = Clock::Real().WallMillis() / 1000;
  const security::Validity validity{now - kClockSlack, now + options.days * kDay};
  ASSIGN_OR_RETURN(const KeyPair authority, security::MakeAuthority(validity));
  // A coordinator is always reached under these too: from its own machine, and through ssh's port forwarding.
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  for (const std::string& host : options.hosts) {
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) {
      hosts.push_back(host);
    }
  }
  const absl::StatusOr<KeyPair> server = security::MakeServerCertificate(authority, hosts, validity);
  if (!server.ok()) {
    return Annotate(server.status(), "--host");
  }
  std::vector<NewFile> files = {{"ca.crt", authority.certificate},
                                {"ca.key", authority.key},
                                {"server.crt", server->certificate},
                                {"server.key", server->key}};
  std::string table =
      "# The coordinator's tokens: role, name, SHA-256 of the token. Take a line out to refuse its token.\n";
  for (const security::Role role : {security::Role::kWorker, security::Role::kOperator, security::Role::kReader}) {
    const std::string word(security::ToWord(role)), token = security::NewToken();
    StrAppend(&table, word, " ", word, " ", security::TokenHash(token), "\n");
    files.push_back({StrCat(word, ".token"), StrCat(token, "\n")});
  }
  files.push_back({"tokens", table});
  for (const std::string& client : options.clients) {
    RETURN_IF_ERROR(AddClient(client, authority, validity, files));
  }
  return files;
}

absl::Status WriteFiles(const std::string& folder, const std::vector<NewFile>& files) {
  for (const NewFile& file : files) {
    if (const std::string path = StrCat(folder, "/", file.name); access(path.c_str(), F_OK) == 0) {
      return absl::AlreadyExistsError(StrCat(path, " is there already and is never written over; name another folder"));
    }
  }
  RETURN_IF_ERROR(MakeFolders(folder));
  for (const NewFile& file : files) {
    RETURN_IF_ERROR(security::WriteSecretFile(StrCat(folder, "/", file.name), file.content));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Init(const CertsOptions& options, Console& console) {
  ASSIGN_OR_RETURN(const std::vector<NewFile> files, MakeFiles(options));
  RETURN_IF_ERROR(WriteFiles(options.folder, files));
  const std::string& at = options.folder;
  const std::string host = options.hosts.empty() ? "127.0.0.1" : options.hosts[0];
  console.out << "wrote " << files.size() << " files to " << at << ", mode 0600, valid for " << options.days
              << " days\n\n"
              << "the coordinator needs server.crt, server.key and tokens:\n"
              << "  capsweep coordinator --db sweeps.db --listen " << host << ":7171 --tls-cert " << at
              << "/server.crt --tls-key " << at << "/server.key --tokens " << at << "/tokens\n"
              << "every worker needs ca.crt and worker.token:\n"
              << "  capsweep worker --coordinator " << host << ":7171 --tls-ca " << at << "/ca.crt --token-file " << at
              << "/worker.token\n"
              << "who submits sweeps needs ca.crt and operator.token, who only reads ca.crt and reader.token:\n"
              << "  capsweep status --coordinator " << host << ":7171 --tls-ca " << at << "/ca.crt --token-file " << at
              << "/operator.token\n"
              << "ca.key makes certificates that everyone trusts: keep it off the network\n";
  if (!options.clients.empty()) {
    console.out << "for the client certificates the coordinator needs --tls-client-ca " << at
                << "/ca.crt, their owners --tls-cert NAME.crt --tls-key NAME.key\n";
  }
  return kExitOk;
}

}  // namespace

void AddCertsVerb(Verbs& verbs) {
  CLI::App* certs = verbs.Add("certs", "Certificates and tokens for a coordinator on a network",
                              "capsweep certs init certs --host node1.example");
  certs->require_subcommand(1);
  auto options = std::make_shared<CertsOptions>();
  CLI::App* init = verbs.Add("init", "Make an authority, a server certificate and a token for each role",
                             "capsweep certs init certs --host node1.example --host 10.0.0.7", certs);
  init->add_option("folder", options->folder, "Where the files go; none is written over")->required()->type_name("DIR");
  init->add_option("--host", options->hosts, "Name or address the coordinator is reached under (repeatable)")
      ->type_name("HOST");
  init->add_option("--client", options->clients, "Also a client certificate (repeatable), as in worker:rack-7")
      ->type_name("ROLE:NAME");
  init->add_option("--days", options->days, "How long the certificates are valid")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  verbs.SetAction(init, [options](Console& console) { return Init(*options, console); });
}

}  // namespace capsweep::cli
