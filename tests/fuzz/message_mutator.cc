#include "tests/fuzz/message_mutator.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace capsweep::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

int64_t Integer(std::mt19937& random) {
  constexpr std::array<int64_t, 12> kEdges = {
      0, 1, -1, 2, 127, 65'536, 1'000'000, 2147483647, -2147483648LL, 1LL << 53, INT64_MAX, INT64_MIN};
  return random() % 3 == 0 ? static_cast<int64_t>(random() % 40) : kEdges[random() % kEdges.size()];
}

double Real(std::mt19937& random) {
  constexpr std::array<double, 9> kEdges = {0,
                                            -0.0,
                                            1,
                                            -1,
                                            1e308,
                                            5e-324,
                                            0.5,
                                            std::numeric_limits<double>::quiet_NaN(),
                                            std::numeric_limits<double>::infinity()};
  return random() % 3 == 0 ? std::ldexp(static_cast<double>(random()), -20) : kEdges[random() % kEdges.size()];
}

// Sets a scalar, or adds one to a repeated field.
void Give(Message& m, const FieldDescriptor& f, std::mt19937& random, MutateBytes mutate_bytes) {
  const Reflection& r = *m.GetReflection();
  const bool add = f.is_repeated();
  switch (f.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      add ? r.AddInt32(&m, &f, static_cast<int32_t>(Integer(random)))
          : r.SetInt32(&m, &f, static_cast<int32_t>(Integer(random)));
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      add ? r.AddInt64(&m, &f, Integer(random)) : r.SetInt64(&m, &f, Integer(random));
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      add ? r.AddUInt32(&m, &f, static_cast<uint32_t>(Integer(random)))
          : r.SetUInt32(&m, &f, static_cast<uint32_t>(Integer(random)));
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      add ? r.AddUInt64(&m, &f, static_cast<uint64_t>(Integer(random)))
          : r.SetUInt64(&m, &f, static_cast<uint64_t>(Integer(random)));
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      add ? r.AddDouble(&m, &f, Real(random)) : r.SetDouble(&m, &f, Real(random));
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
      add ? r.AddFloat(&m, &f, static_cast<float>(Real(random))) : r.SetFloat(&m, &f, static_cast<float>(Real(random)));
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      add ? r.AddBool(&m, &f, random() % 2 == 0) : r.SetBool(&m, &f, random() % 2 == 0);
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      add ? r.AddEnumValue(&m, &f, static_cast<int>(random() % 8))
          : r.SetEnumValue(&m, &f, static_cast<int>(random() % 8));
      break;
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string text = mutate_bytes(add ? std::string() : r.GetString(m, &f));
      add ? r.AddString(&m, &f, std::move(text)) : r.SetString(&m, &f, std::move(text));
      break;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      add ? r.AddMessage(&m, &f) : r.MutableMessage(&m, &f);
      break;
  }
}

void ChangeRepeated(Message& m, const FieldDescriptor& f, std::mt19937& random, MutateBytes mutate_bytes) {
  const Reflection& r = *m.GetReflection();
  const int size = r.FieldSize(m, &f);
  if (size > 0 && random() % 3 == 0) {
    r.SwapElements(&m, &f, static_cast<int>(random() % static_cast<uint32_t>(size)), size - 1);
    r.RemoveLast(&m, &f);
  } else if (size > 0 && size < 64 && f.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && random() % 2 == 0) {
    Message* twin = r.AddMessage(&m, &f);
    twin->CopyFrom(r.GetRepeatedMessage(m, &f, static_cast<int>(random() % static_cast<uint32_t>(size))));
  } else {
    Give(m, f, random, mutate_bytes);
  }
}

}  // namespace

void MutateMessage(Message& m, std::mt19937& random, MutateBytes mutate_bytes) {
  const google::protobuf::Descriptor& type = *m.GetDescriptor();
  if (type.field_count() == 0) {
    return;
  }
  const FieldDescriptor& f = *type.field(static_cast<int>(random() % static_cast<uint32_t>(type.field_count())));
  const Reflection& r = *m.GetReflection();
  const bool message = f.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  // Messages inside are gone into more often than they are replaced: most of the meaning is there.
  if (message && !f.is_repeated() && random() % 8 != 0) {
    MutateMessage(*r.MutableMessage(&m, &f), random, mutate_bytes);
  } else if (message && f.is_repeated() && r.FieldSize(m, &f) > 0 && random() % 4 != 0) {
    const auto at = static_cast<int>(random() % static_cast<uint32_t>(r.FieldSize(m, &f)));
    MutateMessage(*r.MutableRepeatedMessage(&m, &f, at), random, mutate_bytes);
  } else if (f.is_repeated()) {
    ChangeRepeated(m, f, random, mutate_bytes);
  } else if (random() % 10 == 0) {
    r.ClearField(&m, &f);
  } else {
    Give(m, f, random, mutate_bytes);
  }
}

}  // namespace capsweep::fuzz
