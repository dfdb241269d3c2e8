#include "tests/fuzz/calls.h"

#include <algorithm>

#include "capsweep/v1/control.pb.h"
#include "capsweep/v1/worker.pb.h"

namespace capsweep::fuzz {

const std::vector<const google::protobuf::MethodDescriptor*>& Methods() {
  static const auto& methods = *[] {
    auto* out = new std::vector<const google::protobuf::MethodDescriptor*>();
    for (const auto* file : {v1::SyncRequest::descriptor()->file(), v1::SubmitSweepRequest::descriptor()->file()}) {
      for (int s = 0; s < file->service_count(); ++s) {
        for (int m = 0; m < file->service(s)->method_count(); ++m) {
          out->push_back(file->service(s)->method(m));
        }
      }
    }
    return out;
  }();
  return methods;
}

int MethodNamed(std::string_view name) {
  for (size_t i = 0; i < Methods().size(); ++i) {
    if (Methods()[i]->name() == name) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::unique_ptr<google::protobuf::Message> NewRequest(int method) {
  const auto* type = Methods()[static_cast<size_t>(method)]->input_type();
  return std::unique_ptr<google::protobuf::Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

std::vector<Call> ReadCalls(std::string_view bytes) {
  std::vector<Call> calls;
  while (bytes.size() >= 3 && calls.size() < 32) {
    const auto byte = [&bytes](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
    const int method = static_cast<int>(byte(0) % Methods().size());
    const size_t length = std::min(byte(1) | byte(2) << 8, bytes.size() - 3);
    calls.push_back({method, std::string(bytes.substr(3, length))});
    bytes.remove_prefix(3 + length);
  }
  return calls;
}

std::string WriteCalls(const std::vector<Call>& calls) {
  std::string out;
  for (const Call& call : calls) {
    const size_t length = std::min<size_t>(call.message.size(), 0xffff);
    out.push_back(static_cast<char>(call.method));
    out.push_back(static_cast<char>(length & 0xff));
    out.push_back(static_cast<char>(length >> 8));
    out.append(call.message, 0, length);
  }
  return out;
}

}  // namespace capsweep::fuzz
