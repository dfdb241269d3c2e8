// capsweep-coordinator: serves one database to workers and users until it is told to stop.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/synchronization/mutex.h"
#include "common/build_info.h"
#include "common/logging.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/config_file.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/server.h"
#include "spdlog/spdlog.h"

namespace capsweep {
namespace {

struct Options {
  std::string database;
  std::string config;
  std::string log_level;
  std::string log_format = "text";
  double lease_seconds = 30;
  service::ServerOptions server;
};

void Declare(CLI::App& app, Options& options) {
  app.add_option("--db", options.database, "The database file; made if it is missing")->type_name("FILE");
  app.add_option("--listen", options.server.listen, "Address for workers and users, HOST:PORT or unix:/PATH")
      ->type_name("ADDR")
      ->capture_default_str();
  app.add_option("--http", options.server.http, "Also serve JSON over HTTP and /metrics here, HOST:PORT")
      ->type_name("ADDR");
  app.add_option("--http-hosts", options.server.http_hosts,
                 "Names, by commas, under which browsers may call --http beside addresses and the certificate's names")
      ->type_name("NAMES");
  app.add_option("--lease-seconds", options.lease_seconds, "A worker silent for this long loses what it holds")
      ->check(CLI::Range(1.0, 86400.0))
      ->capture_default_str();
  service::TransportOptions& transport = options.server.transport;
  app.add_option("--tls-cert", transport.tls_cert, "Serve TLS with this certificate (`capsweep certs init` makes all)")
      ->type_name("FILE");
  app.add_option("--tls-key", transport.tls_key, "The certificate's key, mode 0600")->type_name("FILE");
  app.add_option("--tokens", transport.tokens, "Tokens and their roles, mode 0600; read anew when the file changes")
      ->type_name("FILE");
  app.add_option("--tls-client-ca", transport.tls_client_ca,
                 "Client certificates of this authority speak for the role in their subject's OU")
      ->type_name("FILE");
  app.add_flag("--i-know-this-is-insecure", options.server.allow_insecure_network,
               "Allow addresses that other machines can reach without TLS: no encryption and no password");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warning, error or off");
  app.add_option("--log-format", options.log_format, "text or json (a line each)")->capture_default_str();
  app.add_option("--config", options.config, "YAML file with these options as keys; the command line wins")
      ->type_name("FILE");
  app.set_version_flag("--version", BuildInfo());
}

// Options of the file count where the command line is silent.
absl::Status ApplyConfig(CLI::App& app, const std::string& path) {
  ASSIGN_OR_RETURN(const auto entries, service::ReadConfigFile(path));
  for (const auto& [key, value] : entries) {
    CLI::Option* option = key == "config" || key == "version" ? nullptr : app.get_option_no_throw(StrCat("--", key));
    if (option == nullptr) {
      return absl::InvalidArgumentError(StrCat(path, ": unknown option '", key, "'"));
    }
    if (option->count() > 0) {
      continue;
    }
    try {
      option->add_result(value);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return absl::InvalidArgumentError(StrCat(path, ": ", key, ": ", error.what()));
    }
  }
  return absl::OkStatus();
}

// Blocked in every thread, taken by sigwait in main.
sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "capsweep-coordinator: %s\n", std::string(status.message()).c_str());
  return ExitCodeFor(status);
}

int Serve(const Options& options) {
  const sigset_t stop_signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a peer that went away is an error of one call, not of the process

  std::atomic<bool> failed{false};
  service::EngineOptions engine_options;
  engine_options.database = options.database;
  engine_options.core.lease = FromSeconds(options.lease_seconds);
  engine_options.core.recovery_grace = FromSeconds(options.lease_seconds);
  engine_options.on_fatal = [&failed](const absl::Status& status) {
    spdlog::critical("the database has failed and this process ends: {}", std::string(status.message()));
    failed = true;
    kill(getpid(), SIGTERM);
  };
  engine_options.on_store_health = [](const absl::Status& status) {
    if (status.ok()) {
      spdlog::info("the database can be written again");
    } else {
      spdlog::error("the database cannot be written, no new work is given out: {}", std::string(status.message()));
    }
  };
  if (absl::Status status = service::Server::CheckOptions(options.server); !status.ok()) {
    return Fail(status);
  }
  absl::StatusOr<std::unique_ptr<service::Engine>> engine = service::Engine::Open(std::move(engine_options));
  if (!engine.ok()) {
    return Fail(engine.status());
  }
  absl::StatusOr<std::unique_ptr<service::Server>> server = service::Server::Start(engine->get(), options.server);
  if (!server.ok()) {
    return Fail(server.status());
  }
  // Programs wait for this line; it is the only one on standard output.
  std::printf("capsweep-coordinator: serving %s on %s\n", options.database.c_str(), (*server)->address().c_str());
  std::fflush(stdout);
  if (const std::string http = (*server)->http_address(); !http.empty()) {
    spdlog::info("HTTP on {}", http);
  }

  int signal = 0;
  sigwait(&stop_signals, &signal);
  spdlog::info("stopping");
  // A second signal, for whoever does not want to wait for the disk, ends the process as usual.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  (*server)->Shutdown();
  if (absl::Status status = (*engine)->Flush(); !status.ok()) {
    return Fail(absl::InternalError(StrCat("not everything could be written: ", status.message())));
  }
  return failed ? kExitFailed : kExitOk;
}

int Main(int argc, char** argv) {
  CLI::App app("Serves one capsweep database to workers and users over gRPC.", "capsweep-coordinator");
  Options options;
  Declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitBadInput;
  }
  if (!options.config.empty()) {
    if (absl::Status status = ApplyConfig(app, options.config); !status.ok()) {
      return Fail(status);
    }
  }
  if (options.database.empty()) {
    return Fail(absl::InvalidArgumentError("--db is required: give the database file, as in --db capsweep.db"));
  }
  if (absl::Status status = InitLogging("capsweep-coordinator", options.log_level, options.log_format); !status.ok()) {
    return Fail(status);
  }
  return Serve(options);
}

}  // namespace
}  // namespace capsweep

int main(int argc, char** argv) {
  // Debian's Abseil looks for lock cycles under a global lock at every lock that gRPC takes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return capsweep::Main(argc, argv);
}
