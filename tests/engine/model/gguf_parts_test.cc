// Models in several files: found from any part, checked against each other.
#include "engine/model/gguf_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/engine/model/model_test_util.h"
#include "tests/support/tiny_model.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int kParts = 3;

std::string Name(int part) { return PartName("dir/tiny", part, kParts); }

MemoryFiles Files(const std::vector<GgufWriter>& parts) {
  MemoryFiles files;
  for (size_t i = 0; i < parts.size(); ++i) {
    files.contents[PartName("dir/tiny", static_cast<int>(i), static_cast<int>(parts.size()))] = parts[i].Build();
  }
  return files;
}

void ExpectSameModel(const ModelSource& whole, const ModelSource& split) {
  EXPECT_EQ(whole.config().parameters, split.config().parameters);
  EXPECT_EQ(whole.config().weight_bytes, split.config().weight_bytes);
  EXPECT_EQ(whole.chat_template(), split.chat_template());
  const std::vector<TensorSummary> a = whole.Tensors(), b = split.Tensors();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].shape, b[i].shape);
    const auto left = whole.FindWeight(a[i].name), right = split.FindWeight(a[i].name);
    ASSERT_TRUE(left.ok() && right.ok());
    EXPECT_EQ(std::memcmp(left->data, right->data, static_cast<size_t>(a[i].bytes)), 0) << a[i].name;
    split.PrefetchWeight(a[i].name);
    split.ReleaseWeight(a[i].name);
  }
}

TEST(GgufParts, AnyPartOpensAll) {
  const GgufWriter model = TinyModel();
  const auto whole = Open(model);
  for (const int first_tensors : {0, 1, 7}) {
    MemoryFiles files = Files(SplitModel(model, kParts, first_tensors));
    for (int part = 0; part < kParts; ++part) {
      const auto split = OpenGgufModel(files, Name(part));
      ASSERT_TRUE(split.ok()) << split.status();
      EXPECT_EQ((*split)->format(), "GGUF v3, 3 parts");
      ExpectSameModel(**whole, **split);
    }
  }
}

TEST(GgufParts, OnePartIsAWholeModel) {
  GgufWriter writer = TinyModel();
  writer.SetUint32("split.no", 0);
  writer.SetUint32("split.count", 1);
  writer.SetInt32("split.tensors.count", 20);
  const auto model = Open(writer);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->format(), "GGUF v3");
  writer.SetUint32("split.count", 0);
  EXPECT_TRUE(Open(writer).ok());
  writer.SetUint32("split.no", 1);
  EXPECT_THAT(std::string(Open(writer).status().message()), HasSubstr("'split.no': found 1 of one part, expected 0"));
}

TEST(GgufParts, ManyParts) {
  const GgufWriter model = TinyModel();
  MemoryFiles files = Files(SplitModel(model, 21));
  const auto split = OpenGgufModel(files, PartName("dir/tiny", 20, 21));
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ((*split)->format(), "GGUF v3, 21 parts");
}

TEST(GgufParts, PartsMayHaveTheirOwnAlignmentAndRepeatKeys) {
  std::vector<GgufWriter> parts = SplitModel(TinyModel(), kParts);
  parts[2].alignment = 64;
  parts[2].SetUint32("general.alignment", 64);
  parts[1].SetString("general.architecture", "llama");
  MemoryFiles files = Files(parts);
  const auto split = OpenGgufModel(files, Name(0));
  ASSERT_TRUE(split.ok()) << split.status();
}

struct Case {
  const char* name;
  absl::StatusCode code;
  int about;  // the part that the message is about
  const char* words;
  std::function<void(std::vector<GgufWriter>&)> change;
};

const Case kCases[] = {
    {"count differs", kInvalid, 1, "key 'split.count': found 4, expected 3 as in dir/tiny-00001-of-00003.gguf",
     [](auto& parts) { parts[1].SetUint32("split.count", 4); }},
    {"count missing", kInvalid, 2, "key 'split.count': missing", [](auto& parts) { parts[2].Remove("split.count"); }},
    {"count of one", kInvalid, 1, "key 'split.no': found 1 of one part",
     [](auto& parts) { parts[1].SetUint32("split.count", 1); }},
    {"count not a number", kInvalid, 0, "key 'split.count': found STRING",
     [](auto& parts) { parts[0].SetString("split.count", "3"); }},
    {"count too large", kInvalid, 0, "key 'split.count': found 1025, expected 0 to 1024",
     [](auto& parts) { parts[0].SetUint32("split.count", 1025); }},
    {"number of another part", kInvalid, 1, "key 'split.no': found 2, expected 1 by the file's name",
     [](auto& parts) { parts[1].SetUint32("split.no", 2); }},
    {"number beyond the count", kInvalid, 2, "key 'split.no': found 3, expected 0 to 2",
     [](auto& parts) { parts[2].SetUint32("split.no", 3); }},
    {"number missing", kInvalid, 0, "key 'split.no': missing", [](auto& parts) { parts[0].Remove("split.no"); }},
    {"total differs", kInvalid, 2, "key 'split.tensors.count': found 19, expected 20 as in",
     [](auto& parts) { parts[2].SetInt32("split.tensors.count", 19); }},
    {"total wrong in all", kInvalid, 0, "key 'split.tensors.count': found 21, but the 3 parts have 20 tensors",
     [](auto& parts) {
       for (GgufWriter& part : parts) part.SetInt32("split.tensors.count", 21);
     }},
    {"total missing", kInvalid, 1, "key 'split.tensors.count': missing",
     [](auto& parts) { parts[1].Remove("split.tensors.count"); }},
    {"tensor twice", kInvalid, 2, "tensor 'output_norm.weight': is also in dir/tiny-00002-of-00003.gguf",
     [](auto& parts) { parts[2].tensors.push_back(parts[1].FindTensor("output_norm.weight")); }},
    {"key that the first part does not have", kInvalid, 2,
     "key 'llama.rope.scaling.factor': not in the first part, which has the model's keys",
     [](auto& parts) { parts[2].SetFloat32("llama.rope.scaling.factor", 8); }},
    {"key that the first part has otherwise", kInvalid, 1, "key 'llama.rope.freq_base': other than in the first part",
     [](auto& parts) { parts[1].SetFloat32("llama.rope.freq_base", 20000); }},
    {"not GGUF", kInvalid, 1, "not a GGUF file: begins with 'GGML', expected 'GGUF' (part 2 of 3 of a split model)",
     [](auto& parts) { parts[1].magic = 0x4c4d4747; }},
    {"cut header", absl::StatusCode::kDataLoss, 1, "header claims 1000000 tensors, more than fit in the file",
     [](auto& parts) { parts[1].num_tensors = 1000000; }},
    {"shape", kInvalid, 2, "tensor 'blk.1.ffn_down.weight': found shape [64, 96], expected [96, 64]",
     [](auto& parts) {
       parts[2].FindTensor("blk.1.ffn_down.weight").dims = {64, 96};
     }},
    {"tensor that nobody knows", absl::StatusCode::kUnimplemented, 2, "tensor 'mystery': not a weight",
     [](auto& parts) {
       parts[2].AddTensor("mystery", {1}, kernels::DType::kF32, "abcd");
       for (GgufWriter& part : parts) part.SetInt32("split.tensors.count", 21);
     }},
};

TEST(GgufParts, WhatDoesNotFitTogetherIsRefused) {
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.name);
    std::vector<GgufWriter> parts = SplitModel(TinyModel(), kParts);
    test.change(parts);
    MemoryFiles files = Files(parts);
    const auto model = OpenGgufModel(files, Name(0));
    ASSERT_FALSE(model.ok());
    const std::string message(model.status().message());
    EXPECT_EQ(model.status().code(), test.code) << message;
    EXPECT_THAT(message, StartsWith(Name(test.about) + ": "));
    EXPECT_THAT(message, HasSubstr(test.words));
    EXPECT_EQ(message.find('\n'), std::string::npos);
    // From whichever part one starts, it does not open.
    for (int part = 1; part < kParts; ++part) EXPECT_FALSE(OpenGgufModel(files, Name(part)).ok());
  }
  EXPECT_EQ(std::size(kCases), 18u);
}

TEST(GgufParts, AMissingPartIsNamed) {
  for (int missing = 0; missing < kParts; ++missing) {
    MemoryFiles files = Files(SplitModel(TinyModel(), kParts));
    files.contents.erase(Name(missing));
    const auto model = OpenGgufModel(files, Name((missing + 1) % kParts));
    EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(std::string(model.status().message()), Name(missing) + ": cannot open: No such file or directory (part " +
                                                         std::to_string(missing + 1) + " of 3 of a split model)");
  }
}

TEST(GgufParts, ARenamedPartIsRefused) {
  MemoryFiles files = Files(SplitModel(TinyModel(), kParts));
  files.contents["part2.gguf"] = files.contents[Name(1)];
  const auto model = OpenGgufModel(files, "part2.gguf");
  EXPECT_EQ(std::string(model.status().message()),
            "part2.gguf: part 2 of 3 of a split model by its keys, expected a name that ends in "
            "'-00002-of-00003.gguf', by which the other parts are found");
  // A part under another part's name.
  std::swap(files.contents[Name(1)], files.contents[Name(2)]);
  EXPECT_THAT(std::string(OpenGgufModel(files, Name(0)).status().message()),
              StartsWith(Name(1) + ": key 'split.no': found 2, expected 1"));
}

}  // namespace
}  // namespace cascade
