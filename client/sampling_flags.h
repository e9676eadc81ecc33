// The options that say how a reply is sampled and when it ends. An option that is not given leaves its field unset, and
// the server's default applies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cascade/v1/cascade.pb.h"

// CLI11 is a large header; only those who add options include it.
namespace CLI {
class App;
}

namespace cascade::client {

// Must live until the command line is parsed. The server checks the ranges, and names the field.
class SamplingFlags {
 public:
  void AddTo(CLI::App& app);
  v1::SamplingParams Sampling() const;
  v1::StopParams Stopping() const;
  // All of them. False: a file could not be read, and the error is printed.
  bool SetIn(v1::GenerateRequest* request) const;

 private:
  void AddBias(const std::vector<std::string>& given);

  std::optional<float> temperature_;
  std::optional<int32_t> top_k_;
  std::optional<float> top_p_;
  std::optional<float> min_p_;
  std::optional<uint64_t> seed_;
  std::optional<float> repetition_penalty_;
  std::optional<int32_t> repeat_last_n_;
  std::optional<float> frequency_penalty_;
  std::optional<float> presence_penalty_;
  std::vector<std::pair<int32_t, float>> logit_bias_;
  std::vector<int32_t> allowed_token_ids_;
  std::optional<int32_t> max_tokens_;
  std::optional<int64_t> min_tokens_;
  std::vector<std::string> stop_;
  std::vector<int32_t> stop_token_ids_;
  bool ignore_eos_ = false;
  bool include_stop_ = false;
  std::optional<std::string> json_schema_;  // a file's path
  std::optional<int32_t> priority_;
};

}  // namespace cascade::client
