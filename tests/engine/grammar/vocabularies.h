// Tokenizers of several families, as small as a test likes them.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "engine/model/tokenizer_files.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace cascade {

inline constexpr const char* kTokenizerNames[] = {"gpt2", "llama2_prepend", "llama3", "qwen2", "smollm"};

// Null, and a failure of the test, if it cannot be read.
inline std::unique_ptr<Tokenizer> ReadGoldenTokenizer(const std::string& name) {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  std::ifstream file(std::string(folder == nullptr ? "" : folder) + "/tokenizers/" + name + ".json");
  EXPECT_TRUE(file) << name;
  std::stringstream text;
  text << file.rdbuf();
  const std::string json = text.str();
  TokenizerFiles files;
  files.tokenizer_json = json;
  auto read = ReadTokenizerFiles(files, 4096, "folder");
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return nullptr;
  auto created = CreateTokenizer(read->vocabulary);
  EXPECT_TRUE(created.ok()) << created.status();
  return created.ok() ? *std::move(created) : nullptr;
}

}  // namespace cascade
