// What a caller asks of the engine, and what comes back: plain values, no transport.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/chat_template.h"
#include "kernels/backend.h"

namespace cascade {

using SteadyTime = std::chrono::steady_clock::time_point;

struct TextPrompt {
  std::string text;
  bool parse_special = false;
};
using Prompt = std::variant<TextPrompt, std::vector<int32_t>, std::vector<ChatMessage>>;

struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  int top_k = 0;             // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  std::optional<uint64_t> seed;

  // What changes logits before any of the above, in this order (sampling/logit_rules.h).
  float repetition_penalty = 1.0f;  // of the last `repeat_last_n` ids of the conversation
  int repeat_last_n = 64;
  float frequency_penalty = 0.0f;  // of this reply's ids
  float presence_penalty = 0.0f;
  std::vector<std::pair<int32_t, float>> logit_bias;  // no id twice
  std::vector<int32_t> allowed_token_ids;             // empty: all
};

// Natural logarithms of the model's own probabilities, before any rule of sampling.
struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};
struct TokenLogprobs {
  float logprob = 0;              // of the token itself
  std::vector<TokenLogprob> top;  // best first; as many as were asked for
};

enum class TurnKind : uint8_t { kGenerate, kScore };

// How much of a session outlives the process: nothing; its tokens; a cache as well.
enum class Durability : uint8_t { kNone, kJournal, kImage };

// What becomes of a turn whose caller has gone, or whose deadline has passed.
enum class OnCancel : uint8_t {
  kKeep,      // it ends; what it has fed and sampled belongs to the session
  kRollback,  // it ends; the session is what it was before
  kContinue,  // gone callers only: it goes on, and Engine::ResumeTurn has the rest
};

struct TurnRequest {
  TurnKind kind = TurnKind::kGenerate;
  std::string session_id;  // "": one-shot
  std::string tenant;      // of a one-shot turn: whose caches it may find and leave. Never shared with another's
  Prompt prompt;
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;  // unset: EngineOptions::default_max_tokens
  std::vector<std::string> stop;
  int64_t min_tokens = 0;  // before them neither an end id nor a stop id is sampled
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop = false;           // what ended it is part of the text
  std::optional<int> logprobs;         // of sampled ids, with so many of the best
  std::optional<int> prompt_logprobs;  // of the prompt's
  bool echo = false;                   // the text begins with the prompt's
  std::string json_schema;             // the reply is one JSON document that this accepts; "": it is free
  int priority = 0;                    // higher ones start first
  std::optional<int64_t> expected_position;
  // Of sessions. Not empty: a turn that is sent again with the session's last turn_id is not run again.
  std::string turn_id;
  OnCancel on_cancel = OnCancel::kKeep;
  // Of sessions with a journal: what this turn's acknowledgement waits for. Unset: the session's own.
  std::optional<Durability> durability;
  SteadyTime deadline = SteadyTime::max();
};

enum class FinishReason : uint8_t { kNone, kStop, kStopSequence, kLength, kCancelled, kDeadline, kError };

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of prompt_tokens: found in a cache, not read
  int64_t session_tokens_seen = 0;
  int64_t tokens_resident = 0;
  int64_t tokens_evicted = 0;
  int64_t cache_bytes = 0;
  std::chrono::nanoseconds queue_time{0};
  std::chrono::nanoseconds prefill_time{0};
  std::chrono::nanoseconds decode_time{0};
};

// The end of a session's turn: what the caller may rely on from then on.
struct Acknowledgement {
  int64_t turn = 0;                           // the session's first is 1
  uint64_t digest = 0;                        // of all tokens so far (engine/base/token_digest.h)
  Durability durability = Durability::kNone;  // reached
};

// What a turn has produced since it was last read. The last one has `finished`.
struct TurnDelta {
  std::string text;
  std::vector<int32_t> token_ids;                                  // sampled (kGenerate) or scored (kScore)
  std::vector<kernels::TokenScore> scores;                         // kScore: parallel to token_ids
  std::vector<TokenLogprobs> logprobs;                             // kGenerate, if asked for: parallel to token_ids
  std::vector<std::pair<int32_t, TokenLogprobs>> prompt_logprobs;  // ids of the prompt, if asked for
  int64_t score_total = 0;                                         // kScore: tokens that the turn will score
  int64_t seq = 0;  // kGenerate: tokens sampled in all, those of this delta included
  bool finished = false;
  FinishReason finish_reason = FinishReason::kNone;
  std::string stop_sequence;
  std::optional<int32_t> stop_token_id;            // kStop
  std::optional<Acknowledgement> acknowledgement;  // of a session's turn that is finished and counts
  Usage usage;
  absl::Status status;  // of the finished turn: OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL, ..
};

}  // namespace cascade
