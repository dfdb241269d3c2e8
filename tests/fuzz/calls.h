// A fuzz input for the service: calls one after the other, each a method's number, the length of its message as two
// bytes (little-endian) and the message. Any bytes are some calls; what does not parse as its message is sent as it is.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace capsweep::fuzz {

struct Call {
  int method = 0;  // index into Methods()
  std::string message;
};

// Every method of every service of capsweep, in the order of the .proto files.
const std::vector<const google::protobuf::MethodDescriptor*>& Methods();
int MethodNamed(std::string_view name);  // -1: none

// An empty request of the method.
std::unique_ptr<google::protobuf::Message> NewRequest(int method);

std::vector<Call> ReadCalls(std::string_view bytes);
std::string WriteCalls(const std::vector<Call>& calls);

}  // namespace capsweep::fuzz
