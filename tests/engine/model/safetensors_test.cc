// The container: what a header may say, and 2,000 damaged ones.
#include "engine/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/dequantize.h"
#include "tests/engine/model/folder_test_util.h"
#include "tests/support/heap_peak.h"

namespace cascade {
namespace {

using kernels::DType;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

absl::StatusOr<SafetensorsFile> Parse(std::string_view bytes) {
  const GuardedFile file(bytes);
  return ParseSafetensors(file.bytes(), "f");
}

// With eight bytes of data.
void ExpectRefused(const std::string& header, absl::StatusCode code, const std::string& words) {
  SCOPED_TRACE(header.substr(0, 200));
  const auto parsed = Parse(SafetensorsBytes(header, "12345678"));
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), code) << parsed.status();
  ExpectClearError(parsed.status(), "f: ");
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(words));
}

std::string Tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, ReadsTensors) {
  const std::string header = R"({"__metadata__":{"format":"pt","format":"x"},"b":)" + Tensor("F16", "[2,1]", "[0,4]") +
                             R"(,"a":)" + Tensor("BF16", "[1]", "[6,8]") + R"(,"none":)" +
                             Tensor("F32", "[0,7]", "[5,5]") + R"(,"one":)" + Tensor("F32", "[]", "[8,12]") + "}   ";
  const std::string bytes = SafetensorsBytes(header, "0123456789ab");
  const GuardedFile file(bytes);
  const auto parsed = ParseSafetensors(file.bytes(), "f");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 4u);
  EXPECT_EQ(parsed->at("b").type, DType::kF16);
  EXPECT_EQ(parsed->at("b").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(std::memcmp(parsed->at("b").bytes.data(), "0123", 4), 0);
  EXPECT_EQ(parsed->at("a").type, DType::kBF16);
  EXPECT_EQ(std::memcmp(parsed->at("a").bytes.data(), "67", 2), 0);
  EXPECT_TRUE(parsed->at("none").bytes.empty());
  EXPECT_EQ(parsed->at("one").bytes.size(), 4u);
}

TEST(Safetensors, AnEmptyDirectoryIsGood) { EXPECT_TRUE(Parse(SafetensorsBytes("{}", "")).ok()); }

TEST(Safetensors, HeaderBounds) {
  EXPECT_EQ(Parse("").status().code(), kDataLoss);
  EXPECT_EQ(Parse("1234567").status().code(), kDataLoss);
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{100'000'001}, ~uint64_t{0}}) {
    std::string bytes = SafetensorsBytes("{}", "");
    std::memcpy(bytes.data(), &size, sizeof size);
    EXPECT_EQ(Parse(bytes).status().code(), kInvalid) << size;
  }
  std::string bytes = SafetensorsBytes("{}", "");
  bytes[0] = 3;
  EXPECT_EQ(Parse(bytes).status().code(), kDataLoss);
}

TEST(Safetensors, RefusesByName) {
  const std::string good = Tensor("F32", "[2]", "[0,8]");
  ExpectRefused(R"([1])", kInvalid, "does not begin with {");
  ExpectRefused(R"({"a":)", kInvalid, "not valid JSON at byte");
  ExpectRefused("{\"\xff\":1}", kInvalid, "not valid JSON at byte");
  ExpectRefused(R"({"a":1})", kInvalid, "tensor 'a': found a number, expected an object");
  ExpectRefused(R"({"a":)" + good + R"(,"a":)" + good + "}", kInvalid, "tensor 'a': found twice");
  ExpectRefused(R"({"__metadata__":{},"__metadata__":{}})", kInvalid, "tensor '__metadata__': found twice");
  ExpectRefused(R"({"__metadata__":{"a":{}}})", kInvalid, "expected strings");
  ExpectRefused(R"({"":)" + good + "}", kInvalid, "empty name");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[2]}})", kInvalid, "field 'data_offsets': missing");
  ExpectRefused(R"({"a":{"shape":[2],"shape":[2]}})", kInvalid, "field 'shape': found twice");
  ExpectRefused(R"({"a":{"strides":[2]}})", kInvalid, "field 'strides': not known");
  ExpectRefused(R"({"a":{"dtype":7}})", kInvalid, "field 'dtype': found a number, expected a string");
  ExpectRefused(R"({"a":{"shape":{}}})", kInvalid, "field 'shape': found an object");
  ExpectRefused(R"({"a":{"shape":[-1]}})", kInvalid, "field 'shape': found a negative number");
  ExpectRefused(R"({"a":{"shape":[1.0]}})", kInvalid, "field 'shape': found a number that is no integer");
  ExpectRefused(R"({"a":{"shape":[1,1,1,1,1,1,1,1,1]}})", kInvalid, "more than 8 sizes");
  ExpectRefused(R"({"a":{"shape":[9223372036854775808]}})", kInvalid, "found 9223372036854775808");
  ExpectRefused(R"({"a":)" + Tensor("F32", "[2]", "[0]") + "}", kInvalid, "found 1 numbers, expected two");
  ExpectRefused(R"({"a":)" + Tensor("F32", "[2]", "[0,8,8]") + "}", kInvalid, "more than two");
  ExpectRefused(R"({"a":)" + Tensor("F32", "[2]", "[8,0]") + "}", kInvalid, "expected them in order");
  ExpectRefused(R"({"a":)" + Tensor("F32", "[3]", "[0,8]") + "}", kInvalid,
                "found 8 bytes, expected 12 for the shape [3]");
  ExpectRefused(R"({"a":)" + Tensor("F32", "[4294967296,4294967296]", "[0,8]") + "}", kInvalid,
                "more than any file holds");
  ExpectRefused(R"({"a":)" + Tensor("F32", "[2]", "[4,12]") + "}", kDataLoss,
                "ends at byte 12 of the data; the file has 8");
  ExpectRefused(R"({"a":)" + Tensor("F8_E4M3", "[8]", "[0,8]") + "}", kUnimplemented,
                "tensor 'a': found type 'F8_E4M3'");
  ExpectRefused(R"({"a":)" + good + R"(,"b":)" + Tensor("F16", "[1]", "[6,8]") + "}", kInvalid,
                "tensor 'b': overlaps the tensor 'a'");
}

TEST(Safetensors, NestingEndsAtTheFirstWrongLevel) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep = "{\"a\":";
    for (int i = 0; i < 1'000'000; ++i) deep += open;
    ExpectRefused(deep, kInvalid, "tensor 'a'");
  }
}

TEST(SafetensorsDamage, EveryCut) {
  const std::string bytes = GoldenFolder("qwen2-shards").contents.at("model/model-00002-of-00002.safetensors");
  const size_t header = 8 + HeaderOf(bytes).size();
  for (size_t size = 0; size < bytes.size(); size += size < header ? 1 : 97) {
    ASSERT_FALSE(Parse(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
}

TEST(SafetensorsDamage, TwoThousandHeaders) {
  const std::string bytes = GoldenFolder("qwen2-files").contents.at("model/model.safetensors");
  const std::string data = bytes.substr(8 + HeaderOf(bytes).size());
  nlohmann::json json = nlohmann::json::parse(HeaderOf(bytes));
  json["__metadata__"] = Notes();
  const std::string header = json.dump();
  std::mt19937_64 random(1);
  int opened = 0;
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    std::string damaged = SafetensorsBytes(DamagedJson(header, random, i % 2 == 0 ? 1 : 4), data);
    if (i % 10 == 0) damaged[random() % 8] ^= static_cast<char>(1 << (random() % 8));
    const GuardedFile file(damaged);
    const test::HeapPeak peak;
    const auto parsed = ParseSafetensors(file.bytes(), "f");
    EXPECT_LT(peak.bytes(), MostHeap(damaged.size() - data.size())) << "of " << damaged.size() - data.size();
    opened += parsed.ok();
    if (!parsed.ok()) ExpectClearError(parsed.status(), "f: ");
    if (!parsed.ok()) continue;
    for (const auto& [name, tensor] : *parsed) {
      std::vector<float> values(tensor.bytes.size() / kernels::BlockBytes(tensor.type));
      kernels::DequantizeRow(tensor.type, tensor.bytes.data(), values.data(), static_cast<int64_t>(values.size()));
    }
  }
  EXPECT_GT(opened, 200);
  EXPECT_LT(opened, 1000);
}

}  // namespace
}  // namespace cascade
