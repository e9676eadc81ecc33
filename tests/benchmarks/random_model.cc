// Writes a GGUF model of a given shape with random weights: for measuring start-up and arithmetic where no weights of
// that size are. It answers nonsense.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "tests/support/quantize.h"
#include "tests/support/tiny_model.h"

namespace {

using cascade::GgufWriter;
using cascade::kernels::DType;

struct Shape {
  int hidden, layers, heads, kv_heads, ffn, vocabulary;
};

const std::map<std::string, Shape> kShapes = {
    {"smollm2-135m", {576, 30, 9, 3, 1536, 49152}},
    {"llama-3.2-1b", {2048, 16, 32, 8, 8192, 128256}},
};

const std::map<std::string, DType> kTypes = {
    {"F32", DType::kF32},   {"F16", DType::kF16},   {"BF16", DType::kBF16}, {"Q4_0", DType::kQ4_0},
    {"Q4_1", DType::kQ4_1}, {"Q8_0", DType::kQ8_0}, {"Q4_K", DType::kQ4_K}, {"Q5_K", DType::kQ5_K},
    {"Q6_K", DType::kQ6_K},
};

class RandomModel {
 public:
  RandomModel(const Shape& shape, DType type) : shape_(shape), type_(type), writer_(MakeWriter(shape)) {}

  void Write(const std::string& path) {
    const auto u64 = [](int value) { return static_cast<uint64_t>(value); };
    const uint64_t hidden = u64(shape_.hidden), ffn = u64(shape_.ffn);
    const uint64_t keys = hidden / u64(shape_.heads) * u64(shape_.kv_heads);
    Matrix("token_embd.weight", hidden, u64(shape_.vocabulary));
    Gain("output_norm.weight");
    for (int layer = 0; layer < shape_.layers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      Gain(prefix + "attn_norm.weight");
      Matrix(prefix + "attn_q.weight", hidden, hidden);
      Matrix(prefix + "attn_k.weight", hidden, keys);
      Matrix(prefix + "attn_v.weight", hidden, keys);
      Matrix(prefix + "attn_output.weight", hidden, hidden);
      Gain(prefix + "ffn_norm.weight");
      Matrix(prefix + "ffn_gate.weight", hidden, ffn);
      Matrix(prefix + "ffn_up.weight", hidden, ffn);
      Matrix(prefix + "ffn_down.weight", ffn, hidden);
    }
    writer_.Write(path);
  }

 private:
  static GgufWriter MakeWriter(const Shape& shape) {
    cascade::TinyModelOptions tiny;
    tiny.vocabulary = shape.vocabulary;
    GgufWriter writer = cascade::TinyModel(tiny);  // its keys and tokenizer
    writer.tensors.clear();
    const auto set = [&](const char* key, int value) { writer.SetUint32(key, static_cast<uint32_t>(value)); };
    set("llama.block_count", shape.layers);
    set("llama.context_length", 8192);
    set("llama.embedding_length", shape.hidden);
    set("llama.feed_forward_length", shape.ffn);
    set("llama.attention.head_count", shape.heads);
    set("llama.attention.head_count_kv", shape.kv_heads);
    set("llama.rope.dimension_count", shape.hidden / shape.heads);
    return writer;
  }

  void Gain(const std::string& name) {
    const std::vector<float> ones(static_cast<size_t>(shape_.hidden), 1.0f);
    writer_.AddTensor(name, {static_cast<uint64_t>(shape_.hidden)}, DType::kF32, cascade::Quantize(DType::kF32, ones));
  }

  // A few thousand random rows' worth of blocks, repeated: quick to make, and no less work to multiply with.
  void Matrix(const std::string& name, uint64_t cols, uint64_t rows) {
    std::string& block = pattern_[cols];
    if (block.empty()) {
      std::vector<float> values(cols * 64);
      const float width = 1.7f / std::sqrt(static_cast<float>(cols));
      for (float& value : values) value = width * Unit();
      block = cascade::Quantize(type_, values);
    }
    const size_t bytes = block.size() / 64 * rows;
    std::string data;
    data.reserve(bytes);
    while (data.size() < bytes) data.append(block, 0, std::min(block.size(), bytes - data.size()));
    writer_.AddTensor(name, {cols, rows}, type_, std::move(data));
  }

  // In (-1, 1).
  float Unit() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int64_t>(state_)) * 0x1p-63f;
  }

  const Shape shape_;
  const DType type_;
  GgufWriter writer_;
  std::map<uint64_t, std::string> pattern_;  // by columns
  uint64_t state_ = 1;
};

}  // namespace

int main(int argc, char** argv) {
  std::string path, shape = "llama-3.2-1b", type = "Q8_0";
  CLI::App app("Writes a GGUF model with random weights");
  app.add_option("FILE", path)->required();
  const auto names = [](const auto& table) {
    std::vector<std::string> all;
    for (const auto& [name, value] : table) all.push_back(name);
    return all;
  };
  app.add_option("--shape", shape)->check(CLI::IsMember(names(kShapes)))->capture_default_str();
  app.add_option("--type", type)->check(CLI::IsMember(names(kTypes)))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  RandomModel(kShapes.at(shape), kTypes.at(type)).Write(path);
  return 0;
}
