#include "engine/session/turn_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr size_t kMaxFollowers = 16;

}  // namespace

void TurnLog::Add(const TurnDelta& delta) {
  MutexLock lock(mutex_);
  CASCADE_CHECK(!all_.finished);
  TurnDelta later = delta;
  std::swap(later.text, all_.text);
  later.text += delta.text;
  std::swap(later.token_ids, all_.token_ids);
  later.token_ids.insert(later.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  std::swap(later.logprobs, all_.logprobs);
  later.logprobs.insert(later.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
  std::swap(later.prompt_logprobs, all_.prompt_logprobs);
  later.prompt_logprobs.insert(later.prompt_logprobs.end(), delta.prompt_logprobs.begin(), delta.prompt_logprobs.end());
  all_ = std::move(later);
  all_.seq = static_cast<int64_t>(all_.token_ids.size());
  marks_.push_back({all_.seq, all_.text.size()});
  // A caller who has gone reads no more.
  std::erase_if(followers_, [](const auto& follower) { return follower.use_count() == 1; });
  // Under the lock, so that a follower who comes now misses nothing and gets nothing twice.
  for (const auto& follower : followers_) follower->Push(delta);
  if (delta.finished) followers_.clear();
}

absl::Status TurnLog::Follow(int64_t from_seq, const std::shared_ptr<TurnFollower>& follower) {
  MutexLock lock(mutex_);
  if (from_seq < 0 || from_seq > all_.seq) {
    return absl::InvalidArgumentError(
        absl::StrCat("from_seq must be in [0, ", all_.seq, "], the tokens so far, got ", from_seq));
  }
  if (!all_.finished && followers_.size() >= kMaxFollowers) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the turn is followed by ", kMaxFollowers, " callers already; come back later"));
  }
  // Text belongs to the tokens of its delta. What came without a token, at the end, is sent again rather than lost.
  size_t bytes = 0;
  for (const Mark& mark : marks_) {
    if (from_seq == 0 || mark.seq > from_seq) break;
    bytes = mark.bytes;
    if (mark.seq == from_seq) break;
  }
  TurnDelta rest = all_;
  rest.text.erase(0, bytes);
  rest.token_ids.erase(rest.token_ids.begin(), rest.token_ids.begin() + static_cast<ptrdiff_t>(from_seq));
  if (!rest.logprobs.empty()) {  // as many as there are tokens
    rest.logprobs.erase(rest.logprobs.begin(), rest.logprobs.begin() + static_cast<ptrdiff_t>(from_seq));
  }
  if (from_seq > 0) rest.prompt_logprobs.clear();  // they came before the first token
  follower->Push(std::move(rest));
  if (!all_.finished) followers_.push_back(follower);
  return absl::OkStatus();
}

bool TurnLog::finished() {
  MutexLock lock(mutex_);
  return all_.finished;
}

}  // namespace cascade
