// What a turn changes in its logits before an id is chosen from them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "engine/sampling/token_mask.h"
#include "engine/turn_request.h"

namespace cascade {

// The rules of one turn, and the ids that they count. Pure; one thread at a time. In this order:
//   1. Forbidden are: what is not among allowed_token_ids, if there are any; ids that end the reply, before min_tokens;
//      what the mask does not allow, where ids that end the reply are allowed when it may end.
//   2. repetition_penalty: the logit of each id among the last repeat_last_n of the conversation, this reply's
//   included,
//      is divided by it where positive and multiplied where negative; once, however often the id is there.
//   3. frequency_penalty times the number of the id's occurrences in this reply is subtracted, and presence_penalty
//   once.
//   4. logit_bias is added; -100 forbids.
// Forbidden: -inf. Finite logits stay finite.
class LogitRules {
 public:
  struct Setup {
    SamplingParams sampling;
    int32_t vocabulary = 0;
    std::vector<int32_t> end_ids;  // that end this reply: the model's, and those of stop_token_ids
    int64_t min_tokens = 0;
    std::unique_ptr<TokenMask> mask;  // may be null
  };
  // `conversation`: what was said before the reply; the last repeat_last_n of it are looked at.
  LogitRules(Setup setup, std::span<const int32_t> conversation);

  // Changes a row, [vocabulary]. False: nothing is left; Fields() says why.
  bool Apply(std::span<float> logits);
  // The id that was chosen. Prepares what the next Apply needs of the mask.
  void Accept(int32_t id);

  // INVALID_ARGUMENT, with the fields' names: they leave no id to begin with. Does not ask a mask.
  absl::Status CheckNotEmpty() const;
  // The error of an Apply that left nothing.
  absl::Status NothingLeft() const;

  // Whether these change logits at all.
  static bool AreNeeded(const SamplingParams& sampling);

 private:
  void Forbid(std::span<float> logits);
  void ForbidMasked(std::span<float> logits);
  void Penalise(std::span<float> logits) const;
  void Remember(int32_t id);
  void PrepareMask();
  bool IsEnd(int32_t id) const;

  Setup setup_;
  std::vector<uint64_t> allowed_;  // bitset of allowed_token_ids; empty: all
  std::vector<uint64_t> masked_;   // what the mask allows next
  bool mask_is_ready_ = false;

  // The last repeat_last_n ids, a ring, and how often each is there. Both empty without that penalty.
  std::vector<int32_t> window_;
  size_t window_next_ = 0;
  std::unordered_map<int32_t, int> in_window_;
  std::unordered_map<int32_t, int64_t> in_reply_;  // empty without the penalties that count
  int64_t reply_tokens_ = 0;
};

}  // namespace cascade
