// Prompts that are not read from their begin: the loop's side towards the prefix cache, and towards turns that reply to
// one prompt.
#include <utility>

#include "engine/engine_loop.h"

namespace cascade {

bool EngineLoop::WaitsForLeader(const Turn& turn) const {
  return turn.replies() != nullptr && turn.replies()->prompt == ReplyGroup::Prompt::kReading;
}

// Rows of it in flight would have to be waited for: whether their step succeeds is not known.
const EngineLoop::Running* EngineLoop::LeaderOf(const Turn& turn) const {
  if (turn.replies() == nullptr || turn.replies()->prompt != ReplyGroup::Prompt::kRead) return nullptr;
  const auto leader = running_.find(turn.replies()->leader_id);
  if (leader == running_.end() || leader->second.turn == nullptr || leader->second.turn->in_flight()) return nullptr;
  const SessionCache& cache = leader->second.turn->cache();
  if (cache.plan.tokens_seen() == leader->second.turn->prompt_last()) return &leader->second;
  const bool reachable = leader->second.start != nullptr && cache.plan.strides_closed() == leader->second.start_closed;
  return reachable ? &leader->second : nullptr;
}

std::optional<int> EngineLoop::TakeOneShotSlot(Turn& turn) {
  std::optional<int> slot;
  if (turn.seeks_prefix() && LeaderOf(turn) == nullptr) {
    if (auto start = sessions_.TakeSlotFor(turn.prefix_query()); start.has_value()) {
      slot = start->slot;
      turn.start() = *std::move(start);
    }
  } else {
    slot = sessions_.TakeSlot(/*one_shot=*/true);
  }
  ReplyGroup* const replies = turn.replies();
  if (slot.has_value() && replies != nullptr && replies->prompt == ReplyGroup::Prompt::kUnread) {
    replies->prompt = ReplyGroup::Prompt::kReading;
    replies->leader = &turn;
  }
  return slot;
}

void EngineLoop::BeginOneShot(int64_t id, Running& running) {
  Turn& turn = *running.turn;
  if (turn.replies() != nullptr && turn.replies()->leader == &turn) turn.replies()->leader_id = id;
  if (!GoOnFromPrefix(running)) model_.ClearSlot(turn.cache().slot);
  KeepMark(running);
}

// A copy that fails costs the time of reading; a device that is lost says so again.
bool EngineLoop::GoOnFromPrefix(Running& running) {
  Turn& turn = *running.turn;
  PrefixStart start = std::exchange(turn.start(), {});
  const Running* const leader = LeaderOf(turn);
  if (leader != nullptr) {
    const SessionCache& cache = leader->turn->cache();
    start.from = cache.slot;
    start.tokens = turn.prompt_last();
    start.digest = leader->mark_digest;
    if (cache.plan.tokens_seen() != start.tokens) start.scores = leader->start;
  }
  if (turn.seeks_prefix() || turn.replies() != nullptr) {
    metrics_.prefix_queries.fetch_add(turn.prompt_last() + 1, std::memory_order_relaxed);
  }
  if (start.tokens == 0) return false;
  const int slot = turn.cache().slot;
  if (start.from >= 0 && !model_.CopySlot(start.from, slot).ok()) return false;
  if (start.scores != nullptr &&
      !model_.WriteSlot(slot, kernels::SlotPart::kScores, start.scores->bytes())->Wait().ok()) {
    return false;
  }
  turn.BeginAt(options_.geometry, start.tokens, start.digest);
  metrics_.prefix_turns.fetch_add(1, std::memory_order_relaxed);
  metrics_.prefix_hits.fetch_add(start.tokens, std::memory_order_relaxed);
  // Scores at the prompt's last id are the same whoever has read it.
  if (leader != nullptr) {
    running.start = leader->start;
  } else if (turn.held()) {
    running.start = std::move(start.scores);
  }
  return true;
}

void EngineLoop::KeepMark(Running& running) {
  Turn& turn = *running.turn;
  if (!turn.held()) return;
  turn.Go();
  const SessionCache& cache = turn.cache();
  running.mark_digest = cache.digest;
  running.start_closed = cache.plan.strides_closed();
  const bool wanted = turn.replies() != nullptr || (turn.leaves_prefix() && turn.prompt_last() >= kMinPrefixTokens);
  if (wanted && running.start == nullptr) running.start = KeepStart(cache.slot, kernels::SlotPart::kScores);
  ReplyGroup* const replies = turn.replies();
  if (replies != nullptr && replies->leader == &turn) {
    replies->prompt = ReplyGroup::Prompt::kRead;
    leader_has_read_ = true;
  }
}

// With the close of its stride the mark is lost, so before it an entry of its own is made of it.
bool EngineLoop::MayLaunch(Running& running) {
  Turn& turn = *running.turn;
  if (running.start == nullptr || !turn.leaves_prefix() || turn.prompt_last() < kMinPrefixTokens) return true;
  const CascadePlan& ahead = turn.plan_ahead();
  if (ahead.tokens_seen() < options_.geometry.num_sinks || ahead.TokensUntilCut() > 1) return true;
  if (turn.in_flight()) return false;
  std::shared_ptr<kernels::HostMemory> scores = std::exchange(running.start, nullptr);
  const PrefixQuery query = turn.prompt_begin();
  const std::optional<int> slot = sessions_.TakeSlotToKeep(query);
  if (!slot.has_value()) return true;
  absl::Status status = model_.CopySlot(turn.cache().slot, *slot);
  if (status.ok() && ahead.tokens_seen() != turn.prompt_last()) {
    status = model_.WriteSlot(*slot, kernels::SlotPart::kScores, scores->bytes())->Wait();
  }
  if (!status.ok()) {
    sessions_.ReturnSlot(*slot);
    return true;
  }
  Prefix prefix;
  prefix.tenant = query.tenant;
  prefix.ids.assign(query.ids.begin(), query.ids.end());
  prefix.digest = running.mark_digest;
  prefix.slot = *slot;
  running.saved_mark = sessions_.KeepPrefix(std::move(prefix));
  return true;
}

void EngineLoop::LeaveSlot(Running& running) {
  Turn& turn = *running.turn;
  const SessionCache& cache = turn.cache();
  if (cache.slot < 0) return;
  if (!turn.leaves_prefix()) {
    sessions_.ReturnSlot(cache.slot);
    return;
  }
  Prefix prefix = turn.TakePrefix();
  if (running.start != nullptr && cache.plan.strides_closed() == running.start_closed) {
    prefix.mark = turn.prompt_last();
    prefix.mark_digest = running.mark_digest;
    prefix.mark_scores = running.start;
  }
  prefix.sibling = running.saved_mark;
  sessions_.KeepPrefix(std::move(prefix));
}

void EngineLoop::LeaveReplies(const Turn& turn) {
  ReplyGroup* const replies = turn.replies();
  if (replies == nullptr || replies->leader != &turn) return;
  if (replies->prompt == ReplyGroup::Prompt::kReading) replies->prompt = ReplyGroup::Prompt::kUnread;
  replies->leader = nullptr;
}

}  // namespace cascade
