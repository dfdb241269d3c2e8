#include "coordinator/service/http/connect.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/util/json_util.h>

#include <array>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/text.h"
#include "coordinator/service/table_reply.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

constexpr char kJson[] = "application/json";
constexpr char kProto[] = "application/proto";
constexpr int kMaxTimeoutDigits = 10;  // Connect's

struct ConnectCode {
  const char* word;
  int http_status;
};

// By absl's and gRPC's numbers.
constexpr std::array<ConnectCode, kStatusCodes> kCodes = {{{"ok", 200},
                                                           {"canceled", 499},
                                                           {"unknown", 500},
                                                           {"invalid_argument", 400},
                                                           {"deadline_exceeded", 504},
                                                           {"not_found", 404},
                                                           {"already_exists", 409},
                                                           {"permission_denied", 403},
                                                           {"resource_exhausted", 429},
                                                           {"failed_precondition", 400},
                                                           {"aborted", 409},
                                                           {"out_of_range", 400},
                                                           {"unimplemented", 501},
                                                           {"internal", 500},
                                                           {"unavailable", 503},
                                                           {"data_loss", 500},
                                                           {"unauthenticated", 401}}};

// Without parameters, which say nothing here: JSON is UTF-8.
std::string MediaType(const HttpRequest& request) {
  std::string type = request.Header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') {
    type.pop_back();
  }
  return type;
}

absl::Status Parse(const HttpRequest& request, google::protobuf::Message* message) {
  if (MediaType(request) == kProto) {
    return message->ParseFromString(request.body) ? absl::OkStatus()
                                                  : absl::InvalidArgumentError("the body is not such a message");
  }
  if (!IsUtf8(request.body)) {
    return absl::InvalidArgumentError("the body is not UTF-8");
  }
  const auto status = google::protobuf::util::JsonStringToMessage(request.body.empty() ? "{}" : request.body, message);
  return status.ok()
             ? absl::OkStatus()
             : absl::InvalidArgumentError(StrCat("the body is not the JSON of ", message->GetDescriptor()->name(), ": ",
                                                 std::string(status.message())));
}

HttpResponse Print(const HttpRequest& request, const google::protobuf::Message& message) {
  HttpResponse response{.status = 200, .type = MediaType(request)};
  if (response.type == kProto) {
    message.SerializeToString(&response.body);
    return response;
  }
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;  // a reader with curl sees zeros as zeros
  if (const auto status = google::protobuf::util::MessageToJsonString(message, &response.body, options); !status.ok()) {
    return ConnectError(absl::InternalError("the answer has no JSON form"));
  }
  return response;
}

// The time by which the caller wants an answer; max if it does not say.
Instant DeadlineOf(const HttpRequest& request, Instant now) {
  const std::string text = request.Header("connect-timeout-ms");
  int64_t millis = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), millis);
  return text.empty() || error != std::errc() ? Instant::max() : now + std::chrono::milliseconds(millis);
}

}  // namespace

HttpResponse ConnectError(const absl::Status& status, int http_status) {
  const ConnectCode& code = kCodes[static_cast<size_t>(status.code()) % kCodes.size()];
  nlohmann::json error = {{"code", code.word}, {"message", std::string(status.message())}};
  HttpResponse response{.status = http_status > 0 ? http_status : code.http_status,
                        .type = kJson,
                        .body = error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
  if (response.status == 401) {
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
  }
  return response;
}

std::optional<HttpResponse> CheckConnectHeaders(const HttpRequest& request) {
  const std::string type = MediaType(request);
  if (type != kJson && type != kProto) {
    HttpResponse response =
        ConnectError(absl::InvalidArgumentError(StrCat("Content-Type must be ", kJson, " or ", kProto)), 415);
    response.headers.emplace_back("Accept-Post", StrCat(kJson, ", ", kProto));
    return response;
  }
  if (const std::string encoding = request.Header("content-encoding"); !encoding.empty() && encoding != "identity") {
    return ConnectError(absl::UnimplementedError("Content-Encoding must be identity: bodies are not unpacked"));
  }
  if (const std::string version = request.Header("connect-protocol-version"); !version.empty() && version != "1") {
    return ConnectError(absl::InvalidArgumentError("Connect-Protocol-Version must be 1"));
  }
  const std::string timeout = request.Header("connect-timeout-ms");
  if (timeout.size() > kMaxTimeoutDigits || timeout.find_first_not_of("0123456789") != std::string::npos) {
    return ConnectError(absl::InvalidArgumentError("Connect-Timeout-Ms must be at most 10 digits"));
  }
  return std::nullopt;
}

void ServeConnect(UserVerbs& verbs, Metrics& metrics, const UserVerb& verb, const Caller& caller,
                  const std::shared_ptr<const HttpRequest>& request, std::function<void(HttpResponse)> done) {
  const auto arena = std::make_shared<google::protobuf::Arena>();
  google::protobuf::Message* const message = verb.request->New(arena.get());
  google::protobuf::Message* const answer = verb.response->New(arena.get());
  const auto count = [&metrics](const absl::Status& status) {
    metrics.http_verbs[static_cast<size_t>(status.code()) % kStatusCodes].Add();
  };
  if (const absl::Status status = Parse(*request, message); !status.ok()) {
    count(status);
    done(ConnectError(status));
    return;
  }
  const Instant deadline = DeadlineOf(*request, std::chrono::steady_clock::now());
  const auto late = [deadline] { return std::chrono::steady_clock::now() > deadline; };
  verbs.Run(verb, caller, *message, answer, late,
            [request, arena, answer, count, late, done = std::move(done)](const absl::Status& given) {
              const absl::Status status = absl::IsCancelled(given) && late()
                                              ? absl::DeadlineExceededError("Connect-Timeout-Ms is over")
                                              : given;
              count(status);
              done(status.ok() ? Print(*request, *answer) : ConnectError(status));
            });
}

}  // namespace capsweep::service
