// What a journal says of its session.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "engine/session/journal_record.h"
#include "engine/session/recent_ids.h"

namespace cascade {

// Where a session stands between two turns.
struct JournalPlace {
  int64_t position = 0;
  int64_t turns = 0;
  uint64_t digest = 0;
  int32_t last_id = -1;
  ReplyEnd reply_end = ReplyEnd::kNone;
  FinishReason last_finish = FinishReason::kNone;
  // Not in the headers of segments: it follows from their records.
  RecentIds recent = nullptr;

  bool operator==(const JournalPlace& other) const {
    return position == other.position && turns == other.turns && digest == other.digest && last_id == other.last_id &&
           reply_end == other.reply_end && last_finish == other.last_finish;
  }
};

// The last turn, as far as somebody may ask for it again.
struct LastTurn {
  std::string turn_id;
  TurnKind kind = TurnKind::kGenerate;
  int64_t position = 0;  // before it
  int64_t prompt_tokens = 0;
  std::vector<int32_t> sampled;
  FinishReason finish = FinishReason::kNone;
  std::string stop_sequence;
};

struct JournalState {
  std::string label;
  Durability durability = Durability::kJournal;
  int64_t created_ms = 0;  // unix time
  int64_t last_used_ms = 0;
  JournalPlace place;
  std::deque<JournalPlace> turn_starts;  // of the newest turns, oldest first, as many as are kept
  std::optional<LastTurn> last_turn;     // none after a rewind

  // What a record that is known to follow changes. False: it does not follow.
  bool Apply(const TurnRecord& record, size_t keep_turn_starts);
  // Its recent ids are known only where the session goes back to one of `turn_starts`.
  bool Apply(const RewindRecord& record);
};

// Between a state and the header of a segment that begins with it; the header's owner, parent, sequence and previous
// tag are its file's own.
SegmentHeader HeaderOf(const SessionKey& session, const Digest& model, const JournalState& state);
JournalPlace PlaceOf(const SegmentHeader& header);

}  // namespace cascade
