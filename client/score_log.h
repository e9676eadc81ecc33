// Token-by-token results of scoring, as a JSON file.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cascade/v1/cascade.pb.h"

namespace cascade::client {

// {"token_ids": [..], "logprobs": [..], "top_ids": [..], "top_margins": [..]}: parallel arrays. A number that JSON does
// not know is null. Errors are printed.
class ScoreLog {
 public:
  // Creates the file at once, so that a wrong path does not cost an hour of scoring; null if that fails.
  static std::unique_ptr<ScoreLog> Open(const std::string& path);
  ~ScoreLog();
  ScoreLog(const ScoreLog&) = delete;
  ScoreLog& operator=(const ScoreLog&) = delete;

  void Add(const v1::ScoreResponse& part) { scored_.MergeFrom(part); }
  // Writes everything; false if that fails.
  bool Close();

 private:
  ScoreLog(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}

  const std::string path_;
  std::FILE* file_;
  v1::ScoreResponse scored_;
};

}  // namespace cascade::client
