// Sampling of a turn that wants more than a device gives: rules, log-probabilities, a grammar.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/sampling/logit_rules.h"
#include "engine/turn_request.h"
#include "kernels/base/mutex.h"
#include "kernels/sampler.h"

namespace cascade {

// The logits of consecutive rows of one turn, and what is wanted of them.
struct HostRows {
  std::vector<float> logits;     // [rows, HostSampling::row_size()]
  std::vector<int32_t> targets;  // the prompt's id after each of the first rows
  bool samples = false;          // from the last row
  uint64_t position = 0;         // of the id that is sampled
};

struct HostResult {
  absl::Status status;  // INTERNAL: the logits are not finite; INVALID_ARGUMENT: the rules leave nothing
  std::vector<std::pair<int32_t, TokenLogprobs>> prompt;  // of the targets
  std::optional<int32_t> id;                              // the one that was sampled
  std::optional<TokenLogprobs> logprobs;                  // of that
  std::vector<float> memory;                              // of the logits, for the next ones
};

// One turn's. The picks are those of kernels::Sampler on the changed logits, with the random number of (seed,
// position): without rules, a device's. Log-probabilities are of the logits before that.
class HostSampling {
 public:
  struct Setup {
    uint64_t seed = 0;
    std::optional<int> logprobs;
    std::optional<int> prompt_logprobs;
    int32_t vocabulary = 0;        // ids that the tokenizer knows
    int32_t model_vocabulary = 0;  // logits of a row
  };
  HostSampling(const Setup& setup, const SamplingParams& sampling, LogitRules rules)
      : setup_(setup), sampling_(sampling), rules_(std::move(rules)) {}

  // How many logits of a row are looked at: where no log-probability is wanted, only those of tokens.
  int32_t row_size() const {
    return setup_.logprobs.has_value() || setup_.prompt_logprobs.has_value() ? setup_.model_vocabulary
                                                                             : setup_.vocabulary;
  }
  // Any thread, with that thread's sampler. `done` runs as soon as the result is there; what the next id needs is
  // prepared after that. A call that comes meanwhile waits.
  void Run(HostRows rows, kernels::Sampler& sampler, const std::function<void(HostResult)>& done);

 private:
  HostResult Compute(HostRows rows, kernels::Sampler& sampler) CASCADE_REQUIRES(mutex_);
  absl::Status Pick(std::span<float> logits, uint64_t position, kernels::Sampler& sampler, HostResult& result)
      CASCADE_REQUIRES(mutex_);

  const Setup setup_;
  const SamplingParams sampling_;
  Mutex mutex_;
  LogitRules rules_ CASCADE_GUARDED_BY(mutex_);
};

}  // namespace cascade
