#include "server/device_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace cascade {
namespace {

using kernels::Activations;
using kernels::DType;

TEST(DeviceConfig, DefaultsOfTheCpu) {
  const auto device = ConfigureDevice({}, Device::kCpu);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->dtype, "int16");
  EXPECT_EQ(device->activations, Activations::kInt16);
  EXPECT_EQ(device->kv_type, DType::kF16);
  EXPECT_EQ(device->kv_cache_dtype(), "float16");
  EXPECT_EQ(device->max_num_seqs, 16);
  EXPECT_EQ(device->max_num_batched_tokens, 64);
}

TEST(DeviceConfig, DefaultsOfCuda) {
  const auto device = ConfigureDevice({}, Device::kCuda);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->dtype, "bfloat16");
  EXPECT_EQ(device->compute, DType::kBF16);
  EXPECT_EQ(device->kv_type, DType::kBF16);
  EXPECT_EQ(device->kv_cache_dtype(), "bfloat16");
  EXPECT_EQ(device->max_num_seqs, 64);
  EXPECT_EQ(device->max_num_batched_tokens, 2048);
}

TEST(DeviceConfig, TypesOfEachDevice) {
  const struct {
    Device device;
    const char *dtype, *kv_cache_dtype, *expected_kv;  // "": refused
  } table[] = {
      {Device::kCpu, "int8", "auto", "float16"},
      {Device::kCpu, "int16", "float32", "float32"},
      {Device::kCpu, "float32", "auto", "float32"},
      {Device::kCpu, "float32", "float16", "float16"},
      {Device::kCpu, "bfloat16", "auto", ""},
      {Device::kCpu, "float16", "auto", ""},
      {Device::kCpu, "auto", "bfloat16", ""},
      {Device::kCuda, "bfloat16", "auto", "bfloat16"},
      {Device::kCuda, "float16", "auto", "bfloat16"},
      {Device::kCuda, "auto", "bfloat16", "bfloat16"},
      {Device::kCuda, "auto", "float16", ""},
      {Device::kCuda, "auto", "float32", ""},
      {Device::kCuda, "int8", "auto", ""},
      {Device::kCuda, "int16", "auto", ""},
      {Device::kCuda, "float32", "auto", ""},
  };
  for (const auto& row : table) {
    ServerConfig config;
    config.dtype = row.dtype;
    config.kv_cache_dtype = row.kv_cache_dtype;
    const auto device = ConfigureDevice(config, row.device);
    const std::string what = std::string(row.dtype) + " " + row.kv_cache_dtype;
    if (*row.expected_kv == '\0') {
      EXPECT_EQ(ExitCodeOf(device.status()), ExitCode::kConfig) << what;
    } else {
      ASSERT_TRUE(device.ok()) << what << ": " << device.status();
      EXPECT_EQ(device->kv_cache_dtype(), row.expected_kv) << what;
    }
  }
}

TEST(DeviceConfig, GivenNumbersAreTaken) {
  ServerConfig config;
  config.max_num_seqs = 3;
  config.max_num_batched_tokens = 7;
  for (const Device device : {Device::kCpu, Device::kCuda}) {
    EXPECT_EQ(ConfigureDevice(config, device)->max_num_seqs, 3);
    EXPECT_EQ(ConfigureDevice(config, device)->max_num_batched_tokens, 7);
  }
  config.max_num_batched_tokens = 2;
  EXPECT_EQ(ExitCodeOf(ConfigureDevice(config, Device::kCuda).status()), ExitCode::kConfig);
}

}  // namespace
}  // namespace cascade
