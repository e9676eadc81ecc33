#include "server/grpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace cascade {
namespace {

TEST(GrpcStatus, EveryCodeKeepsItsNumber) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "text");
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(status).error_code()), code);
  }
}

TEST(GrpcStatus, InvalidArgumentNamesTheField) {
  const grpc::Status status = ToGrpcStatus(absl::InvalidArgumentError("sampling.top_p must be in (0, 1], got 2"));
  EXPECT_EQ(status.error_message(), "sampling.top_p must be in (0, 1], got 2");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), 3);
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_EQ(bad_request.field_violations(0).field(), "sampling.top_p");
}

TEST(GrpcStatus, ResourceExhaustedSaysWhenToRetry) {
  const grpc::Status status = ToGrpcStatus(absl::ResourceExhaustedError("the queue is full"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::RetryInfo retry;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_GE(retry.retry_delay().seconds(), 1);
}

TEST(GrpcStatus, OtherCodesHaveNoDetails) {
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("no such session")).error_details(), "");
  EXPECT_EQ(ToGrpcStatus(absl::InvalidArgumentError("the bytes are no message")).error_details(), "");
}

TEST(GrpcStatus, OurOwnFaultsDoNotTellTheirText) {
  for (const absl::Status& status : {absl::InternalError("secret"), absl::UnknownError("secret")}) {
    EXPECT_THAT(ToGrpcStatus(status).error_message(), testing::Not(testing::HasSubstr("secret")));
  }
}

TEST(GrpcStatus, DamagedFilesOfASessionAreItsClientsToKnow) {
  EXPECT_EQ(ToGrpcStatus(absl::DataLossError("the journal is damaged")).error_message(), "the journal is damaged");
  EXPECT_EQ(ToGrpcStatus(ClientGone()).error_code(), grpc::StatusCode::CANCELLED);
}

TEST(GrpcStatus, LongMessagesAreCutBetweenCharacters) {
  for (int shift = 0; shift < 4; ++shift) {
    std::string text(static_cast<size_t>(shift), 'x');
    while (text.size() < 2 * kMaxErrorMessageBytes) text += "\xF0\x9F\x98\x80";
    const std::string message = ToGrpcStatus(absl::NotFoundError(text)).error_message();
    EXPECT_LE(message.size(), kMaxErrorMessageBytes);
    EXPECT_GE(message.size(), kMaxErrorMessageBytes - 8);
    EXPECT_EQ((message.size() - static_cast<size_t>(shift)) % 4, 0u);
  }
}

TEST(GrpcStatus, MessagesAreOneLine) {
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("a\nb\tc")).error_message(), "a b c");
}

TEST(FieldOfMessage, Table) {
  const struct {
    const char* message;
    const char* field;
  } rows[] = {{"prompt.text must be short", "prompt.text"},
              {"messages[2].role: unknown", "messages[2].role"},
              {"page_token is not one of ours", "page_token"},
              {"the bytes are no message", ""},
              {"Capital must not", ""},
              {"", ""},
              {"field", ""}};
  for (const auto& row : rows) EXPECT_EQ(FieldOfMessage(row.message), row.field) << row.message;
}

}  // namespace
}  // namespace cascade
