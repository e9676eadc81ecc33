// Files cut short or damaged anywhere: an error of one clear line or a whole model, never anything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "engine/model/model_weights.h"
#include "kernels/dequantize.h"
#include "tests/engine/model/model_test_util.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using ::testing::StartsWith;

struct Files {
  std::string bytes;
  size_t header = 0;
};

Files SmallFile() {
  TinyModelOptions options;
  options.hidden = 32;
  options.heads = 2;
  options.kv_heads = 1;
  options.ffn = 32;
  options.layers = 1;
  options.matrices = kernels::DType::kQ4_1;
  options.embeddings = kernels::DType::kQ8_0;
  Files files;
  files.bytes = TinyModel(options).Build(&files.header);
  return files;
}

void CheckError(const absl::Status& status) {
  const std::string message(status.message());
  EXPECT_TRUE(status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kDataLoss ||
              status.code() == absl::StatusCode::kUnimplemented)
      << status;
  EXPECT_THAT(message, StartsWith("model.gguf: "));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_LT(message.size(), 1000u);
}

// Reads all that a server would read.
void UseModel(const ModelSource& model) {
  const ModelConfig& config = model.config();
  for (const ExpectedWeight& expected : ExpectedWeights(config)) {
    const auto weight = model.FindWeight(expected.name);
    ASSERT_TRUE(weight.ok()) << weight.status();
    std::vector<float> row(static_cast<size_t>(weight->cols));
    const uint8_t* data = static_cast<const uint8_t*>(weight->data);
    for (int64_t i = 0; i < weight->rows; ++i) {
      kernels::DequantizeRow(weight->type, data, row.data(), weight->cols);
      data += kernels::RowBytes(weight->type, weight->cols);
    }
  }
  EXPECT_EQ(config.num_heads % config.num_kv_heads, 0);
  EXPECT_EQ(static_cast<int>(model.vocabulary().tokens.size()), config.vocabulary);
}

// True when it opened.
bool OpenDamaged(std::string_view bytes) {
  const auto model = OpenBytes(bytes);
  if (model.ok()) {
    UseModel(**model);
  } else {
    CheckError(model.status());
  }
  return model.ok();
}

TEST(GgufDamage, TheFileIsGood) { EXPECT_TRUE(OpenDamaged(SmallFile().bytes)); }

TEST(GgufDamage, CutAnywhereInTheHeader) {
  const Files files = SmallFile();
  ASSERT_GT(files.header, 4000u);
  for (size_t size = 0; size <= files.header; ++size) {
    ASSERT_FALSE(OpenDamaged(std::string_view(files.bytes).substr(0, size))) << size;
  }
}

TEST(GgufDamage, CutInTheData) {
  const Files files = SmallFile();
  std::mt19937_64 random(1);
  for (int i = 0; i < 500; ++i) {
    const size_t size = files.header + random() % (files.bytes.size() - files.header);
    ASSERT_FALSE(OpenDamaged(std::string_view(files.bytes).substr(0, size))) << size;
  }
  EXPECT_FALSE(OpenDamaged(std::string_view(files.bytes).substr(0, files.bytes.size() - 1)));
}

TEST(GgufDamage, BitFlipsInTheHeader) {
  const Files files = SmallFile();
  std::mt19937_64 random(2);
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    SCOPED_TRACE(i);
    std::string bytes = files.bytes;
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % files.header] ^= static_cast<char>(1 << (random() % 8));
    }
    opened += OpenDamaged(bytes);
  }
  EXPECT_LT(opened, 3000);
}

TEST(GgufDamage, DamagedBytes) {
  const Files files = SmallFile();
  std::mt19937_64 random(3);
  for (int i = 0; i < 1000; ++i) {
    SCOPED_TRACE(i);
    std::string bytes = files.bytes;
    for (uint64_t damages = 1 + random() % 16; damages > 0; --damages) {
      // Half of them where numbers that matter are, and often the nastiest values.
      const size_t place = random() % (random() % 2 == 0 ? files.header : bytes.size());
      const uint64_t kind = random() % 4;
      bytes[place] = kind == 0 ? '\0' : kind == 1 ? '\xff' : kind == 2 ? '\x80' : static_cast<char>(random());
    }
    OpenDamaged(bytes);
  }
}

TEST(GgufDamage, NastyNumbersAtEveryPlace) {
  const Files files = SmallFile();
  for (size_t place = 0; place + 8 <= files.header; place += 3) {
    for (const uint64_t nasty : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32}) {
      std::string bytes = files.bytes;
      std::memcpy(bytes.data() + place, &nasty, sizeof nasty);
      OpenDamaged(bytes);
    }
  }
}

}  // namespace
}  // namespace cascade
