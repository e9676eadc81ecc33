#include "server/wire.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// The path of the first string field that is no UTF-8; "" if there is none. Our messages are not recursive, so the
// depth is that of the contract, whatever the bytes say.
std::string FindInvalidField(const Descriptor& descriptor, const UnknownFieldSet& fields, const std::string& prefix) {
  std::vector<int> seen(static_cast<size_t>(descriptor.field_count()), 0);
  for (int i = 0; i < fields.field_count(); ++i) {
    const UnknownField& field = fields.field(i);
    const FieldDescriptor* known = descriptor.FindFieldByNumber(field.number());
    if (known == nullptr || field.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    std::string path = absl::StrCat(prefix, known->name());
    const int index = seen[static_cast<size_t>(known->index())]++;
    if (known->is_repeated()) path = absl::StrCat(path, "[", index, "]");
    if (known->type() == FieldDescriptor::TYPE_STRING && FindInvalidUtf8(field.length_delimited()) != std::string::npos)
      return path;
    if (known->type() == FieldDescriptor::TYPE_MESSAGE) {
      UnknownFieldSet inner;
      if (!inner.ParseFromString(field.length_delimited())) return "";
      const std::string found = FindInvalidField(*known->message_type(), inner, absl::StrCat(path, "."));
      if (!found.empty()) return found;
    }
  }
  return "";
}

}  // namespace

absl::Status ParseWire(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  grpc::ByteBuffer copy(bytes);  // shares the slices; a reader wants a mutable one
  {
    grpc::ProtoBufferReader reader(&copy);
    if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  }
  const Descriptor& descriptor = *message->GetDescriptor();
  grpc::ProtoBufferReader reader(&copy);
  UnknownFieldSet fields;
  if (reader.status().ok() && fields.ParseFromZeroCopyStream(&reader)) {
    const std::string path = FindInvalidField(descriptor, fields, "");
    if (!path.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " must be valid UTF-8"));
  }
  return absl::InvalidArgumentError(absl::StrCat("the bytes are no message of type ", descriptor.full_name()));
}

absl::Status CheckSmallRequest(const grpc::ByteBuffer& bytes) {
  if (bytes.Length() <= kMaxSmallRequestBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a request about a session has at most ", kMaxSmallRequestBytes, " bytes, got ", bytes.Length()));
}

void SerializeWire(const google::protobuf::Message& message, grpc::ByteBuffer* bytes) {
  bytes->Clear();
  bool own_buffer = false;
  CASCADE_CHECK(
      (grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, bytes, &own_buffer).ok()));
}

}  // namespace cascade
