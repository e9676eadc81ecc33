#include "client/status_text.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>

#include "client/format.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

using google::protobuf::UnknownFieldSet;

// Calls `visit` with each length-delimited field `number` of a serialized message. The few messages of google.rpc are
// read by their field numbers, which spares every user of this library their .proto files.
template <class Visit>
void ForEachField(const std::string& message, int number, const Visit& visit) {
  UnknownFieldSet fields;
  if (!fields.ParseFromString(message)) return;
  for (int i = 0; i < fields.field_count(); ++i) {
    const auto& field = fields.field(i);
    if (field.number() == number && field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      visit(field.length_delimited());
    }
  }
}

}  // namespace

std::string CodeInWords(grpc::StatusCode code) {
  static constexpr const char* kWords[] = {"ok",
                                           "cancelled",
                                           "unknown error",
                                           "invalid argument",
                                           "deadline exceeded",
                                           "not found",
                                           "exists",
                                           "not permitted",
                                           "resource exhausted",
                                           "failed precondition",
                                           "aborted",
                                           "out of range",
                                           "not supported by this server",
                                           "internal error",
                                           "unavailable",
                                           "data loss",
                                           "not authenticated"};
  const size_t place = static_cast<size_t>(code);
  return place < std::size(kWords) ? kWords[place] : "error " + std::to_string(place);
}

ErrorDetails ParseErrorDetails(const grpc::Status& status) {
  ErrorDetails details;
  // google.rpc.Status.details = 3, of type Any.
  ForEachField(status.error_details(), 3, [&](const std::string& bytes) {
    google::protobuf::Any any;
    if (!any.ParseFromString(bytes)) return;
    const auto is = [&](const std::string& name) { return any.type_url() == "type.googleapis.com/google.rpc." + name; };
    if (is("BadRequest")) {
      // BadRequest.field_violations = 1, FieldViolation.field = 1.
      ForEachField(any.value(), 1, [&](const std::string& violation) {
        ForEachField(violation, 1, [&](const std::string& field) { details.fields.push_back(field); });
      });
    } else if (is("RetryInfo")) {
      // RetryInfo.retry_delay = 1.
      ForEachField(any.value(), 1, [&](const std::string& delay) {
        google::protobuf::Duration duration;
        if (duration.ParseFromString(delay)) details.retry_after_seconds = ToSeconds(duration);
      });
    }
  });
  return details;
}

std::string StatusText(const grpc::Status& status) {
  const ErrorDetails details = ParseErrorDetails(status);
  std::string text = CodeInWords(status.error_code());
  std::string fields;
  for (const std::string& field : details.fields) {
    // Most messages name the field themselves.
    if (status.error_message().find(field) == std::string::npos) fields += (fields.empty() ? " in " : ", ") + field;
  }
  text += fields;
  if (!status.error_message().empty()) text += ": " + status.error_message();
  if (details.retry_after_seconds) text += "; try again in " + Seconds(*details.retry_after_seconds);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return WithoutControls(text);
}

}  // namespace cascade::client
