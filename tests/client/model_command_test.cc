// cascade model, run as a user runs it, on files written here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/client/run_program.h"
#include "tests/support/tiny_model.h"

namespace cascade::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class ModelCommandTest : public testing::Test {
 protected:
  ModelCommandTest() : path_(testing::TempDir() + "cascade_model_command_" + std::to_string(getpid()) + ".gguf") {}
  ~ModelCommandTest() override { std::remove(path_.c_str()); }

  const std::string path_;
};

TEST_F(ModelCommandTest, TellsWhatIsInAFile) {
  WriteTinyModel(path_);
  const ProgramResult result = RunProgram({"model", path_, "--cache-tokens", "256", "--sub-caches", "2"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("Tiny"), HasSubstr("llama: 2 layers"), HasSubstr("GGUF v3"), HasSubstr("4 heads of 16"),
                    HasSubstr("byte-level BPE, pre-tokenizer smollm"), HasSubstr("a reply ends with"),
                    HasSubstr("<|im_end|>"), HasSubstr("W=128,128"), HasSubstr("in each GiB")));
  EXPECT_THAT(result.output, Not(HasSubstr("blk.0.attn_q.weight")));
}

TEST_F(ModelCommandTest, ListsTensors) {
  WriteTinyModel(path_);
  const ProgramResult result = RunProgram({"model", path_, "--tensors"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("blk.0.attn_q.weight"), HasSubstr("[64, 64]"), HasSubstr("output_norm")));
}

TEST_F(ModelCommandTest, WritesJson) {
  WriteTinyModel(path_);
  const ProgramResult half = RunProgram({"model", path_, "--json"});
  const ProgramResult full = RunProgram({"model", path_, "--json", "--kv-cache-dtype", "float32", "--tensors"});
  ASSERT_EQ(half.code, 0);
  const auto json = nlohmann::json::parse(half.output, nullptr, false);
  const auto wide = nlohmann::json::parse(full.output, nullptr, false);
  ASSERT_FALSE(json.is_discarded() || wide.is_discarded());
  EXPECT_EQ(json["architecture"], "llama");
  EXPECT_EQ(json["layers"], 2);
  EXPECT_EQ(json["usable"], true);
  EXPECT_EQ(json["types"][0]["type"], "F32");
  EXPECT_FALSE(json.contains("tensors"));
  EXPECT_EQ(wide["tensors"].size(), 2u * 9 + 2);
  // Twice the keys and values; what is kept beside them does not grow.
  EXPECT_GT(wide["session_bytes"], json["session_bytes"].get<int64_t>() * 5 / 4);
}

TEST_F(ModelCommandTest, SaysWhyAServerWouldNotStart) {
  GgufWriter writer = TinyModel();
  writer.SetString("tokenizer.ggml.pre", "a-new-one");
  writer.Write(path_);
  ProgramResult result = RunProgram({"model", path_});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output, AllOf(HasSubstr("2 layers"), HasSubstr("not usable"), HasSubstr("a-new-one")));

  writer = TinyModel();
  writer.SetString("tokenizer.chat_template", "{% include 'x' %}");
  writer.Write(path_);
  result = RunProgram({"model", path_});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output, AllOf(HasSubstr("not usable"), HasSubstr("line 1"), HasSubstr("include")));

  WriteTinyModel(path_);
  result = RunProgram({"model", path_, "--cache-tokens", "1000000"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output, AllOf(HasSubstr("not usable"), HasSubstr("--cache-tokens")));
}

TEST_F(ModelCommandTest, RefusesWhatIsNoModel) {
  ProgramResult result = RunProgram({"model", path_});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.errors, AllOf(StartsWith("cascade: "), HasSubstr(path_)));
  std::ofstream(path_) << "nothing of the kind";
  result = RunProgram({"model", path_});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.errors, HasSubstr(path_));
  EXPECT_EQ(RunProgram({"model"}).code, 64);
  EXPECT_EQ(RunProgram({"model", path_, "--cache-tokens", "0"}).code, 64);
  EXPECT_EQ(RunProgram({"model", path_, "--cache-tokens", "256", "--sub-cache-tokens", "1,2"}).code, 64);
  EXPECT_EQ(RunProgram({"model", path_, "--kv-cache-dtype", "int8"}).code, 64);
}

TEST_F(ModelCommandTest, ANameCannotForgeRows) {
  GgufWriter writer = TinyModel();
  writer.SetString("general.name", "Good\nfiles          somewhere else\x1b[31m");
  writer.Write(path_);
  const ProgramResult result = RunProgram({"model", path_, "--kv-cache-dtype", "auto"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("model          Good files          somewhere else [31m\n"),
                                   Not(HasSubstr("\nfiles          somewhere else"))));
}

TEST_F(ModelCommandTest, SaysThatAWindowIsTheContext) {
  GgufWriter writer = TinyModel();
  writer.SetUint32("llama.attention.sliding_window", 256);
  writer.Write(path_);
  const ProgramResult result = RunProgram({"model", path_, "--cache-tokens", "1024"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output, HasSubstr("a window of 256 tokens"));
}

}  // namespace
}  // namespace cascade::client
