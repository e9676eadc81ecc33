// From a path: what is not a readable regular file, and the demo model itself.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/model/folder_model.h"
#include "engine/model/model_source.h"
#include "engine/model/model_weights.h"
#include "kernels/dequantize.h"
#include "tests/engine/model/folder_test_util.h"
#include "tests/support/sha1.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class OpenModelTest : public ::testing::Test {
 protected:
  OpenModelTest() {
    std::string pattern = ::testing::TempDir() + "/open_model_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~OpenModelTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const char* name) const { return (directory_ / name).string(); }
  static void ExpectRefused(const std::string& path, absl::StatusCode code, const char* words) {
    const auto model = OpenModel(path);
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.status().code(), code) << model.status();
    const std::string message(model.status().message());
    EXPECT_THAT(message, StartsWith(path));
    EXPECT_THAT(message, HasSubstr(words));
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }

  std::filesystem::path directory_;
};

TEST_F(OpenModelTest, OpensAFile) {
  WriteTinyModel(Path("tiny.gguf"));
  const auto model = OpenModel(Path("tiny.gguf"));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().name, "Tiny");
}

TEST_F(OpenModelTest, FollowsLinks) {
  WriteTinyModel(Path("tiny.gguf"));
  std::filesystem::create_symlink(Path("tiny.gguf"), Path("link.gguf"));
  EXPECT_TRUE(OpenModel(Path("link.gguf")).ok());
}

TEST_F(OpenModelTest, StaysReadableAfterItsFileIsReplaced) {
  WriteTinyModel(Path("tiny.gguf"));
  const auto model = OpenModel(Path("tiny.gguf"));
  ASSERT_TRUE(model.ok());
  std::filesystem::remove(Path("tiny.gguf"));
  const auto weight = (*model)->FindWeight("output_norm.weight");
  ASSERT_TRUE(weight.ok());
  EXPECT_NEAR(static_cast<const float*>(weight->data)[0], 1.0f, 0.2f);
}

TEST_F(OpenModelTest, Missing) {
  ExpectRefused(Path("none.gguf"), absl::StatusCode::kNotFound, "cannot open: No such file");
  std::filesystem::create_symlink(Path("nowhere"), Path("dangling"));
  ExpectRefused(Path("dangling"), absl::StatusCode::kNotFound, "cannot open");
  ExpectRefused("", absl::StatusCode::kInvalidArgument, "file name is empty");
}

TEST_F(OpenModelTest, NotARegularFile) {
  // A directory may be a model's folder; this one is none.
  EXPECT_EQ(OpenModel(directory_.string()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(OpenModel(directory_.string()).status().message()), StartsWith(directory_.string()));
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  ExpectRefused(Path("pipe"), absl::StatusCode::kInvalidArgument, "is not a regular file");
  ExpectRefused("/dev/zero", absl::StatusCode::kInvalidArgument, "is not a regular file");
}

TEST_F(OpenModelTest, EmptyAndForeignFiles) {
  WriteFile(Path("empty"), "");
  ExpectRefused(Path("empty"), absl::StatusCode::kInvalidArgument, "is empty");
  const std::string json = "{\"tensor\":{}}";
  const struct {
    std::string bytes;
    const char* words;
  } kFiles[] = {
      {"{\"model\": \"not this one\"}", "not a GGUF file: begins with '{\\\"mo', expected 'GGUF'"},
      {RawBytes<uint64_t>(json.size()) + json,
       "not a GGUF file: a single safetensors file, expected the folder that has it together with config.json"},
      {"PK\x03\x04 archive/data.pkl", "not a GGUF file: a PyTorch checkpoint, expected GGUF or a folder"},
      {"\x80\x02}q\x01", "not a GGUF file: a PyTorch checkpoint"},
      {"tjgg 1234", "not a GGUF file: a GGML file, older than GGUF"},
      {"version https://git-lfs", "not a GGUF file: a Git LFS pointer"},
      {"FUUG", "begins with 'FUUG'"},
  };
  for (const auto& file : kFiles) {
    WriteFile(Path("file"), file.bytes);
    ExpectRefused(Path("file"), absl::StatusCode::kInvalidArgument, file.words);
  }
}

TEST_F(OpenModelTest, SplitFiles) {
  const std::vector<GgufWriter> parts = SplitModel(TinyModel(), 3);
  for (int i = 0; i < 3; ++i) parts[static_cast<size_t>(i)].Write(PartName(Path("tiny"), i, 3));
  for (int i = 0; i < 3; ++i) {
    const auto model = OpenModel(PartName(Path("tiny"), i, 3));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->format(), "GGUF v3, 3 parts");
  }
  std::filesystem::remove(PartName(Path("tiny"), 2, 3));
  const auto model = OpenModel(PartName(Path("tiny"), 0, 3));
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(model.status().message()), StartsWith(PartName(Path("tiny"), 2, 3)));
}

TEST_F(OpenModelTest, ReadsTheSameAfterItsPagesWereLetGo) {
  TinyModelOptions options;
  options.layers = 8;
  WriteTinyModel(Path("tiny.gguf"), options);
  const auto model = OpenModel(Path("tiny.gguf"));
  ASSERT_TRUE(model.ok());
  for (const TensorSummary& tensor : (*model)->Tensors()) {
    const auto weight = (*model)->FindWeight(tensor.name);
    const char* const data = static_cast<const char*>(weight->data);
    (*model)->PrefetchWeight(tensor.name);
    const std::string before(data, static_cast<size_t>(tensor.bytes));
    (*model)->ReleaseWeight(tensor.name);
    EXPECT_EQ(before, std::string(data, static_cast<size_t>(tensor.bytes))) << tensor.name;
  }
}

// A hint, and the file that it was given to.
struct Hint {
  std::span<const uint8_t> part;
  std::span<const uint8_t> file;
};

// Keeps the hints that its files are given.
class RecordingFiles final : public FileSystem {
 public:
  explicit RecordingFiles(MemoryFiles files) : files_(std::move(files)) {}
  std::vector<Hint> prefetched, released;

  absl::StatusOr<std::unique_ptr<MappedFile>> Map(const std::string& path) override {
    auto file = files_.Map(path);
    if (!file.ok()) return file.status();
    return std::make_unique<File>(*std::move(file), *this);
  }

 private:
  class File final : public MappedFile {
   public:
    File(std::unique_ptr<MappedFile> file, RecordingFiles& owner) : file_(std::move(file)), owner_(owner) {}
    std::span<const uint8_t> bytes() const override { return file_->bytes(); }
    void Prefetch(std::span<const uint8_t> part) const override { owner_.prefetched.push_back({part, bytes()}); }
    void Release(std::span<const uint8_t> part) const override { owner_.released.push_back({part, bytes()}); }

   private:
    std::unique_ptr<MappedFile> file_;
    RecordingFiles& owner_;
  };

  MemoryFiles files_;
};

void ExpectOneHint(std::vector<Hint>& hints, std::span<const uint8_t> weight) {
  ASSERT_EQ(hints.size(), 1u);
  const auto [part, file] = hints[0];
  hints.clear();
  EXPECT_EQ(part.data(), weight.data());
  EXPECT_EQ(part.size(), weight.size());
  EXPECT_GE(part.data(), file.data());
  EXPECT_LE(part.data() + part.size(), file.data() + file.size());
}

// Each weight's hints go to the file that it is in, and say its bytes and no others.
void ExpectHintsOfTheWeights(const absl::StatusOr<std::unique_ptr<ModelSource>>& model, RecordingFiles& files) {
  ASSERT_TRUE(model.ok()) << model.status();
  for (const ExpectedWeight& expected : ExpectedWeights((*model)->config())) {
    SCOPED_TRACE(expected.name);
    const auto weight = (*model)->FindWeight(expected.name);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const size_t size = static_cast<size_t>(weight->rows) * kernels::RowBytes(weight->type, weight->cols);
    const std::span<const uint8_t> bytes(static_cast<const uint8_t*>(weight->data), size);
    (*model)->PrefetchWeight(expected.name);
    EXPECT_TRUE(files.released.empty());
    ExpectOneHint(files.prefetched, bytes);
    (*model)->ReleaseWeight(expected.name);
    EXPECT_TRUE(files.prefetched.empty());
    ExpectOneHint(files.released, bytes);
  }
  (*model)->PrefetchWeight("no such weight");
  (*model)->ReleaseWeight("no such weight");
  EXPECT_TRUE(files.prefetched.empty() && files.released.empty());
}

TEST(WeightHints, CoverExactlyTheWeight) {
  {
    SCOPED_TRACE("GGUF");
    MemoryFiles memory;
    memory.contents["tiny.gguf"] = TinyModel().Build();
    RecordingFiles files(std::move(memory));
    ExpectHintsOfTheWeights(OpenGgufModel(files, "tiny.gguf"), files);
  }
  {
    SCOPED_TRACE("GGUF in parts");
    MemoryFiles memory;
    const std::vector<GgufWriter> parts = SplitModel(TinyModel(), 3);
    for (int i = 0; i < 3; ++i) memory.contents[PartName("tiny", i, 3)] = parts[static_cast<size_t>(i)].Build();
    RecordingFiles files(std::move(memory));
    ExpectHintsOfTheWeights(OpenGgufModel(files, PartName("tiny", 1, 3)), files);
  }
  for (const char* folder : {"qwen2-files", "linear-shards"}) {
    SCOPED_TRACE(folder);
    RecordingFiles files(GoldenFolder(folder));
    ExpectHintsOfTheWeights(OpenFolderModel(files, "model"), files);
  }
}

TEST_F(OpenModelTest, Unreadable) {
  WriteTinyModel(Path("tiny.gguf"));
  ASSERT_EQ(chmod(Path("tiny.gguf").c_str(), 0), 0);
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  // Root may read everything; be somebody else for a moment.
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  const auto model = OpenModel(Path("tiny.gguf"));
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  EXPECT_EQ(model.status().code(), absl::StatusCode::kPermissionDenied) << model.status();
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

TEST(DemoModel, HasItsShape) {
  const auto model = OpenModel(Environment("CASCADE_DEMO_MODEL"));
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelConfig& config = (*model)->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.name, "Smollm2 135M 8k Lc100K Mix1 Ep2");
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.hidden, 576);
  EXPECT_EQ(config.num_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.ffn, 1536);
  EXPECT_EQ(config.vocabulary, 49152);
  EXPECT_EQ(config.max_positions, 8192);
  EXPECT_EQ(config.rms_eps, 1e-5f);
  EXPECT_TRUE(config.tied_output);
  EXPECT_EQ(config.parameters, 134515008);
  ASSERT_EQ(config.rope.frequency.size(), 32u);
  EXPECT_DOUBLE_EQ(config.rope.frequency[31], std::pow(100000.0, -62.0 / 64));
  EXPECT_EQ((*model)->FindWeight("token_embd.weight")->type, kernels::DType::kQ8_0);
  EXPECT_EQ((*model)->FindWeight("blk.29.ffn_down.weight")->type, kernels::DType::kQ4_1);
  const Vocabulary& vocabulary = (*model)->vocabulary();
  EXPECT_EQ(vocabulary.pre_tokenizer, "smollm");
  EXPECT_EQ(vocabulary.merges.size(), 48900u);
  EXPECT_EQ(vocabulary.bos_id, 1);
  EXPECT_EQ(vocabulary.eos_id, 2);
  EXPECT_FALSE(vocabulary.add_bos);
  EXPECT_THAT((*model)->chat_template(), HasSubstr("You are a helpful AI assistant named SmolLM"));
}

TEST(DemoModel, RowsDequantiseAsTheReferenceDoes) {
  const auto model = OpenModel(Environment("CASCADE_DEMO_MODEL"));
  ASSERT_TRUE(model.ok()) << model.status();
  std::ifstream golden(Environment("CASCADE_GOLDEN_DIR") + "/dequantize.txt");
  ASSERT_TRUE(golden.is_open());
  int rows = 0;
  for (std::string line; std::getline(golden, line);) {
    std::istringstream fields(line);
    std::string kind, name, digest;
    int64_t index = 0;
    if (!(fields >> kind) || kind != "row") continue;
    ASSERT_TRUE(fields >> name >> index >> digest);
    const auto weight = (*model)->FindWeight(name);
    ASSERT_TRUE(weight.ok()) << weight.status();
    ASSERT_LT(index, weight->rows);
    std::vector<float> row(static_cast<size_t>(weight->cols));
    const size_t stride = kernels::RowBytes(weight->type, weight->cols);
    kernels::DequantizeRow(weight->type,
                           static_cast<const uint8_t*>(weight->data) + static_cast<size_t>(index) * stride, row.data(),
                           weight->cols);
    EXPECT_EQ(test::Sha1({reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float)}), digest) << line;
    ++rows;
  }
  EXPECT_EQ(rows, 9);
}

}  // namespace
}  // namespace cascade
