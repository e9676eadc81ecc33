#include "server/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

std::string TemporaryPath(const std::string& name) {
  return testing::TempDir() + "fingerprint_test_" + std::to_string(getpid()) + "_" + name;
}

// Of a model in a file.
Digest FingerprintOf(const GgufWriter& writer, const std::string& name = "model.gguf") {
  const std::string path = TemporaryPath(name);
  writer.Write(path);
  const auto source = OpenModel(path);
  EXPECT_TRUE(source.ok()) << source.status();
  const auto digest = ModelFingerprint(**source, false);
  EXPECT_TRUE(digest.ok()) << digest.status();
  std::remove(path.c_str());
  return *digest;
}

Digest RandomFingerprint(const std::string& model, RandomWeights random) {
  return *ModelFingerprint(**OpenModel(model, random), true);
}

TEST(ModelFingerprint, IsOfWhatIsInTheFile) {
  EXPECT_EQ(FingerprintOf(TinyModel(), "here.gguf"), FingerprintOf(TinyModel(), "there.gguf"));
  GgufWriter renamed = TinyModel();
  renamed.SetString("general.name", "Another name");
  EXPECT_EQ(FingerprintOf(renamed), FingerprintOf(TinyModel()));
}

TEST(ModelFingerprint, ChangesWithWeightsShapeAndVocabulary) {
  std::set<Digest> digests = {FingerprintOf(TinyModel())};
  TinyModelOptions other_weights, longer, types, biases;
  other_weights.seed = 2;
  longer.context = 8192;
  types.embeddings = kernels::DType::kF16;
  biases.qkv_bias = true;
  for (const TinyModelOptions& options : {other_weights, longer, types, biases}) {
    EXPECT_TRUE(digests.insert(FingerprintOf(TinyModel(options))).second);
  }
  GgufWriter rope = TinyModel();
  rope.SetFloat32("llama.rope.freq_base", 10001.0f);
  EXPECT_TRUE(digests.insert(FingerprintOf(rope)).second);
  GgufWriter eos = TinyModel();
  eos.SetUint32("tokenizer.ggml.eos_token_id", 0);
  EXPECT_TRUE(digests.insert(FingerprintOf(eos)).second);
}

// Their bytes are not asked for, which would make them.
TEST(ModelFingerprint, OfRandomModels) {
  const std::string name = "random:llama-3.1-8b:Q8_0";
  EXPECT_EQ(RandomFingerprint(name, RandomWeights::kInHost), RandomFingerprint(name, RandomWeights::kOnDevice));
  EXPECT_NE(RandomFingerprint(name, RandomWeights::kInHost),
            RandomFingerprint("random:llama-3.1-8b:F16", RandomWeights::kInHost));
  EXPECT_NE(RandomFingerprint("random:llama-3.2-1b:Q8_0", RandomWeights::kInHost),
            RandomFingerprint(name, RandomWeights::kInHost));
}

struct Shapes {
  kernels::CacheShape shape;
  CascadeGeometry geometry;
  std::string layout = "cpu 1";
};

Shapes SomeShapes() {
  Shapes shapes;
  shapes.shape.num_layers = 2;
  shapes.shape.num_kv_heads = 3;
  shapes.shape.group = 4;
  shapes.shape.head_dim = 16;
  shapes.shape.rope.frequency = {1.0, 0.1};
  shapes.shape.num_sinks = 4;
  shapes.shape.ring_slots = {96, 64};
  shapes.shape.stride = 32;
  shapes.geometry.sub_cache_tokens = {64, 64};
  shapes.geometry.stride = 32;
  return shapes;
}

TEST(GeometryFingerprint, ChangesWithEveryField) {
  const std::function<void(Shapes*)> changes[] = {
      [](Shapes*) {},
      [](Shapes* s) { s->shape.num_layers = 3; },
      [](Shapes* s) { s->shape.num_kv_heads = 4; },
      [](Shapes* s) { s->shape.group = 1; },
      [](Shapes* s) { s->shape.head_dim = 32; },
      [](Shapes* s) { s->shape.kv_type = kernels::DType::kF32; },
      [](Shapes* s) { s->shape.rope.pairs = kernels::RopePairs::kHalves; },
      [](Shapes* s) { s->shape.rope.frequency[1] = std::nextafter(0.1, 1.0); },
      [](Shapes* s) { s->shape.rope.frequency.push_back(0.01); },
      [](Shapes* s) { s->shape.num_sinks = 0; },
      [](Shapes* s) {
        s->shape.ring_slots = {96, 6, 4};
      },
      [](Shapes* s) { s->shape.stride = 16; },
      [](Shapes* s) { s->shape.selection_group = 2; },
      [](Shapes* s) { s->shape.selection = kernels::Selection::kDistinctness; },
      [](Shapes* s) { s->shape.reduction = kernels::ScoreReduction::kMax; },
      [](Shapes* s) { s->shape.ema_decay = std::nextafter(s->shape.ema_decay, 0.0); },
      [](Shapes* s) { s->geometry.sub_cache_tokens = {128}; },
      [](Shapes* s) { s->layout = "cuda 1"; },
  };
  std::set<Digest> digests;
  for (const auto& change : changes) {
    Shapes shapes = SomeShapes();
    change(&shapes);
    EXPECT_TRUE(digests.insert(GeometryFingerprint(shapes.shape, shapes.geometry, shapes.layout)).second)
        << GeometryText(shapes.shape, shapes.geometry, shapes.layout);
  }
  EXPECT_EQ(digests.size(), std::size(changes));
}

// Servers of later versions read it, too: it must not change.
TEST(GeometryFingerprint, Text) {
  const Shapes shapes = SomeShapes();
  EXPECT_EQ(GeometryText(shapes.shape, shapes.geometry, shapes.layout),
            "cascade geometry 1\n"
            "layers 2 kv_heads 3 group 4 head_dim 16 kv_type F16\n"
            "sinks 4 rings 96,64 stride 32 selection_group 1 selection 0 reduction 0 ema_decay 0x1.fff2e48e8a71ep-1\n"
            "rope pairs 0 frequency 0x1p+0 0x1.999999999999ap-4\n"
            "W=64,64 S=32 g=1 s=4 both\n"
            "layout cpu 1\n");
}

}  // namespace
}  // namespace cascade
