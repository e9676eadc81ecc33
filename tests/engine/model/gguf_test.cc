// The container: what is refused, with which code and words.
#include "engine/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/engine/model/model_test_util.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint32_t kString = 8;
constexpr uint32_t kArray = 9;

// Two keys, two tensors.
GgufWriter Small() {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  writer.SetStrings("words", {"a", "", "bcd"});
  writer.AddTensor("first", {4, 2}, kernels::DType::kF32, std::string(32, '\1'));
  writer.AddTensor("second", {32}, kernels::DType::kQ8_0, std::string(34, '\2'));
  return writer;
}

struct Case {
  const char* name;
  absl::StatusCode code;
  const char* words;
  std::function<void(GgufWriter&)> change;
};

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

// An array of `type` that claims `count` elements and has `body`.
std::string Array(uint32_t type, uint64_t count, const std::string& body) {
  return RawBytes(type) + RawBytes(count) + body;
}

const Case kCases[] = {
    {"magic", kInvalid, "not a GGUF file: begins with 'PK\\x03\\x04'", [](auto& w) { w.magic = 0x04034b50; }},
    {"magic big-endian", kInvalid, "not a GGUF file", [](auto& w) { w.magic = 0x47475546; }},
    {"version 0", kInvalid, "GGUF version 0, expected 2 or 3", [](auto& w) { w.version = 0; }},
    {"version 1", kInvalid, "GGUF version 1, expected 2 or 3", [](auto& w) { w.version = 1; }},
    {"version 4", kInvalid, "GGUF version 4, expected 2 or 3", [](auto& w) { w.version = 4; }},
    {"byte-swapped", kInvalid, "big-endian", [](auto& w) { w.version = 3u << 24; }},
    {"keys 2^63", kDataLoss, "9223372036854775808 keys", [](auto& w) { w.num_values = uint64_t{1} << 63; }},
    {"keys -1", kDataLoss, "18446744073709551615 keys", [](auto& w) { w.num_values = ~uint64_t{0}; }},
    {"keys 1000", kDataLoss, "1000 keys", [](auto& w) { w.num_values = 1000; }},
    {"tensors 2^63", kDataLoss, "9223372036854775808 tensors", [](auto& w) { w.num_tensors = uint64_t{1} << 63; }},
    {"tensors -1", kDataLoss, "18446744073709551615 tensors", [](auto& w) { w.num_tensors = ~uint64_t{0}; }},
    {"empty key", kInvalid, "key 2 is empty", [](auto& w) { w.SetUint32("", 1); }},
    {"duplicate key", kInvalid, "'words' appears twice", [](auto& w) { w.values.push_back(w.values[1]); }},
    {"value type 13", kInvalid, "value type 13, expected 0 to 12", [](auto& w) { w.SetRaw("x", 13, "1234"); }},
    {"value type -1", kInvalid, "value type 4294967295", [](auto& w) { w.SetRaw("x", ~0u, "1234"); }},
    {"string 2^63", kDataLoss, "'x'", [](auto& w) { w.SetRaw("x", kString, RawBytes(uint64_t{1} << 63)); }},
    {"string -1", kDataLoss, "'x'", [](auto& w) { w.SetRaw("x", kString, RawBytes(~uint64_t{0})); }},
    {"string beyond the end", kDataLoss, "'x'", [](auto& w) { w.SetRaw("x", kString, RawBytes<uint64_t>(100000)); }},
    {"bool 2", kInvalid, "BOOL is 2", [](auto& w) { w.SetRaw("x", 7, "\2"); }},
    {"array of arrays", kInvalid, "array of arrays",
     [](auto& w) { w.SetRaw("x", kArray, Array(kArray, 1, Array(4, 1, "1234"))); }},
    {"array element type 99", kInvalid, "value type 99", [](auto& w) { w.SetRaw("x", kArray, Array(99, 1, "1234")); }},
    {"array 2^61 x 8", kDataLoss, "'x'", [](auto& w) { w.SetRaw("x", kArray, Array(10, uint64_t{1} << 61, "")); }},
    {"array 2^62 x 4", kDataLoss, "'x'",
     [](auto& w) { w.SetRaw("x", kArray, Array(4, (uint64_t{1} << 62) + 1, "1234")); }},
    {"array -1 of strings", kDataLoss, "'x'", [](auto& w) { w.SetRaw("x", kArray, Array(kString, ~uint64_t{0}, "")); }},
    {"array of strings beyond", kDataLoss, "'x'",
     [](auto& w) { w.SetRaw("x", kArray, Array(kString, 2, RawString("a") + RawBytes(uint64_t{1} << 40))); }},
    {"alignment 0", kInvalid, "general.alignment", [](auto& w) { w.SetUint32("general.alignment", 0); }},
    {"alignment 3", kInvalid, "found 3, expected a power of two", [](auto& w) { w.SetUint32("general.alignment", 3); }},
    {"alignment 2^31", kInvalid, "found 2147483648", [](auto& w) { w.SetUint32("general.alignment", 1u << 31); }},
    {"alignment 2^63", kInvalid, "general.alignment",
     [](auto& w) { w.SetUint64("general.alignment", uint64_t{1} << 63); }},
    {"alignment text", kInvalid, "found STRING", [](auto& w) { w.SetString("general.alignment", "32"); }},
    {"alignment finer than offsets", kInvalid, "offset 32, expected a multiple of 64",
     [](auto& w) { w.SetUint32("general.alignment", 64); }},
    {"empty tensor name", kInvalid, "name of tensor 1 is empty", [](auto& w) { w.tensors[1].name = ""; }},
    {"duplicate tensor", kInvalid, "'first': appears twice", [](auto& w) { w.tensors[1].name = "first"; }},
    {"rank 0", kInvalid, "0 dimensions, expected 1 to 4", [](auto& w) { w.tensors[0].dims = {}; }},
    {"rank 5", kInvalid, "5 dimensions, expected 1 to 4",
     [](auto& w) {
       w.tensors[0].dims = {1, 1, 1, 1, 1};
     }},
    {"rank 100", kInvalid, "100 dimensions", [](auto& w) { w.tensors[0].dims.resize(100, 1); }},
    {"dimension 0", kInvalid, "shape [4, 0] has a zero",
     [](auto& w) {
       w.tensors[0].dims = {4, 0};
     }},
    {"dimension 0 after overflow", kInvalid, "has a zero",
     [](auto& w) {
       w.tensors[0].dims = {uint64_t{1} << 63, uint64_t{1} << 63, 0};
     }},
    {"elements 2^64", kDataLoss, "larger than the file",
     [](auto& w) {
       w.tensors[0].dims = {uint64_t{1} << 32, uint64_t{1} << 32};
     }},
    {"elements 2^64 + 8", kDataLoss, "larger than the file",
     [](auto& w) {
       w.tensors[0].dims = {8, (uint64_t{1} << 61) + 1};
     }},
    {"bytes 2^64", kDataLoss, "larger than the file", [](auto& w) { w.tensors[0].dims = {uint64_t{1} << 62}; }},
    {"dimension -1", kDataLoss, "larger than the file", [](auto& w) { w.tensors[0].dims = {~uint64_t{0}}; }},
    {"larger than the file", kDataLoss, "larger than the file", [](auto& w) { w.tensors[0].dims = {100000}; }},
    {"beyond the end", kDataLoss, "'second': 68 bytes at offset 32 of the data reach beyond the end",
     [](auto& w) { w.tensors[1].dims = {64}; }},
    {"rows not of whole blocks", kInvalid, "rows of 33 elements, expected a multiple of 32 for Q8_0",
     [](auto& w) { w.tensors[1].dims = {33}; }},
    {"type IQ1_S", kUnimplemented, "'second': type IQ1_S is not supported", [](auto& w) { w.tensors[1].type = 19; }},
    {"type removed", kUnimplemented, "type Q4_2 is not supported", [](auto& w) { w.tensors[1].type = 4; }},
    {"type 1000", kUnimplemented, "type number 1000 is not supported", [](auto& w) { w.tensors[1].type = 1000; }},
    {"offset unaligned", kInvalid, "offset 33, expected a multiple of 32", [](auto& w) { w.tensors[1].offset = 33; }},
    {"offset overlapping", kInvalid, "overlaps tensor", [](auto& w) { w.tensors[1].offset = 0; }},
    {"offset beyond", kDataLoss, "reach beyond the end", [](auto& w) { w.tensors[1].offset = 1 << 20; }},
    {"offset 2^64 - 32", kDataLoss, "reach beyond the end", [](auto& w) { w.tensors[1].offset = ~uint64_t{31}; }},
};

TEST(Gguf, RefusesBrokenFiles) {
  int ran = 0;
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.name);
    GgufWriter writer = Small();
    test.change(writer);
    const GuardedFile file(writer.Build());
    const absl::StatusOr<GgufFile> parsed = ParseGguf(file.bytes(), "model.gguf");
    ++ran;
    ASSERT_FALSE(parsed.ok());
    const std::string message(parsed.status().message());
    EXPECT_EQ(parsed.status().code(), test.code) << message;
    EXPECT_THAT(message, StartsWith("model.gguf: "));
    EXPECT_THAT(message, HasSubstr(test.words));
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  EXPECT_EQ(ran, 52);
}

TEST(Gguf, ReadsBothVersions) {
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter writer = Small();
    writer.version = version;
    const GuardedFile file(writer.Build());
    const absl::StatusOr<GgufFile> parsed = ParseGguf(file.bytes(), "model.gguf");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->version, version);
    EXPECT_EQ(parsed->FindValue("general.architecture")->String(), "llama");
    EXPECT_EQ(parsed->FindValue("words")->Strings(), (std::vector<std::string_view>{"a", "", "bcd"}));
    EXPECT_EQ(parsed->FindValue("nothing"), nullptr);
    ASSERT_EQ(parsed->tensors.size(), 2u);
    const GgufTensor& first = parsed->tensors.at("first");
    EXPECT_EQ(first.Shape(), "[4, 2]");
    EXPECT_EQ(first.type, kernels::DType::kF32);
    EXPECT_EQ(first.bytes.size(), 32u);
    EXPECT_EQ(first.bytes[31], 1);
    EXPECT_EQ(parsed->tensors.at("second").bytes[33], 2);
  }
}

TEST(Gguf, ReadsAnotherAlignmentAndOrder) {
  GgufWriter writer = Small();
  writer.SetUint32("general.alignment", 128);
  writer.alignment = 128;
  std::swap(writer.tensors[0], writer.tensors[1]);
  const GuardedFile file(writer.Build());
  const absl::StatusOr<GgufFile> parsed = ParseGguf(file.bytes(), "model.gguf");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tensors.at("first").bytes[0], 1);
}

TEST(Gguf, NumbersKeepTheirRange) {
  GgufWriter writer;
  writer.SetRaw("u8", 0, RawBytes<uint8_t>(200));
  writer.SetRaw("i8", 1, RawBytes<int8_t>(-3));
  writer.SetRaw("u16", 2, RawBytes<uint16_t>(65535));
  writer.SetRaw("i16", 3, RawBytes<int16_t>(-300));
  writer.SetUint32("u32", ~0u);
  writer.SetInt32("i32", -1);
  writer.SetUint64("u64", ~uint64_t{0});
  writer.SetRaw("i64", 11, RawBytes<int64_t>(-5));
  writer.SetRaw("f64", 12, RawBytes(1.5));
  const GuardedFile file(writer.Build());
  const absl::StatusOr<GgufFile> parsed = ParseGguf(file.bytes(), "model.gguf");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto integer = [&](const char* key) { return parsed->FindValue(key)->Integer(); };
  EXPECT_EQ(integer("u8"), 200);
  EXPECT_EQ(integer("i8"), -3);
  EXPECT_EQ(integer("u16"), 65535);
  EXPECT_EQ(integer("i16"), -300);
  EXPECT_EQ(integer("u32"), int64_t{0xffffffff});
  EXPECT_EQ(integer("i32"), -1);
  EXPECT_EQ(integer("u64"), std::nullopt);
  EXPECT_EQ(integer("i64"), -5);
  EXPECT_EQ(integer("f64"), std::nullopt);
}

TEST(Gguf, MessagesStayOnOneLine) {
  GgufWriter writer = Small();
  writer.SetRaw("evil\n\x1b[2J" + std::string(1000, 'x'), 13, "");
  const GuardedFile file(writer.Build());
  const std::string message(ParseGguf(file.bytes(), "model.gguf").status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_LT(message.size(), 300u);
}

}  // namespace
}  // namespace cascade
