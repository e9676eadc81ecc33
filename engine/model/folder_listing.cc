#include "engine/model/folder_listing.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/gguf.h"

namespace cascade {
namespace {

constexpr int kMaxEntries = 10000;

struct Kind {
  const char* ending;
  const char* advice;
};
// The most telling first.
constexpr Kind kKinds[] = {
    {"adapter_config.json", " is an adapter: merge it into its base model and give that"},
    {".gguf", " is a model of its own: give that file instead of the folder"},
    {".safetensors", " is not called as a model in this form is: model.safetensors, or shards with their index"},
    {".bin", " is a pickle, which is not read: save the model as safetensors"},
    {".pth", " is a pickle, which is not read: save the model as safetensors"},
    {".pt", " is a pickle, which is not read: save the model as safetensors"},
};

}  // namespace

std::string WhatElse(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator it(folder, error);
  for (int i = 0; i < kMaxEntries && !error && it != std::filesystem::directory_iterator(); ++i) {
    names.push_back(it->path().filename().string());
    it.increment(error);
  }
  std::sort(names.begin(), names.end());
  for (const Kind& kind : kKinds) {
    for (const std::string& name : names) {
      if (name.ends_with(kind.ending)) return absl::StrCat("; ", Quoted(name), kind.advice);
    }
  }
  return "";
}

}  // namespace cascade
