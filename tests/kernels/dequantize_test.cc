// Against goldens that the `gguf` package made (tests/golden/make_dequantize_golden.py).
#include "kernels/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/quantize.h"
#include "tests/support/sha1.h"

namespace cascade::kernels {
namespace {

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Dequantize, EqualsTheReferenceBitForBit) {
  const char* const directory = std::getenv("CASCADE_GOLDEN_DIR");
  ASSERT_NE(directory, nullptr);
  std::ifstream golden(std::string(directory) + "/dequantize.txt");
  ASSERT_TRUE(golden.is_open());
  std::map<std::string, DType> types;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}) {
    types[std::string(Name(type))] = type;
  }
  std::map<std::string, int> blocks;
  for (std::string line; std::getline(golden, line);) {
    std::istringstream fields(line);
    std::string kind, name, stored, values;
    if (!(fields >> kind) || kind != "block") continue;
    ASSERT_TRUE(fields >> name >> stored >> values);
    ASSERT_EQ(types.count(name), 1u) << name;
    // One byte off, so that alignment is not relied on.
    const std::string bytes = FromHex("00" + stored);
    const std::string expected_bytes = FromHex(values);
    ASSERT_EQ(bytes.size() - 1, RowBytes(types[name], 32));
    ASSERT_EQ(expected_bytes.size(), 32 * sizeof(float));
    float expected[32];
    float found[32];
    std::memcpy(expected, expected_bytes.data(), sizeof expected);
    DequantizeRow(types[name], bytes.data() + 1, found, 32);
    for (int i = 0; i < 32; ++i) {
      // Which NaN comes out of an operation is the processor's choice.
      if (std::isnan(expected[i]) && std::isnan(found[i])) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
          << name << " element " << i << ": found " << found[i] << ", expected " << expected[i] << "\n"
          << line;
    }
    ++blocks[name];
  }
  EXPECT_EQ(blocks, (std::map<std::string, int>{
                        {"F32", 12}, {"F16", 13}, {"BF16", 13}, {"Q4_0", 28}, {"Q4_1", 44}, {"Q8_0", 28}}));
}

// The types whose values would fill pages: a digest for each block.
TEST(Dequantize, EqualsTheReferenceByDigest) {
  const char* const directory = std::getenv("CASCADE_GOLDEN_DIR");
  ASSERT_NE(directory, nullptr);
  std::ifstream golden(std::string(directory) + "/dequantize_digests.txt");
  ASSERT_TRUE(golden.is_open());
  std::map<std::string, DType> types;
  for (int i = 0; i < kNumDTypes; ++i) types[std::string(Name(static_cast<DType>(i)))] = static_cast<DType>(i);
  std::map<std::string, int> blocks;
  for (std::string kind, name, stored, digest; golden >> kind >> name >> stored >> digest;) {
    ASSERT_EQ(types.count(name), 1u) << name;
    const std::string bytes = FromHex("00" + stored);  // one byte off
    const int elements = BlockElements(types[name]);
    ASSERT_EQ(bytes.size() - 1, static_cast<size_t>(BlockBytes(types[name])));
    std::vector<float> found(elements);
    DequantizeRow(types[name], bytes.data() + 1, found.data(), elements);
    for (float& value : found) {
      if (std::isnan(value)) value = std::bit_cast<float>(0x7fc00000u);
    }
    const std::string_view found_bytes(reinterpret_cast<const char*>(found.data()), found.size() * sizeof(float));
    EXPECT_EQ(test::Sha1(found_bytes), digest) << name << " " << stored;
    ++blocks[name];
  }
  EXPECT_EQ(blocks, (std::map<std::string, int>{{"Q5_0", 32},
                                                {"Q5_1", 32},
                                                {"IQ4_NL", 32},
                                                {"Q2_K", 32},
                                                {"Q3_K", 32},
                                                {"Q4_K", 32},
                                                {"Q5_K", 32},
                                                {"Q6_K", 32}}));
}

TEST(Dequantize, HalvesGoThereAndBack) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (std::isnan(value)) {
      EXPECT_GT(half & 0x7fff, 0x7c00u);
    } else {
      ASSERT_EQ(FloatToHalf(value), half) << value;
    }
  }
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0xfc00), -std::numeric_limits<float>::infinity());
}

TEST(Dequantize, RowsAreManyBlocks) {
  std::vector<float> values(768);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  // Half a step of each type's grid over values in [-1, 1]; the K types' rounded sub-scales move the grid's ends.
  const std::map<DType, float> rooms = {{DType::kF32, 0.0f},    {DType::kF16, 0x1p-12f}, {DType::kBF16, 0x1p-9f},
                                        {DType::kQ4_0, 0.13f},  {DType::kQ4_1, 0.07f},   {DType::kQ5_0, 0.065f},
                                        {DType::kQ5_1, 0.035f}, {DType::kQ8_0, 0.005f},  {DType::kIQ4_NL, 0.12f},
                                        {DType::kQ2_K, 0.4f},   {DType::kQ3_K, 0.2f},    {DType::kQ4_K, 0.09f},
                                        {DType::kQ5_K, 0.05f},  {DType::kQ6_K, 0.022f}};
  ASSERT_EQ(rooms.size(), static_cast<size_t>(kNumDTypes));
  for (const auto& [type, room] : rooms) {
    const std::string row = Quantize(type, values);
    ASSERT_EQ(row.size(), RowBytes(type, 768));
    std::vector<float> found(768);
    DequantizeRow(type, row.data(), found.data(), 768);
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(found[i], values[i], room) << Name(type) << " " << i;
  }
}

}  // namespace
}  // namespace cascade::kernels
