// The options that say how a reply is sampled and when it ends. An option that is not given leaves its field unset, and
// the server's default applies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
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

 private:
  std::optional<float> temperature_;
  std::optional<int32_t> top_k_;
  std::optional<float> top_p_;
  std::optional<float> min_p_;
  std::optional<uint64_t> seed_;
  std::optional<int32_t> max_tokens_;
  std::vector<std::string> stop_;
};

}  // namespace cascade::client
