#include "engine/options_validation.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

absl::Status CheckAtLeast(const char* name, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " must be at least ", least, ", got ", value));
}

}  // namespace

absl::Status ValidateOptions(const EngineOptions& options, const Model& model, const Tokenizer& tokenizer) {
  if (absl::Status status = options.geometry.Validate(); !status.ok()) return status;
  const struct {
    const char* name;
    int64_t value;
    int64_t least;
  } bounds[] = {{"number of cache slots", options.num_slots, 1},
                {"--max-num-sessions", options.max_num_sessions, 1},
                {"--host-cache-bytes", options.host_cache_bytes, 0},
                {"--rewind-turns", options.rewind_turns, 0},
                {"--max-num-seqs", options.max_num_seqs, 1},
                {"--max-num-queued-reqs", options.max_num_queued_requests, 1},
                {"--default-max-tokens", options.default_max_tokens, 0},
                {"--max-prompt-bytes", options.max_prompt_bytes, 1},
                {"--session-ttl", options.session_ttl.count(), 0}};
  for (const auto& bound : bounds) {
    if (absl::Status status = CheckAtLeast(bound.name, bound.value, bound.least); !status.ok()) return status;
  }
  if (options.durability != Durability::kNone && options.vault == nullptr) {
    return absl::InvalidArgumentError("--durability: needs a data folder (--data-dir)");
  }
  // The bounds of schedule/scheduler.h rest on this.
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    return absl::InvalidArgumentError(absl::StrCat("--max-num-batched-tokens must be at least --max-num-seqs = ",
                                                   options.max_num_seqs, ", got ", options.max_num_batched_tokens));
  }
  // Times are counted in nanoseconds of 64 bits.
  if (options.session_ttl > std::chrono::hours(24 * 36500)) {
    return absl::InvalidArgumentError("--session-ttl must be at most 100 years");
  }
  if (tokenizer.vocabulary_size() < 1 || tokenizer.vocabulary_size() > model.vocabulary()) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ", tokenizer.vocabulary_size(),
                                                   " tokens, but the model's vocabulary is ", model.vocabulary()));
  }
  return absl::OkStatus();
}

}  // namespace cascade
