#include "engine/turn_sampling.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace cascade {
namespace {

// Ids that end this reply.
std::vector<int32_t> EndIds(const TurnRequest& request, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = request.stop_token_ids;
  if (!request.ignore_eos) ids.insert(ids.end(), tokenizer.end_ids().begin(), tokenizer.end_ids().end());
  return ids;
}

std::string EchoOf(const TurnRequest& request, const Tokenizer& tokenizer) {
  if (!request.echo) return "";
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) return text->text;
  const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt);
  return ids != nullptr ? DecodeText(tokenizer, *ids) : "";
}

// How many ids are sampled on the host before a device may go on.
int64_t HostTokens(const TurnRequest& request, bool may_end) {
  if (LogitRules::AreNeeded(request.sampling) || request.logprobs.has_value() || !request.json_schema.empty()) {
    return std::numeric_limits<int64_t>::max();
  }
  const int64_t before_end = may_end ? request.min_tokens : 0;
  return std::max<int64_t>(before_end, request.prompt_logprobs.has_value() ? 1 : 0);
}

}  // namespace

absl::Status SetSampling(const TurnRequest& request, uint64_t seed, int64_t max_tokens, const Tokenizer& tokenizer,
                         int32_t model_vocabulary, std::unique_ptr<TokenMask> mask, Turn::Setup& setup) {
  setup.sampling = request.sampling;
  setup.seed = seed;
  setup.max_tokens = max_tokens;
  setup.stop = request.stop;
  setup.stop_token_ids = request.stop_token_ids;
  setup.ignore_eos = request.ignore_eos;
  setup.include_stop = request.include_stop;
  setup.prompt_logprobs = request.prompt_logprobs.has_value();
  setup.echo = EchoOf(request, tokenizer);

  std::vector<int32_t> end_ids = EndIds(request, tokenizer);
  setup.host_tokens = HostTokens(request, !end_ids.empty());
  if (setup.host_tokens == 0) return absl::OkStatus();
  std::vector<int32_t> conversation(AsSpan(setup.cache.recent).begin(), AsSpan(setup.cache.recent).end());
  const size_t added = std::min(setup.prompt.size(), kRecentIds);
  conversation.insert(conversation.end(), setup.prompt.end() - static_cast<ptrdiff_t>(added), setup.prompt.end());
  LogitRules rules({.sampling = request.sampling,
                    .vocabulary = tokenizer.vocabulary_size(),
                    .end_ids = std::move(end_ids),
                    .min_tokens = request.min_tokens,
                    .mask = std::move(mask)},
                   conversation);
  if (max_tokens > 0) {
    if (absl::Status status = rules.CheckNotEmpty(); !status.ok()) return status;
  }
  const HostSampling::Setup host = {.seed = seed,
                                    .logprobs = request.logprobs,
                                    .prompt_logprobs = request.prompt_logprobs,
                                    .vocabulary = tokenizer.vocabulary_size(),
                                    .model_vocabulary = model_vocabulary};
  setup.host = std::make_shared<HostSampling>(host, request.sampling, std::move(rules));
  return absl::OkStatus();
}

}  // namespace cascade
