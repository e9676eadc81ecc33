// Percentiles, tables, UTF-8 and error texts.
#include <gmock/gmock.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <gtest/gtest.h>

#include "client/format.h"
#include "client/percentiles.h"
#include "client/status_text.h"
#include "client/table.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

TEST(Percentiles, InterpolatesBetweenNeighbours) {
  Percentiles values;
  EXPECT_EQ(values.At(50), 0);
  EXPECT_EQ(values.Mean(), 0);
  for (const double value : {40, 10, 30, 20}) values.Add(value);
  EXPECT_DOUBLE_EQ(values.At(0), 10);
  EXPECT_DOUBLE_EQ(values.At(50), 25);
  EXPECT_DOUBLE_EQ(values.At(100), 40);
  EXPECT_DOUBLE_EQ(values.At(101), 40);
  EXPECT_DOUBLE_EQ(values.Mean(), 25);
  Percentiles more;
  more.Add(50);
  more.Add(values);
  EXPECT_EQ(more.count(), 5);
  EXPECT_DOUBLE_EQ(more.At(50), 30);
}

TEST(Table, AlignsByCharacters) {
  Table table({Align::kLeft, Align::kRight, Align::kLeft});
  table.AddRow({"é", "1", "x"});
  table.AddRow({"abc", "23"});
  EXPECT_EQ(table.Draw(), "é     1  x\nabc  23\n");
}

TEST(Format, Numbers) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(-1234567), "-1,234,567");
  EXPECT_EQ(WithCommas(-123), "-123");
  EXPECT_EQ(Bytes(1023), "1023 bytes");
  EXPECT_EQ(Bytes(1536), "1.5 KiB");
  EXPECT_EQ(Seconds(0.0012), "1.2 ms");
  EXPECT_EQ(Seconds(0.25), "250 ms");
  EXPECT_EQ(Seconds(12.34), "12.3 s");
}

TEST(Format, Names) {
  EXPECT_EQ(StateName(v1::SESSION_STATE_PARKED_HOST), "parked (host)");
  EXPECT_EQ(StateName(v1::SESSION_STATE_PARKED_DISK), "parked (disk)");
  EXPECT_EQ(StateName(static_cast<v1::SessionState>(99)), "-");
  EXPECT_EQ(DurabilityName(v1::DURABILITY_NONE), "none");
  EXPECT_EQ(DurabilityName(v1::DURABILITY_JOURNAL), "journal");
  EXPECT_EQ(DurabilityName(v1::DURABILITY_IMAGE), "image");
  EXPECT_EQ(DurabilityName(v1::DURABILITY_UNSPECIFIED), "-");
}

TEST(Utf8, FindsTheFirstWrongByte) {
  EXPECT_EQ(FirstInvalidUtf8("plain é € 😀"), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("ab\xff"), 2);
  EXPECT_EQ(FirstInvalidUtf8("\xc0\xaf"), 0);          // overlong
  EXPECT_EQ(FirstInvalidUtf8("a\xed\xa0\x80"), 1);     // surrogate
  EXPECT_EQ(FirstInvalidUtf8("\xf4\x90\x80\x80"), 0);  // past U+10FFFF
  EXPECT_EQ(FirstInvalidUtf8("a\xe2\x82"), 1);         // cut
  EXPECT_EQ(FirstInvalidUtf8(std::string("a\0b", 3)), std::nullopt);
}

TEST(Utf8, CutsToWholeCharacters) {
  EXPECT_EQ(WholeCharacters("a€"), "a€");
  EXPECT_EQ(WholeCharacters("a\xe2\x82"), "a");
  EXPECT_EQ(WholeCharacters("a\xf0\x9f\x98"), "a");
  EXPECT_EQ(WholeCharacters("a\xff"), "a\xff");  // wrong, and not merely cut
  EXPECT_EQ(WholeCharacters(""), "");
}

TEST(Utf8, TakesControlsOut) {
  EXPECT_EQ(WithoutControls("a\033[2Jb\r\n\tc\x7f"), "a[2Jb\n\tc");
  EXPECT_EQ(WithoutControls("a\xc2\x9b"
                            "1mé"),
            "a1mé");
  EXPECT_EQ(Quoted("a\n\"\x01é"), "\"a\\n\\\"\\x01é\"");
}

// A length-delimited field of a message.
std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) + bytes;
}

std::string Detail(const std::string& type, const std::string& value) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/google.rpc." + type);
  any.set_value(value);
  return Field(3, any.SerializeAsString());
}

TEST(StatusText, NamesTheFieldAndWhenToComeBack) {
  const std::string violation = Field(1, Field(1, "sampling.top_p"));
  EXPECT_EQ(StatusText({grpc::StatusCode::INVALID_ARGUMENT, "must be in (0, 1]", Detail("BadRequest", violation)}),
            "invalid argument in sampling.top_p: must be in (0, 1]");
  // Named already.
  EXPECT_EQ(StatusText({grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: must be in (0, 1]",
                        Detail("BadRequest", violation)}),
            "invalid argument: sampling.top_p: must be in (0, 1]");
  google::protobuf::Duration delay;
  delay.set_seconds(2);
  EXPECT_EQ(StatusText({grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full",
                        Detail("RetryInfo", Field(1, delay.SerializeAsString()))}),
            "resource exhausted: the queue is full; try again in 2.0 s");
}

TEST(StatusText, TakesAnyDetails) {
  EXPECT_EQ(StatusText({grpc::StatusCode::INTERNAL, "a\nb\033[2J", "\xff\xff no message"}), "internal error: a b[2J");
  EXPECT_EQ(StatusText({grpc::StatusCode::ABORTED, ""}), "aborted");
  EXPECT_EQ(CodeInWords(static_cast<grpc::StatusCode>(99)), "error 99");
}

}  // namespace
}  // namespace cascade::client
