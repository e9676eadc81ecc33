#include "server/fingerprint.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/model/model_weights.h"

namespace cascade {
namespace {

constexpr size_t kWeightEndBytes = 4096;

// Hashes fields one after the other; texts with their lengths, so that no two lists of fields read the same.
class FieldHash {
 public:
  void Number(int64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
    hash_.Update(bytes);
  }
  void Real(double value) { Number(std::bit_cast<int64_t>(value)); }
  void Bytes(std::span<const uint8_t> bytes) {
    Number(static_cast<int64_t>(bytes.size()));
    hash_.Update(bytes);
  }
  void Text(std::string_view text) { Bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }
  template <class Values, class Add>
  void List(const Values& values, const Add& add) {
    Number(static_cast<int64_t>(values.size()));
    for (const auto& value : values) add(value);
  }
  Digest Finish() { return hash_.Finish(); }

 private:
  Sha256 hash_;
};

void AddConfig(const ModelConfig& config, FieldHash& hash) {
  hash.Text(config.architecture);
  for (const int64_t number :
       {int64_t{config.num_layers}, int64_t{config.hidden}, int64_t{config.num_heads}, int64_t{config.num_kv_heads},
        int64_t{config.head_dim}, int64_t{config.ffn}, int64_t{config.vocabulary}, config.max_positions, config.window,
        int64_t{config.qkv_bias}, int64_t{config.tied_output}, config.parameters, config.weight_bytes,
        static_cast<int64_t>(config.rope.pairs)}) {
    hash.Number(number);
  }
  hash.Real(config.rms_eps);
  hash.List(config.rope.frequency, [&](double frequency) { hash.Real(frequency); });
}

void AddVocabulary(const Vocabulary& vocabulary, FieldHash& hash) {
  hash.Number(static_cast<int64_t>(vocabulary.kind));
  hash.Text(vocabulary.pre_tokenizer);
  hash.Text(vocabulary.sentencepiece_model);
  for (const int64_t number :
       {int64_t{vocabulary.nfc}, int64_t{vocabulary.size}, static_cast<int64_t>(vocabulary.space_prefix),
        int64_t{vocabulary.ignore_merges}, int64_t{vocabulary.bos_id}, int64_t{vocabulary.eos_id},
        int64_t{vocabulary.eot_id}, int64_t{vocabulary.unknown_id}, int64_t{vocabulary.add_bos}}) {
    hash.Number(number);
  }
  hash.List(vocabulary.tokens, [&](const std::string& token) { hash.Text(token); });
  hash.List(vocabulary.types, [&](TokenType type) { hash.Number(static_cast<int64_t>(type)); });
  hash.List(vocabulary.merges, [&](const std::string& merge) { hash.Text(merge); });
  hash.List(vocabulary.scores, [&](float score) { hash.Real(score); });
  hash.List(vocabulary.end_ids, [&](int32_t id) { hash.Number(id); });
  hash.List(vocabulary.added, [&](const AddedToken& token) {
    hash.Number(token.id);
    hash.Text(token.text);
    for (const bool flag : {token.special, token.strip_left, token.strip_right, token.normalized}) hash.Number(flag);
  });
}

absl::Status AddWeights(const ModelSource& source, FieldHash& hash) {
  for (const ExpectedWeight& expected : ExpectedWeights(source.config())) {
    const absl::StatusOr<kernels::HostWeight> weight = source.FindWeight(expected.name);
    if (!weight.ok()) return weight.status();
    const size_t bytes = kernels::RowBytes(weight->type, weight->cols) * static_cast<size_t>(weight->rows);
    const std::span<const uint8_t> data(static_cast<const uint8_t*>(weight->data), bytes);
    const size_t end = std::min(bytes, kWeightEndBytes);
    hash.Text(expected.name);
    hash.Bytes(data.first(end));
    hash.Bytes(data.last(end));
  }
  return absl::OkStatus();
}

// Every bit of it: hexadecimal.
std::string Exact(double value) {
  char buffer[48];
  std::snprintf(buffer, sizeof(buffer), "%a", value);
  return buffer;
}

}  // namespace

absl::StatusOr<Digest> ModelFingerprint(const ModelSource& source, bool random_weights) {
  FieldHash hash;
  hash.Text("cascade model 1");
  AddConfig(source.config(), hash);
  AddVocabulary(source.vocabulary(), hash);
  hash.List(source.Tensors(), [&](const TensorSummary& tensor) {
    hash.Text(tensor.name);
    hash.Text(kernels::Name(tensor.type));
    hash.List(tensor.shape, [&](int64_t size) { hash.Number(size); });
    hash.Number(tensor.bytes);
  });
  hash.Number(random_weights);
  if (!random_weights) {
    if (absl::Status status = AddWeights(source, hash); !status.ok()) return status;
  }
  return hash.Finish();
}

std::string GeometryText(const kernels::CacheShape& shape, const CascadeGeometry& geometry,
                         std::string_view slot_layout) {
  std::string text =
      absl::StrCat("cascade geometry 1\nlayers ", shape.num_layers, " kv_heads ", shape.num_kv_heads, " group ",
                   shape.group, " head_dim ", shape.head_dim, " kv_type ", std::string(kernels::Name(shape.kv_type)),
                   "\nsinks ", shape.num_sinks, " rings ", absl::StrJoin(shape.ring_slots, ","), " stride ",
                   shape.stride, " selection_group ", shape.selection_group, " selection ",
                   static_cast<int>(shape.selection), " reduction ", static_cast<int>(shape.reduction), " ema_decay ",
                   Exact(shape.ema_decay), "\nrope pairs ", static_cast<int>(shape.rope.pairs), " frequency");
  for (const double frequency : shape.rope.frequency) absl::StrAppend(&text, " ", Exact(frequency));
  absl::StrAppend(&text, "\n", geometry.ToString(), "\nlayout ", std::string(slot_layout), "\n");
  return text;
}

Digest GeometryFingerprint(const kernels::CacheShape& shape, const CascadeGeometry& geometry,
                           std::string_view slot_layout) {
  const std::string text = GeometryText(shape, geometry, slot_layout);
  return Sha256Of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace cascade
