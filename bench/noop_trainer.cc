// A trainer that trains nothing: speaks the protocol of docs/trainer-protocol.md as it is spoken under an agent, and
// answers every point at once with numbers that the coordinator takes. With it bench/peers/dispatch.py measures what
// agent, calls, coordinator and disk cost, as it does with task runners whose tasks do nothing. Never installed.
//
//   noop_trainer --serve --device cpu
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "common/build_info.h"
#include "common/json_scan.h"
#include "common/json_text.h"
#include "common/param_count.h"
#include "common/point.h"
#include "common/result.h"
#include "common/text.h"
#include "nlohmann/json.hpp"

namespace capsweep::bench {
namespace {

using Json = nlohmann::ordered_json;

void Write(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (wrote < 0 && errno != EINTR) {
      _exit(1);  // nobody reads any more
    }
    done += wrote > 0 ? static_cast<size_t>(wrote) : 0;
  }
}

// Nothing learned, nothing measured but the work that was asked for.
PointResult Nothing(const PointSpec& point) {
  const ParamCount params = CountParams(point);
  PointResult r;
  r.point_key = PointKey(point);
  r.targets = 1;
  r.steps = BudgetSteps(point);
  r.epochs = 1;
  r.stop_reason = "budget";
  r.params_total = params.total;
  r.params_train = params.train;
  r.backend = "noop";
  r.device_kind = "cpu";
  r.device_name = "noop";
  r.version = std::string(kVersion);
  r.curve.push_back({.epoch = r.epochs, .step = r.steps});
  return r;
}

void Finish(std::string_view attempt, const PointSpec& point, std::string& out) {
  StrAppend(&out, R"({"type":"started","attempt":)");
  AppendJsonText(out, attempt);
  StrAppend(&out, R"(,"resumed_from_step":0})", "\n", R"({"type":"result","attempt":)");
  AppendJsonText(out, attempt);
  StrAppend(&out, R"(,"result":)", ResultToJson(Nothing(point)), "}\n");
}

void Answer(std::string_view text, std::string& out) {
  JsonScan in(text);
  std::string_view name;
  PointSpec scanned;
  if (in.Skip(R"({"type":"train","attempt":)") && in.Read(name) && in.Name("point") && ScanPoint(in, scanned)) {
    Finish(name, scanned, out);
    return;
  }
  const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const std::string type = line.is_object() ? line.value("type", "") : "";
  const std::string attempt = type.empty() ? "" : line.value("attempt", "");
  if (type == "stop") {
    _exit(0);  // nothing is ever held
  }
  if (type == "train" && line.contains("point")) {
    if (const absl::StatusOr<PointSpec> point = PointFromParsed(line["point"]); point.ok()) {
      Finish(attempt, *point, out);
      return;
    }
  }
  StrAppend(&out, R"({"type":")", type == "cancel" ? "cancelled" : "error", R"(","attempt":)");
  AppendJsonText(out, attempt);
  StrAppend(&out, R"(,"message":"not a point"})", "\n");
}

int Serve() {
  Write(StrCat(R"({"type":"hello","protocol":1,"version":")", kVersion,
               R"(","torch_version":"none","blas":"none","backends":["noop"],"device":"cpu","device_kind":"cpu",)",
               R"("device_name":"noop","memory_bytes":1073741824,"slots":1,"threads":1})", "\n"));
  std::string input, out;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return 0;  // the agent is gone
    }
    input.append(buffer, static_cast<size_t>(got));
    size_t start = 0;
    for (size_t end; (end = input.find('\n', start)) != std::string::npos; start = end + 1) {
      Answer(std::string_view(input).substr(start, end - start), out);
    }
    input.erase(0, start);
    Write(out);
    out.clear();
  }
}

}  // namespace
}  // namespace capsweep::bench

int main() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  return capsweep::bench::Serve();
}
