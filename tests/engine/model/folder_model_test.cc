// Folders: weights by their names, shards and their index, what lies in the folder instead, and 2,000 damaged indexes.
#include "engine/model/folder_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "engine/model/model_weights.h"
#include "engine/model/safetensors.h"
#include "kernels/dequantize.h"
#include "tests/engine/model/folder_test_util.h"
#include "tests/support/heap_peak.h"

namespace cascade {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
constexpr char kConfig[] = "model/config.json";
constexpr char kSingle[] = "model/model.safetensors";
constexpr char kIndex[] = "model/model.safetensors.index.json";

void ExpectRefused(MemoryFiles& files, absl::StatusCode code, const std::string& words) {
  SCOPED_TRACE(words);
  const auto model = OpenFolderModel(files, "model");
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), code) << model.status();
  ExpectClearError(model.status(), "model");
  EXPECT_THAT(std::string(model.status().message()), HasSubstr(words));
}

void Change(MemoryFiles& files, const std::string& path, const std::function<void(Json&)>& change) {
  Json json = Json::parse(files.contents.at(path));
  change(json);
  files.contents[path] = json.dump();
}

// Changes the header of the one safetensors file and appends `more` to its data.
void ChangeHeader(MemoryFiles& files, const std::function<void(Json&, size_t data)>& change,
                  std::string_view more = "") {
  std::string& bytes = files.contents.at(kSingle);
  const std::string header = HeaderOf(bytes);
  const std::string data = bytes.substr(8 + header.size());
  Json json = Json::parse(header);
  change(json, data.size());
  bytes = SafetensorsBytes(json.dump(), data + std::string(more));
}

// Reads all that a server would read.
void UseModel(const ModelSource& model) {
  for (const ExpectedWeight& expected : ExpectedWeights(model.config())) {
    const auto weight = model.FindWeight(expected.name);
    ASSERT_TRUE(weight.ok()) << weight.status();
    ASSERT_EQ(weight->rows, expected.rows);
    ASSERT_EQ(weight->cols, expected.cols);
    std::vector<float> values(static_cast<size_t>(weight->rows * weight->cols));
    kernels::DequantizeRow(weight->type, weight->data, values.data(), static_cast<int64_t>(values.size()));
  }
  EXPECT_EQ(model.vocabulary().size, model.config().vocabulary);
}

TEST(FolderModel, OpensTheGoldens) {
  for (const char* name : {"llama", "llama3", "linear", "mistral", "qwen2"}) {
    for (const char* form : {"-files", "-shards"}) {
      SCOPED_TRACE(std::string(name) + form);
      const std::string folder = std::string(name) + form;
      const auto model = OpenFolderModel(GoldenModels() + "/" + folder + "/");
      ASSERT_TRUE(model.ok()) << model.status();
      UseModel(**model);
      const ModelConfig& config = (*model)->config();
      EXPECT_EQ(config.name, folder);
      EXPECT_EQ((*model)->chat_template(), ReadWhole(GoldenModels() + "/" + folder + "/chat_template.jinja"));
      EXPECT_EQ((*model)->vocabulary().eos_id,
                Json::parse(ReadWhole(GoldenModels() + "/" + folder + "/generation_config.json"))["eos_token_id"]);
      int64_t parameters = 0, bytes = 0;
      for (const TensorSummary& tensor : (*model)->Tensors()) {
        int64_t elements = 1;
        for (const int64_t dim : tensor.shape) elements *= dim;
        parameters += elements;
        bytes += tensor.bytes;
      }
      EXPECT_EQ(config.parameters, parameters);
      EXPECT_EQ(config.weight_bytes, bytes);
    }
  }
}

TEST(FolderModel, FormatAndTensorsInTheirOrder) {
  MemoryFiles files = GoldenFolder("llama-files");
  const auto model = OpenFolderModel(files, "model");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->format(), "safetensors");
  const auto tensors = (*model)->Tensors();
  ASSERT_EQ(tensors.size(), 21u);
  EXPECT_EQ(tensors[0].name, "lm_head.weight");
  EXPECT_EQ(tensors[0].type, kernels::DType::kF16);
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{272, 32}));
  EXPECT_EQ(tensors[0].bytes, 272 * 32 * 2);
  EXPECT_EQ(tensors[1].name, "model.embed_tokens.weight");

  const std::pair<const char*, std::vector<const char*>> kShards[] = {
      {"llama-shards", {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}},
      {"linear-shards",
       {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"}}};
  for (const auto& [folder, shards] : kShards) {
    MemoryFiles sharded = GoldenFolder(folder);
    const auto opened = OpenFolderModel(sharded, "model");
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ((*opened)->format(), "safetensors, " + std::to_string(shards.size()) + " shards");
    for (const char* shard : shards) EXPECT_EQ(sharded.contents.count(std::string("model/") + shard), 1u);
  }
}

TEST(FolderModel, WeightsByTheirNames) {
  MemoryFiles files = GoldenFolder("qwen2-files");
  const GuardedFile file(files.contents.at(kSingle));
  const auto parsed = ParseSafetensors(file.bytes(), "f");
  const auto model = OpenFolderModel(files, "model");
  ASSERT_TRUE(model.ok()) << model.status();
  const std::pair<const char*, const char*> kNames[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
      {"blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight"},
      {"blk.1.attn_q.bias", "model.layers.1.self_attn.q_proj.bias"},
      {"blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"},
      {"blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"},
      {"blk.1.attn_output.weight", "model.layers.1.self_attn.o_proj.weight"},
      {"blk.1.ffn_norm.weight", "model.layers.1.post_attention_layernorm.weight"},
      {"blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight"},
      {"blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"},
      {"blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"}};
  for (const auto& [gguf, folder] : kNames) {
    SCOPED_TRACE(gguf);
    const auto weight = (*model)->FindWeight(gguf);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const SafetensorsTensor& tensor = parsed->at(folder);
    EXPECT_EQ(std::memcmp(weight->data, tensor.bytes.data(), tensor.bytes.size()), 0);
  }
  EXPECT_EQ((*model)->FindWeight("output.weight").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*model)->FindWeight("model.norm.weight").status().code(), absl::StatusCode::kNotFound);
}

TEST(FolderModel, TiedOutput) {
  const Json head = {{"dtype", "F16"}, {"shape", {272, 32}}};
  const std::string more(272 * 32 * 2, '\0');
  const auto add_head = [&](Json& json, size_t data) {
    json["lm_head.weight"] = head;
    json["lm_head.weight"]["data_offsets"] = {data, data + more.size()};
  };
  // Present although tied: which of the two is meant?
  MemoryFiles other = GoldenFolder("qwen2-files");
  ChangeHeader(other, add_head, more);
  ExpectRefused(
      other, kInvalid,
      "tensor 'lm_head.weight': differs from 'model.embed_tokens.weight' although key 'tie_word_embeddings' is "
      "true in config.json");
  // A copy of the table does no harm.
  MemoryFiles tied = GoldenFolder("qwen2-files");
  const auto source = OpenFolderModel(tied, "model");
  const auto weight = (*source)->FindWeight("token_embd.weight");
  ASSERT_TRUE(weight.ok());
  const size_t bytes = kernels::RowBytes(weight->type, weight->cols) * static_cast<size_t>(weight->rows);
  const std::string copy(static_cast<const char*>(weight->data), bytes);
  MemoryFiles twice = GoldenFolder("qwen2-files");
  ChangeHeader(
      twice,
      [&](Json& json, size_t data) {
        json["lm_head.weight"] = json["model.embed_tokens.weight"];
        json["lm_head.weight"]["data_offsets"] = {data, data + copy.size()};
      },
      copy);
  const auto model = OpenFolderModel(twice, "model");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->config().tied_output);
  EXPECT_EQ((*model)->Tensors().back().name, "lm_head.weight");
  // Absent although the classes do not tie on their own.
  MemoryFiles absent = GoldenFolder("qwen2-files");
  Change(absent, kConfig, [](Json& json) { json.erase("tie_word_embeddings"); });
  ExpectRefused(
      absent, kInvalid,
      "tensor 'lm_head.weight': missing, expected shape [272, 32] (or key 'tie_word_embeddings' true in config.json)");
}

TEST(FolderModel, WeightsMustFit) {
  MemoryFiles files = GoldenFolder("llama-files");
  ChangeHeader(files, [](Json& json, size_t) { json["model.norm.weight"]["shape"] = {1, 32}; });
  ExpectRefused(files, kInvalid, "tensor 'model.norm.weight': found shape [1, 32], expected [32]");

  files = GoldenFolder("llama-files");
  Change(files, kConfig, [](Json& json) { json["vocab_size"] = 273; });
  ExpectRefused(files, kInvalid, "tensor 'model.embed_tokens.weight': found shape [272, 32], expected [273, 32]");

  files = GoldenFolder("llama-files");
  Change(files, kConfig, [](Json& json) { json["num_hidden_layers"] = 1 << 24; });
  ExpectRefused(files, kInvalid, "config.json: key 'num_hidden_layers': found 16777216, expected 9 tensors for each");

  files = GoldenFolder("llama-files");
  Change(files, kConfig, [](Json& json) { json["num_hidden_layers"] = 1; });
  ExpectRefused(files, kUnimplemented, "tensor 'model.layers.1.input_layernorm.weight': not a weight of the 'llama'");

  files = GoldenFolder("qwen2-files");
  Change(files, kConfig, [](Json& json) {
    json["architectures"] = {"LlamaForCausalLM"};
    json["model_type"] = "llama";
  });
  ExpectRefused(files, kUnimplemented, "tensor 'model.layers.0.self_attn.k_proj.bias': not a weight");

  files = GoldenFolder("llama-files");
  ChangeHeader(files, [](Json& json, size_t) { json["model.norm.weight"]["dtype"] = "I16"; });
  ExpectRefused(files, kUnimplemented, "model/model.safetensors: tensor 'model.norm.weight': found type 'I16'");
}

TEST(FolderModel, DerivedBuffersAreLeftAlone) {
  MemoryFiles files = GoldenFolder("llama-files");
  ChangeHeader(
      files,
      [](Json& json, size_t data) {
        json["model.layers.0.self_attn.rotary_emb.inv_freq"] = {
            {"dtype", "F32"}, {"shape", {2}}, {"data_offsets", {data, data + 8}}};
      },
      "12345678");
  EXPECT_TRUE(OpenFolderModel(files, "model").ok());
}

TEST(FolderModel, TheIndexAndTheShardsAgree) {
  const MemoryFiles good = GoldenFolder("llama-shards");
  const auto refused = [&](const std::function<void(Json & map)>& change, absl::StatusCode code,
                           const std::string& words) {
    MemoryFiles files = good;
    Change(files, kIndex, [&](Json& json) { change(json["weight_map"]); });
    ExpectRefused(files, code, words);
  };
  for (const char* name : {"../model-00002-of-00002.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\b"}) {
    refused([&](Json& map) { map["model.norm.weight"] = name; }, kInvalid, "expected the name of a file in the folder");
  }
  refused([](Json& map) { map["model.norm.weight"] = std::string("a\0b", 3); }, kInvalid, "tensor 'model.norm.weight'");
  refused([](Json& map) { map["model.norm.weight"] = 3; }, kInvalid, "tensor 'model.norm.weight': found 3, expected");
  refused(
      [](Json& map) { map["model.norm.weight"] = "model-3.safetensors"; }, absl::StatusCode::kNotFound,
      "model/'model-3.safetensors': missing; model.safetensors.index.json says that the tensor 'model.norm.weight'");
  refused([](Json& map) { map["model.norm.weight"] = "config.json"; }, kInvalid,
          "model/config.json: not a safetensors file");
  refused([](Json& map) { map["lm_head.weight"] = "model-00001-of-00002.safetensors"; }, kInvalid,
          "tensor 'lm_head.weight': is not in its shard 'model-00001-of-00002.safetensors', but in another");
  refused([](Json& map) { map["extra"] = "model-00001-of-00002.safetensors"; }, kInvalid,
          "tensor 'extra': is not in its shard");
  refused([](Json& map) { map.erase("model.norm.weight"); }, kInvalid,
          "tensor 'model.norm.weight': is not in model.safetensors.index.json");
  refused([](Json& map) { map = Json::object(); }, kInvalid,
          "key 'weight_map': found an object, expected an object of tensors");
  refused([](Json& map) { map = nullptr; }, kInvalid, "key 'weight_map': found null");
  MemoryFiles twice = good;
  twice.contents["model/copy"] = twice.contents["model/model-00002-of-00002.safetensors"];
  Change(twice, kIndex, [](Json& json) { json["weight_map"]["model.norm.weight"] = "copy"; });
  ExpectRefused(twice, kInvalid, "is also in model/");
}

// It is read as a whole, with all that nobody asks for: that must stay small.
TEST(FolderModel, TheIndexIsBounded) {
  constexpr size_t kMost = 10'000'000;
  MemoryFiles files = GoldenFolder("llama-shards");
  std::string index = Json::parse(files.contents.at(kIndex)).dump();
  index.pop_back();
  index += ",\"x\":[0";
  while (index.size() + 4 <= kMost) index += ",0";
  index += "]}";
  files.contents[kIndex] = index;
  {
    const test::HeapPeak peak;
    const auto model = OpenFolderModel(files, "model");
    EXPECT_TRUE(model.ok()) << model.status();
    EXPECT_LT(peak.bytes(), 32 * kMost);
  }
  files.contents[kIndex] += std::string(kMost + 1 - index.size(), ' ');
  ExpectRefused(files, kInvalid, "model.safetensors.index.json: found 10000001 bytes, expected at most 10000000");
}

TEST(FolderModel, GitLfsPointers) {
  for (const char* folder : {"llama-files", "llama-shards"}) {
    const MemoryFiles good = GoldenFolder(folder);
    for (const auto& [path, bytes] : good.contents) {
      MemoryFiles files = good;
      files.contents[path] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n";
      ExpectRefused(files, kInvalid, path + ": is a Git LFS pointer; fetch the file itself with git lfs pull");
    }
  }
  MemoryFiles files = GoldenFolder("llama-files");
  files.contents["model/tokenizer.model"] = "version https://git-lfs.github.com/spec/v1\n";
  ExpectRefused(files, kInvalid, "model/tokenizer.model: is a Git LFS pointer");
}

TEST(FolderModel, MissingAndOptionalFiles) {
  for (const char* optional :
       {"model/generation_config.json", "model/tokenizer_config.json", "model/chat_template.jinja"}) {
    SCOPED_TRACE(optional);
    MemoryFiles files = GoldenFolder("llama-files");
    ASSERT_EQ(files.contents.erase(optional), 1u);
    const auto model = OpenFolderModel(files, "model");
    EXPECT_TRUE(model.ok()) << model.status();
  }
  MemoryFiles files = GoldenFolder("llama-files");
  files.contents.erase(kSingle);
  ExpectRefused(files, kInvalid, "model/model.safetensors: missing, as is model.safetensors.index.json");
  files.contents.erase(kConfig);
  ExpectRefused(files, kInvalid, "model/config.json: missing");
  files = GoldenFolder("llama-files");
  files.contents.erase("model/tokenizer.json");
  ExpectRefused(files, kInvalid, "tokenizer");
}

TEST(FolderModel, SaysWhatLiesThereInstead) {
  std::string pattern = ::testing::TempDir() + "/folder_model_XXXXXX";
  const std::filesystem::path folder = mkdtemp(pattern.data());
  const auto message = [&](const std::string& path) {
    const auto model = OpenFolderModel(path);
    EXPECT_FALSE(model.ok());
    ExpectClearError(model.status(), path);
    return std::string(model.status().message());
  };
  EXPECT_THAT(message((folder / "none").string()), HasSubstr("no such folder"));
  EXPECT_THAT(message(folder.string()), HasSubstr("/config.json: missing, expected in the folder of a model"));
  std::ofstream(folder / "pytorch_model.bin") << "PK";
  EXPECT_THAT(message(folder.string()), HasSubstr("'pytorch_model.bin' is a pickle, which is not read"));
  std::ofstream(folder / "config.json") << R"({"model_type":"llama"})";
  EXPECT_THAT(message(folder.string()), HasSubstr("model.safetensors: missing, as is model.safetensors.index.json; "
                                                  "'pytorch_model.bin' is a pickle"));
  std::ofstream(folder / "consolidated.safetensors") << "x";
  EXPECT_THAT(message(folder.string()), HasSubstr("'consolidated.safetensors' is not called as"));
  std::ofstream(folder / "tiny.gguf") << "GGUF";
  EXPECT_THAT(message(folder.string()), HasSubstr("'tiny.gguf' is a model of its own: give that file"));
  std::ofstream(folder / "adapter_config.json") << "{}";
  EXPECT_THAT(message(folder.string()), HasSubstr("is an adapter: merge it"));
  EXPECT_THAT(message((folder / "tiny.gguf").string()), HasSubstr("is not a folder"));
  std::filesystem::remove_all(folder);
}

TEST(FolderModelDamage, TwoThousandIndexes) {
  const MemoryFiles good = GoldenFolder("llama-shards");
  Json json = Json::parse(good.contents.at(kIndex));
  json["metadata"] = Notes();
  const std::string index = json.dump();
  std::mt19937_64 random(3);
  MemoryFiles files = good;
  int opened = 0;
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    files.contents[kIndex] = DamagedJson(index, random, i % 2 == 0 ? 1 : 4);
    const test::HeapPeak peak;
    const auto model = OpenFolderModel(files, "model");
    EXPECT_LT(peak.bytes(), MostHeap(ParsedBytes(files)));
    if (!model.ok()) ExpectClearError(model.status(), "model");
    if (!model.ok()) continue;
    UseModel(**model);
    ++opened;
  }
  EXPECT_GT(opened, 200);
  EXPECT_LT(opened, 1000);
}

// The other two files through the whole of it: what a damaged one lets pass must still be a whole model.
TEST(FolderModelDamage, ConfigurationsAndHeadersThatOpen) {
  const MemoryFiles good = GoldenFolder("qwen2-files");
  Json json = Json::parse(HeaderOf(good.contents.at(kSingle)));
  const std::string data = good.contents.at(kSingle).substr(8 + HeaderOf(good.contents.at(kSingle)).size());
  json["__metadata__"] = Notes();
  const std::string header = json.dump();
  std::mt19937_64 random(4);
  int opened[2] = {};
  for (int i = 0; i < 1000; ++i) {
    SCOPED_TRACE(i);
    MemoryFiles files = good;
    if (i % 2 == 0) {
      files.contents[kConfig] = DamagedJson(files.contents[kConfig], random, 2);
    } else {
      files.contents[kSingle] = SafetensorsBytes(DamagedJson(header, random, 2), data);
    }
    const test::HeapPeak peak;
    const auto model = OpenFolderModel(files, "model");
    EXPECT_LT(peak.bytes(), MostHeap(ParsedBytes(files)));
    opened[i % 2] += model.ok();
    if (!model.ok()) ExpectClearError(model.status(), "model");
    if (model.ok()) UseModel(**model);
  }
  for (const int of_one : opened) {
    EXPECT_GT(of_one, 50);
    EXPECT_LT(of_one, 350);
  }
}

}  // namespace
}  // namespace cascade
