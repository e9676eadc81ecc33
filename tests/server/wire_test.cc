#include "server/wire.h"

#include <gtest/gtest.h>

#include <string>

#include "cascade/v1/cascade.pb.h"

namespace cascade {
namespace {

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

std::string Error(const std::string& bytes, google::protobuf::Message* message) {
  const absl::Status status = ParseWire(Bytes(bytes), message);
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status));
  return std::string(status.message());
}

TEST(Wire, RoundTrip) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text("grüße");
  request.mutable_stopping()->set_max_tokens(3);
  grpc::ByteBuffer bytes;
  SerializeWire(request, &bytes);
  v1::GenerateRequest read;
  ASSERT_TRUE(ParseWire(bytes, &read).ok());
  EXPECT_EQ(read.SerializeAsString(), request.SerializeAsString());
}

TEST(Wire, InvalidUtf8NamesTheField) {
  const std::string bad = "ab\xFF";
  v1::GenerateRequest text;
  text.mutable_prompt()->set_text(bad);
  EXPECT_EQ(Error(text.SerializePartialAsString(), &text), "prompt.text must be valid UTF-8");

  v1::GenerateRequest messages;
  messages.mutable_prompt()->mutable_messages()->add_messages()->set_content("fine");
  messages.mutable_prompt()->mutable_messages()->add_messages()->set_content(bad);
  EXPECT_EQ(Error(messages.SerializePartialAsString(), &messages),
            "prompt.messages.messages[1].content must be valid UTF-8");

  v1::GenerateRequest stop;
  stop.mutable_prompt()->set_text("fine");
  stop.mutable_stopping()->add_stop("fine");
  stop.mutable_stopping()->add_stop(bad);
  EXPECT_EQ(Error(stop.SerializePartialAsString(), &stop), "stopping.stop[1] must be valid UTF-8");

  v1::GetSessionRequest id;
  id.set_session_id(bad);
  EXPECT_EQ(Error(id.SerializePartialAsString(), &id), "session_id must be valid UTF-8");
}

TEST(Wire, OtherBytesNameTheType) {
  v1::GenerateRequest request;
  for (const std::string& bytes :
       {std::string("\x0A"), std::string("\x0A\x05x"), std::string("\xFF\xFF"), std::string(100, '\x0B')}) {
    EXPECT_EQ(Error(bytes, &request), "the bytes are no message of type cascade.v1.GenerateRequest");
  }
}

TEST(Wire, SmallRequests) {
  EXPECT_TRUE(CheckSmallRequest(Bytes(std::string(kMaxSmallRequestBytes, 'x'))).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(CheckSmallRequest(Bytes(std::string(kMaxSmallRequestBytes + 1, 'x')))));
}

TEST(Wire, UnknownFieldsAreAllowed) {
  v1::GetSessionRequest request;
  EXPECT_EQ(Error(std::string("\xFA\x01\x02hi", 5), &request), "");
}

}  // namespace
}  // namespace cascade
