// Random damage to files of every kind that we read: an error of one clear line, or a model that computes. In either
// case opening takes memory in proportion to the file only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "engine/cache/cascade_geometry.h"
#include "engine/model/llama.h"
#include "engine/model/model_weights.h"
#include "kernels/cpu_backend.h"
#include "tests/engine/model/model_test_util.h"
#include "tests/support/heap_peak.h"
#include "tests/support/quantize.h"
#include "tests/support/session_runner.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using kernels::DType;
using ::testing::StartsWith;

constexpr int kMutations = 2000;  // of each sort

struct File {
  std::string bytes;
  size_t header = 0;
};

File Built(const GgufWriter& writer) {
  File file;
  file.bytes = writer.Build(&file.header);
  return file;
}

// One with everything that a file may have; matrices of `type`, whose rows are whole blocks.
GgufWriter RichModel(DType type) {
  const bool wide = kernels::BlockElements(type) > 32;
  TinyModelOptions options;
  options.architecture = "qwen2";
  options.hidden = wide ? 256 : 32;
  options.ffn = options.hidden;
  options.heads = wide ? 8 : 2;
  options.kv_heads = 1;
  options.head_dim = 32;
  options.layers = 1;
  options.window = 300;
  options.linear_scaling = 2;
  options.rope_factors = std::vector<float>(16, 1.5f);
  options.vectors = DType::kBF16;
  options.tied_output = false;
  GgufWriter writer = TinyModel(options);
  writer.SetFloat32("qwen2.logit_scale", 1);
  writer.SetUint32("qwen2.expert_count", 0);
  std::mt19937 random(1);
  for (GgufWriter::Tensor& tensor : writer.tensors) {
    if (tensor.dims.size() < 2) continue;
    tensor.type = GgufTensorType(type);
    const int64_t elements = static_cast<int64_t>(tensor.dims[0] * tensor.dims[1]);
    if (kernels::IsQuantized(type)) {
      tensor.data = RandomBlocks(type, elements, random);
    } else {
      tensor.data = Quantize(type, std::vector<float>(static_cast<size_t>(elements), 0.125f));
    }
  }
  return writer;
}

// Damages up to 4 places, mostly in the header.
std::string Mutated(const File& file, std::mt19937_64& random) {
  static constexpr uint64_t kNasty[] = {
      0, 1, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32, 0x7fffffff, 0x80000000, 0x7fc000007fc00000, 0xff800000};
  std::string bytes = file.bytes;
  for (uint64_t damages = 1 + random() % 4; damages > 0 && bytes.size() > 16; --damages) {
    const size_t place = random() % std::min(bytes.size(), random() % 4 == 0 ? bytes.size() : file.header);
    const size_t room = bytes.size() - place;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        bytes[place] ^= static_cast<char>(1 << random() % 8);
        break;
      case 3:
        bytes[place] = static_cast<char>(random());
        break;
      case 4: {
        const uint64_t nasty = kNasty[random() % std::size(kNasty)];
        std::memcpy(bytes.data() + place, &nasty, std::min(room, size_t{4} << random() % 2));
        break;
      }
      case 5:
        bytes.erase(place, random() % 16);
        break;
      case 6:
        bytes.insert(place, bytes.substr(random() % bytes.size(), random() % 16));
        break;
      default:
        if (random() % 8 == 0) {
          bytes.resize(place);
        } else {  // swaps two stretches' worth of bytes: keys, types and offsets of others
          const size_t other = random() % file.header;
          const size_t length = std::min({room, file.bytes.size() - other, size_t{1} + random() % 12});
          std::memcpy(bytes.data() + place, file.bytes.data() + other, length);
        }
    }
  }
  return bytes;
}

// One forward pass, through cut slices and a score; what it computes may be nonsense, even NaN.
void Compute(const ModelSource& source) {
  const ModelConfig& config = source.config();
  ASSERT_TRUE(IsSupportedHeadDim(config.head_dim));
  ASSERT_EQ(config.num_heads % config.num_kv_heads, 0);
  ASSERT_EQ(config.rope.frequency.size(), static_cast<size_t>(config.head_dim / 2));
  ASSERT_FALSE(source.Tensors().empty());
  const auto geometry = MakeGeometry({.cache_tokens = 16, .num_sub_caches = 2}, config.max_positions);
  if (!geometry.ok()) return;  // fewer positions than the smallest cache: the server says so
  auto backend = kernels::CreateCpuBackend({.num_threads = 1});
  ASSERT_TRUE(backend.ok());
  const auto llama = Llama::Create(source, *geometry, DType::kF16, 1, 4, **backend);
  ASSERT_TRUE(llama.ok()) << llama.status();
  test::SessionRunner runner(**llama, *geometry, 0, 4);
  std::vector<int32_t> ids;
  for (int i = 0; i < 6; ++i) ids.push_back((i * 31 + 5) % config.vocabulary);
  EXPECT_EQ(runner.Score(ids).size(), ids.size());
  EXPECT_EQ(runner.Feed(ids).size(), static_cast<size_t>(config.vocabulary));
}

// Whether it opened.
bool OpenDamaged(MemoryFiles& files, const std::string& path, size_t file_bytes) {
  const test::HeapPeak peak;
  const auto model = OpenGgufModel(files, path);
  // The most costly byte is one of an empty string in a list: 8 in the file, 2 views and a string in memory.
  EXPECT_LT(peak.bytes(), 32 * file_bytes + (64 << 10)) << "of a file of " << file_bytes;
  if (model.ok()) {
    Compute(**model);
    return true;
  }
  const std::string message(model.status().message());
  EXPECT_TRUE(model.status().code() == absl::StatusCode::kInvalidArgument ||
              model.status().code() == absl::StatusCode::kDataLoss ||
              model.status().code() == absl::StatusCode::kNotFound ||
              model.status().code() == absl::StatusCode::kUnimplemented)
      << model.status();
  EXPECT_THAT(message, StartsWith("model"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_LT(message.size(), 1000u);
  return false;
}

TEST(GgufMutation, EveryType) {
  std::vector<File> originals;
  for (int type = 0; type < kernels::kNumDTypes; ++type)
    originals.push_back(Built(RichModel(static_cast<DType>(type))));
  for (const File& file : originals) {
    MemoryFiles files;
    files.contents["model.gguf"] = file.bytes;
    ASSERT_TRUE(OpenDamaged(files, "model.gguf", file.bytes.size()));
  }
  std::mt19937_64 random(11);
  int opened = 0;
  for (int i = 0; i < kMutations; ++i) {
    SCOPED_TRACE(i);
    MemoryFiles files;
    const std::string bytes = Mutated(originals[i % originals.size()], random);
    files.contents["model.gguf"] = bytes;
    opened += OpenDamaged(files, "model.gguf", bytes.size());
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(opened, kMutations / 100);  // both ways are taken
  EXPECT_LT(opened, kMutations * 9 / 10);
}

TEST(GgufMutation, SplitFiles) {
  constexpr int kParts = 3;
  std::vector<File> originals;
  for (const GgufWriter& part : SplitModel(RichModel(DType::kQ8_0), kParts, 4)) originals.push_back(Built(part));
  std::mt19937_64 random(12);
  int opened = 0;
  for (int i = 0; i < kMutations; ++i) {
    SCOPED_TRACE(i);
    MemoryFiles files;
    size_t size = 0;
    const uint64_t damaged = random() % (kParts + 1);  // one more: all
    for (int part = 0; part < kParts; ++part) {
      const bool damage = damaged == static_cast<uint64_t>(part) || damaged == kParts;
      const std::string bytes = damage ? Mutated(originals[part], random) : originals[part].bytes;
      size += bytes.size();
      files.contents[PartName("model", part, kParts)] = bytes;
    }
    opened += OpenDamaged(files, PartName("model", static_cast<int>(random() % kParts), kParts), size);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(opened, kMutations / 100);
  EXPECT_LT(opened, kMutations * 9 / 10);
}

// The keys of the configuration, each with every kind of value, alone and two at a time.
TEST(GgufMutation, ValuesOfKeys) {
  const GgufWriter original = RichModel(DType::kQ4_0);
  std::mt19937_64 random(13);
  int opened = 0;
  for (int i = 0; i < kMutations; ++i) {
    SCOPED_TRACE(i);
    GgufWriter writer = original;
    for (uint64_t changes = 1 + random() % 2; changes > 0; --changes) {
      const std::string key = writer.values[random() % writer.values.size()].key;
      static constexpr float kFloats[] = {0, -0.0f, 1, -1, 0.5f, 1e-30f, 3e38f, 65504, HUGE_VALF, NAN};
      static constexpr int64_t kInts[] = {0, 1, 2, 3, 16, 31, 32, 33, 255, 256, 272, 65536, -1, INT64_MAX, INT64_MIN};
      const int64_t number = kInts[random() % std::size(kInts)];
      switch (random() % 8) {
        case 0:
          writer.SetUint32(key, static_cast<uint32_t>(number));
          break;
        case 1:
          writer.SetRaw(key, 11, RawBytes(number));  // INT64
          break;
        case 2:
          writer.SetFloat32(key, kFloats[random() % std::size(kFloats)]);
          break;
        case 3:
          writer.SetBool(key, random() % 2 != 0);
          break;
        case 4:
          writer.SetString(key, random() % 2 == 0 ? "" : "llama");
          break;
        case 5:
          writer.SetInt32s(key, std::vector<int32_t>(random() % 300, static_cast<int32_t>(number)));
          break;
        case 6:
          writer.SetStrings(key, std::vector<std::string>(random() % 300, "a b"));
          break;
        default:
          writer.Remove(key);
      }
    }
    MemoryFiles files;
    const std::string bytes = writer.Build();
    files.contents["model.gguf"] = bytes;
    opened += OpenDamaged(files, "model.gguf", bytes.size());
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(opened, kMutations / 100);
  EXPECT_LT(opened, kMutations * 9 / 10);
}

}  // namespace
}  // namespace cascade
