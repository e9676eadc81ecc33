#include "tests/support/tiny_model.h"

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "tests/support/quantize.h"

namespace cascade {
namespace {

using kernels::DType;

constexpr char kChatTemplate[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Best first; each part is a byte or made by a merge above.
const std::pair<const char*, const char*> kMerges[] = {
    {"Ġ", "t"}, {"h", "e"}, {"Ġ", "a"}, {"i", "n"},  {"Ġt", "he"}, {"r", "e"},  {"o", "n"},
    {"e", "r"}, {"Ġ", "s"}, {"a", "n"}, {"in", "g"}, {"o", "u"},   {"Ġa", "n"},
};

std::string Utf8(uint32_t code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 63))};
}

// GPT-2's alphabet: printable bytes stand for themselves, the rest for code points from 256 on; printable ones first.
std::vector<std::string> ByteTokens() {
  std::vector<std::string> tokens;
  const auto printable = [](uint32_t byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  };
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (printable(byte)) tokens.push_back(Utf8(byte));
  }
  for (uint32_t extra = 256; tokens.size() < 256; ++extra) tokens.push_back(Utf8(extra));
  return tokens;
}

void SetVocabulary(GgufWriter& writer, int size) {
  constexpr int32_t kNormal = 1;
  constexpr int32_t kControl = 3;
  constexpr int32_t kUnused = 5;
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<int32_t> types(tokens.size(), kControl);
  for (std::string& token : ByteTokens()) tokens.push_back(std::move(token));
  std::vector<std::string> merges;
  for (const auto& [left, right] : kMerges) {
    tokens.push_back(std::string(left) + right);
    merges.push_back(std::string(left) + " " + right);
  }
  CASCADE_CHECK(static_cast<int>(tokens.size()) == kTinyModelTokens && size >= kTinyModelTokens);
  types.resize(tokens.size(), kNormal);
  types.resize(static_cast<size_t>(size), kUnused);
  while (static_cast<int>(tokens.size()) < size) tokens.push_back("<unused" + std::to_string(tokens.size()) + ">");

  writer.SetString("tokenizer.ggml.model", "gpt2");
  writer.SetString("tokenizer.ggml.pre", "smollm");
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetInt32s("tokenizer.ggml.token_type", types);
  writer.SetStrings("tokenizer.ggml.merges", merges);
  writer.SetUint32("tokenizer.ggml.bos_token_id", kTinyImStart);
  writer.SetUint32("tokenizer.ggml.eos_token_id", kTinyImEnd);
  writer.SetBool("tokenizer.ggml.add_bos_token", false);
  writer.SetString("tokenizer.chat_template", kChatTemplate);
}

// Uniform numbers of a given standard deviation; integers scaled once, so the same everywhere.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed) {}
  std::string Draw(DType type, uint64_t count, float deviation, float mean = 0.0f) {
    std::vector<float> values(count);
    const float width = deviation * 1.7320508f;  // sqrt(3)
    for (float& value : values) value = mean + width * Unit();
    return Quantize(type, values);
  }

 private:
  // In (-1, 1), by splitmix64.
  float Unit() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (static_cast<float>(z >> 40) + 0.5f) * 0x1p-23f - 1.0f;
  }

  uint64_t state_;
};

}  // namespace

GgufWriter TinyModel(const TinyModelOptions& options) {
  GgufWriter writer;
  const std::string prefix = options.architecture + ".";
  const auto u32 = [&](const char* key, int value) { writer.SetUint32(prefix + key, static_cast<uint32_t>(value)); };
  writer.SetString("general.architecture", options.architecture);
  writer.SetString("general.name", "Tiny");
  u32("block_count", options.layers);
  u32("context_length", options.context);
  u32("embedding_length", options.hidden);
  u32("feed_forward_length", options.ffn);
  u32("attention.head_count", options.heads);
  u32("attention.head_count_kv", options.kv_heads);
  if (options.head_dim * options.heads != options.hidden) {
    u32("attention.key_length", options.head_dim);
    u32("attention.value_length", options.head_dim);
  }
  if (options.window > 0) u32("attention.sliding_window", options.window);
  u32("rope.dimension_count", options.head_dim);
  u32("vocab_size", options.vocabulary);
  writer.SetFloat32(prefix + "rope.freq_base", options.rope_theta);
  if (options.linear_scaling != 0) {
    writer.SetString(prefix + "rope.scaling.type", "linear");
    writer.SetFloat32(prefix + "rope.scaling.factor", options.linear_scaling);
  }
  writer.SetFloat32(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  SetVocabulary(writer, options.vocabulary);

  Noise noise(options.seed);
  const auto size = [](int value) { return static_cast<uint64_t>(value); };
  const uint64_t hidden = size(options.hidden);
  const uint64_t ffn = size(options.ffn);
  const uint64_t vocabulary = size(options.vocabulary);
  const uint64_t queries = size(options.heads * options.head_dim);
  const uint64_t keys = size(options.kv_heads * options.head_dim);
  const auto table = [&](const char* name) {
    writer.AddTensor(name, {hidden, vocabulary}, options.embeddings,
                     noise.Draw(options.embeddings, hidden * vocabulary, 0.5f));
  };
  const auto gain = [&](const std::string& name) {
    writer.AddTensor(name, {hidden}, options.vectors, noise.Draw(options.vectors, hidden, 0.1f, 1.0f));
  };
  const auto bias = [&](const std::string& name, uint64_t rows) {
    writer.AddTensor(name, {rows}, options.vectors, noise.Draw(options.vectors, rows, 0.7f));
  };
  // `strength` is the ratio of the output's deviation to the input's.
  const auto matrix = [&](const std::string& name, uint64_t cols, uint64_t rows, float strength) {
    const float deviation = strength / std::sqrt(static_cast<float>(cols));
    writer.AddTensor(name, {cols, rows}, options.matrices, noise.Draw(options.matrices, cols * rows, deviation));
  };
  if (!options.rope_factors.empty()) {
    writer.AddTensor("rope_freqs.weight", {options.rope_factors.size()}, options.vectors,
                     Quantize(options.vectors, options.rope_factors));
  }
  table("token_embd.weight");
  gain("output_norm.weight");
  if (!options.tied_output) table("output.weight");
  // Strong layers: attention scores deviate by about 2, and what the layers add outweighs the token's own embedding, so
  // that a tied output does not merely repeat its input.
  for (int layer = 0; layer < options.layers; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    gain(block + "attn_norm.weight");
    matrix(block + "attn_q.weight", hidden, queries, 1.5f);
    matrix(block + "attn_k.weight", hidden, keys, 1.5f);
    matrix(block + "attn_v.weight", hidden, keys, 1.0f);
    if (options.qkv_bias || options.architecture == "qwen2") {
      bias(block + "attn_q.bias", queries);
      bias(block + "attn_k.bias", keys);
      bias(block + "attn_v.bias", keys);
    }
    matrix(block + "attn_output.weight", queries, hidden, 2.0f);
    gain(block + "ffn_norm.weight");
    matrix(block + "ffn_gate.weight", hidden, ffn, 1.5f);
    matrix(block + "ffn_up.weight", hidden, ffn, 1.5f);
    matrix(block + "ffn_down.weight", ffn, hidden, 1.5f);
  }
  return writer;
}

void WriteTinyModel(const std::string& path, const TinyModelOptions& options) { TinyModel(options).Write(path); }

}  // namespace cascade
