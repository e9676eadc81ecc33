#include "engine/model/random_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "engine/model/model_weights.h"
#include "engine/model/random_weights.h"
#include "kernels/cpu_backend.h"
#include "kernels/dequantize.h"

namespace cascade {
namespace {

using kernels::DType;
using kernels::HostWeight;
using testing::HasSubstr;

TEST(RandomModel, ShapesAreThePublishedOnes) {
  const struct {
    const char* name;
    int64_t parameters;
    bool tied;
  } table[] = {{"random:llama-3.1-8b", 8'030'261'248, false},
               {"random:llama-3.2-1b", 1'235'814'400, true},
               {"random:smollm2-135m", 134'515'008, true}};
  for (const auto& row : table) {
    const auto source = OpenModel(row.name, RandomWeights::kOnDevice);
    ASSERT_TRUE(source.ok()) << source.status();
    const ModelConfig& config = (*source)->config();
    EXPECT_EQ(config.parameters, row.parameters) << row.name;
    EXPECT_EQ(config.tied_output, row.tied) << row.name;
    EXPECT_EQ(config.num_heads * config.head_dim, config.hidden) << row.name;
    EXPECT_NEAR(static_cast<double>(config.weight_bytes), 2.0 * static_cast<double>(row.parameters), 1e7);
    int64_t bytes = 0;
    for (const TensorSummary& tensor : (*source)->Tensors()) bytes += tensor.bytes;
    EXPECT_EQ(bytes, config.weight_bytes) << row.name;
    for (const ExpectedWeight& expected : ExpectedWeights(config)) {
      const auto weight = (*source)->FindWeight(expected.name);
      ASSERT_TRUE(weight.ok()) << weight.status();
      EXPECT_EQ(weight->data, nullptr);
      EXPECT_NE(weight->seed, 0u);
      EXPECT_EQ(weight->rows, expected.rows);
      EXPECT_EQ(weight->cols, expected.cols);
      EXPECT_EQ(weight->type, expected.vector ? DType::kF32 : DType::kBF16);
    }
    EXPECT_TRUE(absl::IsNotFound((*source)->FindWeight("blk.0.nothing").status()));
  }
}

TEST(RandomModel, TokenizerHasEveryByteAndTheShapesSize) {
  const auto source = OpenModel("random:smollm2-135m");
  ASSERT_TRUE(source.ok()) << source.status();
  const auto tokenizer = CreateTokenizer((*source)->vocabulary());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 49152);
  const auto ids = (*tokenizer)->Encode("Aa \xC3\xA9\n", false);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(DecodeText(**tokenizer, *ids), "Aa \xC3\xA9\n");
  EXPECT_EQ(DecodeText(**tokenizer, {300}), " w300");
  EXPECT_TRUE((*tokenizer)->end_ids().empty());
}

TEST(RandomModel, NamesThatAreNotKnown) {
  const struct {
    const char *name, *says;
  } table[] = {{"random:", "llama-3.1-8b, llama-3.2-1b, smollm2-135m"},
               {"random:llama-9", "llama-3.1-8b"},
               {"random:smollm2-135m:Q4_K", "BF16, F16, F32, Q8_0"},
               {"random:smollm2-135m:", "BF16"}};
  for (const auto& row : table) {
    const absl::Status status = OpenModel(row.name).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << row.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.says));
  }
}

TEST(RandomModel, LargeShapesAreNotMadeInHostMemory) {
  const auto source = OpenModel("random:llama-3.1-8b");
  ASSERT_TRUE(source.ok()) << source.status();
  const absl::Status status = (*source)->FindWeight("token_embd.weight").status();
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("CUDA"));
}

double Variance(const HostWeight& weight, const std::vector<uint8_t>& bytes) {
  const int64_t count = weight.rows * weight.cols;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    float value = 0;
    if (weight.type == DType::kF32) {
      std::memcpy(&value, &bytes[static_cast<size_t>(i) * 4], 4);
    } else if (weight.type == DType::kQ8_0) {
      const uint8_t* block = &bytes[static_cast<size_t>(i / 32) * 34];
      uint16_t scale;
      std::memcpy(&scale, block, 2);
      value = kernels::HalfToFloat(scale) * static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
    } else {
      uint16_t half;
      std::memcpy(&half, &bytes[static_cast<size_t>(i) * 2], 2);
      const uint32_t wide = static_cast<uint32_t>(half) << 16;
      if (weight.type == DType::kF16) {
        value = kernels::HalfToFloat(half);
      } else {
        std::memcpy(&value, &wide, 4);
      }
    }
    sum += static_cast<double>(value) * value;
  }
  return sum / static_cast<double>(count);
}

TEST(RandomWeights, HaveTheVarianceAndDependOnTheSeed) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    HostWeight weight = {nullptr, type, 300, 256, 7};
    const std::vector<uint8_t> bytes = MakeRandomWeight(weight);
    EXPECT_EQ(bytes.size(), kernels::RowBytes(type, 256) * 300);
    EXPECT_NEAR(Variance(weight, bytes) * 256, 1, 0.03) << kernels::Name(type);
    EXPECT_EQ(MakeRandomWeight(weight), bytes);
    weight.seed = 8;
    EXPECT_NE(MakeRandomWeight(weight), bytes);
  }
  const std::vector<uint8_t> gain = MakeRandomWeight({nullptr, DType::kF32, 1, 3, 7});
  std::vector<float> ones(3);
  std::memcpy(ones.data(), gain.data(), gain.size());
  EXPECT_EQ(ones, std::vector<float>(3, 1.0f));
}

TEST(RandomModel, RunsOnTheCpu) {
  const auto source = OpenModel("random:smollm2-135m:Q8_0");
  ASSERT_TRUE(source.ok()) << source.status();
  const auto backend = kernels::CreateCpuBackend({.num_threads = 2});
  ASSERT_TRUE(backend.ok());
  int64_t loaded = 0, calls = 0;
  const auto model = Llama::Load(**source, 4, **backend, [&](int64_t bytes) {
    EXPECT_GT(bytes, loaded);
    loaded = bytes;
    ++calls;
  });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(loaded, (*source)->config().weight_bytes);
  EXPECT_EQ(calls, static_cast<int64_t>(ExpectedWeights((*source)->config()).size()));
  const auto geometry = MakeGeometry({.cache_tokens = 64}, (*source)->config().max_positions);
  ASSERT_TRUE((*model)->CreateCaches(*geometry, DType::kF16, 1).ok());
  EXPECT_TRUE((*model)->WarmUp(*geometry, 1, 100).ok());
  std::vector<kernels::Segment> segments;
  const CascadePlan plan(*geometry);
  ForwardBatch batch;
  batch.ids = {65, 66, 67, 68};
  batch.slices = {plan.NextSlice(4, segments)};
  batch.sample_rows = {3};
  batch.samples = {{}};
  batch.vocabulary = (*model)->vocabulary();
  ForwardResult result;
  ASSERT_TRUE((*model)->Forward(batch, result).ok());
  ASSERT_EQ(result.sampled.size(), 1u);
  EXPECT_GE(result.sampled[0], 0);
}

}  // namespace
}  // namespace cascade
