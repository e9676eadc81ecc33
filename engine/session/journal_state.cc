#include "engine/session/journal_state.h"

#include <algorithm>
#include <utility>

#include "engine/base/token_digest.h"

namespace cascade {

bool JournalState::Apply(const TurnRecord& record, size_t keep_turn_starts) {
  const auto ids = static_cast<int64_t>(record.ids.size());
  if (record.position != place.position || record.prompt_tokens > ids) return false;
  turn_starts.push_back(place);
  while (turn_starts.size() > keep_turn_starts) turn_starts.pop_front();
  place.position += ids;
  ++place.turns;
  place.digest = ExtendTokenDigest(place.digest, record.ids);
  if (ids > 0) place.last_id = record.ids.back();
  place.recent = ExtendRecent(place.recent, record.ids);
  place.reply_end = record.reply_end;
  place.last_finish = record.finish;
  last_used_ms = record.ended_ms;
  last_turn = LastTurn{.turn_id = record.turn_id,
                       .kind = record.kind,
                       .position = record.position,
                       .prompt_tokens = record.prompt_tokens,
                       .sampled = {record.ids.begin() + static_cast<ptrdiff_t>(record.prompt_tokens), record.ids.end()},
                       .finish = record.finish,
                       .stop_sequence = record.stop_sequence};
  return true;
}

bool JournalState::Apply(const RewindRecord& record) {
  if (record.position > place.position || record.turns > place.turns) return false;
  RecentIds recent;
  for (const JournalPlace& start : turn_starts) {
    if (start.turns == record.turns) recent = start.recent;
  }
  place = {.position = record.position,
           .turns = record.turns,
           .digest = record.digest,
           .last_id = record.last_id,
           .reply_end = record.reply_end,
           .last_finish = record.last_finish,
           .recent = std::move(recent)};
  while (!turn_starts.empty() && turn_starts.back().turns >= record.turns) turn_starts.pop_back();
  last_used_ms = record.ended_ms;
  last_turn.reset();
  return true;
}

SegmentHeader HeaderOf(const SessionKey& session, const Digest& model, const JournalState& state) {
  SegmentHeader header;
  header.session = session;
  header.model = model;
  header.label = state.label;
  header.durability = state.durability;
  header.created_ms = state.created_ms;
  header.position = state.place.position;
  header.turns = state.place.turns;
  header.digest = state.place.digest;
  header.last_id = state.place.last_id;
  header.reply_end = state.place.reply_end;
  header.last_finish = state.place.last_finish;
  header.last_used_ms = state.last_used_ms;
  return header;
}

JournalPlace PlaceOf(const SegmentHeader& header) {
  return {.position = header.position,
          .turns = header.turns,
          .digest = header.digest,
          .last_id = header.last_id,
          .reply_end = header.reply_end,
          .last_finish = header.last_finish,
          .recent = nullptr};
}

}  // namespace cascade
