#include "engine/sampling/logit_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cascade {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr float kForbiddingBias = -100.0f;

size_t Words(int32_t vocabulary) { return (static_cast<size_t>(vocabulary) + 63) / 64; }
bool Has(std::span<const uint64_t> bits, int32_t id) {
  return (bits[static_cast<size_t>(id) / 64] >> (static_cast<size_t>(id) % 64) & 1) != 0;
}
void Add(std::span<uint64_t> bits, int32_t id) {
  bits[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
}

// A penalty near 0 would make infinities, which look like a broken model.
float Finite(float logit) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return logit == kForbidden ? logit : std::clamp(logit, -kMost, kMost);
}

bool Counts(const SamplingParams& sampling) {
  return sampling.frequency_penalty != 0.0f || sampling.presence_penalty != 0.0f;
}
bool Repeats(const SamplingParams& sampling) {
  return sampling.repetition_penalty != 1.0f && sampling.repeat_last_n > 0;
}

}  // namespace

bool LogitRules::AreNeeded(const SamplingParams& sampling) {
  return Repeats(sampling) || Counts(sampling) || !sampling.logit_bias.empty() || !sampling.allowed_token_ids.empty();
}

LogitRules::LogitRules(Setup setup, std::span<const int32_t> conversation) : setup_(std::move(setup)) {
  if (!setup_.sampling.allowed_token_ids.empty()) {
    allowed_.resize(Words(setup_.vocabulary));
    for (const int32_t id : setup_.sampling.allowed_token_ids) Add(allowed_, id);
  }
  if (setup_.mask != nullptr) masked_.resize(Words(setup_.vocabulary));
  if (Repeats(setup_.sampling)) {
    const size_t count = std::min(conversation.size(), static_cast<size_t>(setup_.sampling.repeat_last_n));
    for (const int32_t id : conversation.last(count)) Remember(id);
  }
}

bool LogitRules::Apply(std::span<float> logits) {
  Forbid(logits);
  Penalise(logits);
  for (const auto& [id, bias] : setup_.sampling.logit_bias) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = bias <= kForbiddingBias ? kForbidden : Finite(logit + bias);
  }
  return std::any_of(logits.begin(), logits.end(), [](float logit) { return logit > kForbidden; });
}

void LogitRules::Forbid(std::span<float> logits) {
  if (!allowed_.empty()) {
    for (int32_t id = 0; id < setup_.vocabulary; ++id) {
      if (!Has(allowed_, id)) logits[static_cast<size_t>(id)] = kForbidden;
    }
  }
  if (setup_.mask != nullptr) ForbidMasked(logits);
  if (reply_tokens_ < setup_.min_tokens) {
    for (const int32_t id : setup_.end_ids) logits[static_cast<size_t>(id)] = kForbidden;
  }
}

void LogitRules::ForbidMasked(std::span<float> logits) {
  PrepareMask();
  // Most masks allow a few ids, or all but a few: whole words pass or fail at once.
  for (size_t word = 0; word < masked_.size(); ++word) {
    if (masked_[word] == ~uint64_t{0}) continue;
    const size_t end = std::min(logits.size(), (word + 1) * 64);
    for (size_t id = word * 64; id < end; ++id) {
      if ((masked_[word] >> (id % 64) & 1) == 0) logits[id] = kForbidden;
    }
  }
}

void LogitRules::Penalise(std::span<float> logits) const {
  const SamplingParams& sampling = setup_.sampling;
  for (const auto& [id, count] : in_window_) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = Finite(logit > 0 ? logit / sampling.repetition_penalty : logit * sampling.repetition_penalty);
  }
  for (const auto& [id, count] : in_reply_) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = Finite(logit - static_cast<float>(count) * sampling.frequency_penalty - sampling.presence_penalty);
  }
}

void LogitRules::Accept(int32_t id) {
  ++reply_tokens_;
  if (Counts(setup_.sampling)) ++in_reply_[id];
  if (Repeats(setup_.sampling)) Remember(id);
  if (setup_.mask == nullptr || IsEnd(id)) return;
  setup_.mask->Accept(id);
  mask_is_ready_ = false;
  PrepareMask();  // now: the device is at work meanwhile
}

void LogitRules::Remember(int32_t id) {
  const auto size = static_cast<size_t>(setup_.sampling.repeat_last_n);
  ++in_window_[id];
  if (window_.size() < size) {
    window_.push_back(id);
    return;
  }
  const auto oldest = in_window_.find(std::exchange(window_[window_next_], id));
  if (--oldest->second == 0) in_window_.erase(oldest);
  window_next_ = (window_next_ + 1) % size;
}

void LogitRules::PrepareMask() {
  if (mask_is_ready_) return;
  std::fill(masked_.begin(), masked_.end(), 0);
  setup_.mask->Allowed(masked_);
  const bool may_end = setup_.mask->MayEnd();
  for (const int32_t id : setup_.end_ids) {
    const uint64_t bit = uint64_t{1} << (static_cast<size_t>(id) % 64);
    uint64_t& word = masked_[static_cast<size_t>(id) / 64];
    word = may_end ? word | bit : word & ~bit;
  }
  mask_is_ready_ = true;
}

bool LogitRules::IsEnd(int32_t id) const {
  return std::find(setup_.end_ids.begin(), setup_.end_ids.end(), id) != setup_.end_ids.end();
}

absl::Status LogitRules::CheckNotEmpty() const {
  std::vector<uint64_t> left = allowed_;
  if (left.empty()) {
    left.resize(Words(setup_.vocabulary));
    for (int32_t id = 0; id < setup_.vocabulary; ++id) Add(left, id);
  }
  const auto remove = [&](int32_t id) {
    left[static_cast<size_t>(id) / 64] &= ~(uint64_t{1} << (static_cast<size_t>(id) % 64));
  };
  for (const auto& [id, bias] : setup_.sampling.logit_bias) {
    if (bias <= kForbiddingBias) remove(id);
  }
  if (setup_.min_tokens > 0) {
    for (const int32_t id : setup_.end_ids) remove(id);
  }
  if (std::any_of(left.begin(), left.end(), [](uint64_t word) { return word != 0; })) return absl::OkStatus();
  return NothingLeft();
}

absl::Status LogitRules::NothingLeft() const {
  std::vector<std::string> fields;
  if (!setup_.sampling.allowed_token_ids.empty()) fields.push_back("sampling.allowed_token_ids");
  if (!setup_.sampling.logit_bias.empty()) fields.push_back("sampling.logit_bias");
  if (reply_tokens_ < setup_.min_tokens) fields.push_back("stopping.min_tokens");
  if (setup_.mask != nullptr) fields.push_back("response_format");
  const std::string first = fields.empty() ? "sampling" : fields.front();
  if (fields.size() < 2) return absl::InvalidArgumentError(absl::StrCat(first, " must leave a token to sample"));
  return absl::InvalidArgumentError(absl::StrCat(first, " must leave a token to sample, together with ",
                                                 absl::StrJoin(fields.begin() + 1, fields.end(), " and ")));
}

}  // namespace cascade
