#include "tests/engine/session/session_model.h"

#include <algorithm>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/token_digest.h"
#include "tests/engine/session/journal_test_util.h"

namespace cascade::test {
namespace {

std::string Describe(const JournalPlace& place) {
  return absl::StrCat(place.position, "/", place.turns, "/", place.digest, "/", place.last_id, "/",
                      static_cast<int>(place.reply_end), "/", static_cast<int>(place.last_finish));
}

// Images that a session at `position` keeps for `limit`: the newest before it, which a cache can go on from.
void KeepNewest(const std::set<int64_t>& images, int64_t limit, size_t count, std::set<int64_t>& kept) {
  auto image = images.lower_bound(limit);
  for (; count > 0 && image != images.begin(); --count) kept.insert(*--image);
}

}  // namespace

std::string Describe(const JournalState& state) {
  std::string text = absl::StrCat(state.label, " ", static_cast<int>(state.durability), " ", state.created_ms, " ",
                                  state.last_used_ms, " at ", Describe(state.place), " starts");
  for (const JournalPlace& start : state.turn_starts) absl::StrAppend(&text, " ", Describe(start));
  if (state.last_turn.has_value()) {
    const LastTurn& turn = *state.last_turn;
    absl::StrAppend(&text, " last '", turn.turn_id, "' ", static_cast<int>(turn.kind), " ", turn.position, " ",
                    turn.prompt_tokens, " [", absl::StrJoin(turn.sampled, " "), "] ", static_cast<int>(turn.finish),
                    " '", absl::CHexEscape(turn.stop_sequence), "'");
  }
  return text;
}

std::vector<std::byte> CacheOf(std::span<const int32_t> ids) {
  std::mt19937_64 random(ExtendTokenDigest(0, ids));
  std::vector<std::byte> cache(kCacheBytes);
  std::ranges::generate(cache, [&] { return static_cast<std::byte>(random()); });
  return cache;
}

RewindRecord RewindTo(const JournalPlace& place, int64_t ended_ms) {
  return {.position = place.position,
          .turns = place.turns,
          .digest = place.digest,
          .last_id = place.last_id,
          .reply_end = place.reply_end,
          .last_finish = place.last_finish,
          .ended_ms = ended_ms};
}

SessionModel SessionModel::Random(std::mt19937_64& random) {
  SessionModel model;
  FillRandom(random, model.key);
  model.label = RandomText(random, 64, "abcXYZ019_-");
  model.durability = random() % 2 == 0 ? Durability::kJournal : Durability::kImage;
  model.created_ms = model.last_used_ms = static_cast<int64_t>(random() >> 20);
  return model;
}

JournalState SessionModel::State(size_t keep_turn_starts) const {
  JournalState state;
  state.label = label;
  state.durability = durability;
  state.created_ms = created_ms;
  state.last_used_ms = last_used_ms;
  state.place = Place();
  for (size_t turn = turns.size() - std::min(turn_starts, keep_turn_starts); turn < turns.size(); ++turn) {
    state.turn_starts.push_back(Place(turn));
  }
  if (ends_with_turn) {
    const TurnRecord& last = turns.back();
    state.last_turn =
        LastTurn{.turn_id = last.turn_id,
                 .kind = last.kind,
                 .position = last.position,
                 .prompt_tokens = last.prompt_tokens,
                 .sampled = {last.ids.begin() + static_cast<ptrdiff_t>(last.prompt_tokens), last.ids.end()},
                 .finish = last.finish,
                 .stop_sequence = last.stop_sequence};
  }
  return state;
}

JournalPlace SessionModel::Place(size_t own_turns) const {
  if (own_turns == 0) return begin;
  const TurnRecord& last = turns[own_turns - 1];
  const int64_t position = last.position + static_cast<int64_t>(last.ids.size());
  return {.position = position,
          .turns = begin.turns + static_cast<int64_t>(own_turns),
          .digest = DigestOf(position),
          .last_id = position == 0 ? -1 : ids[static_cast<size_t>(position) - 1],
          .reply_end = last.reply_end,
          .last_finish = last.finish};
}

std::span<const int32_t> SessionModel::Ids(int64_t from, int64_t to) const {
  return std::span<const int32_t>(ids).subspan(static_cast<size_t>(from), static_cast<size_t>(to - from));
}

uint64_t SessionModel::DigestOf(int64_t tokens) const { return ExtendTokenDigest(0, Ids(0, tokens)); }

TurnRecord SessionModel::RandomTurnRecord(std::mt19937_64& random, size_t max_ids) const {
  TurnRecord turn = RandomTurn(random, max_ids);
  turn.position = position();
  turn.ended_ms = last_used_ms + 1;
  return turn;
}

void SessionModel::Add(const TurnRecord& turn, size_t keep_turn_starts) {
  turns.push_back(turn);
  ids.insert(ids.end(), turn.ids.begin(), turn.ids.end());
  turn_starts = std::min(turn_starts + 1, keep_turn_starts);
  ends_with_turn = true;
  last_used_ms = turn.ended_ms;
}

void SessionModel::TakeBack(size_t own_turns, int64_t ended_ms) {
  const size_t taken = turns.size() - own_turns;
  ids.resize(static_cast<size_t>(Place(own_turns).position));
  turns.resize(own_turns);
  turn_starts -= std::min(turn_starts, taken);
  ends_with_turn = false;
  last_used_ms = ended_ms;
  RemoveImagesAfter(position());
}

SessionModel SessionModel::Fork(std::mt19937_64& random) const {
  SessionModel fork = *this;
  const SessionModel other = Random(random);
  fork.key = other.key;
  fork.label = other.label;
  fork.created_ms = fork.last_used_ms = other.created_ms;
  fork.begin = Place();
  fork.begin.turns = 0;
  fork.turns.clear();
  fork.turn_starts = 0;
  fork.ends_with_turn = false;
  fork.forked = true;
  fork.RemoveImagesAfter(position());
  return fork;
}

void SessionModel::AddImage(int64_t tokens_seen, size_t keep_turn_starts) {
  images.insert(tokens_seen);
  std::set<int64_t> kept;
  KeepNewest(images, position(), 2, kept);
  for (const JournalPlace& start : State(keep_turn_starts).turn_starts) {
    KeepNewest(images, start.position, 1, kept);
    if (images.contains(start.position)) kept.insert(start.position);
  }
  std::set<int64_t> ahead(images.lower_bound(position()), images.end());
  KeepNewest(ahead, std::numeric_limits<int64_t>::max(), 2, kept);
  images = kept;
}

void SessionModel::RemoveImagesAfter(int64_t tokens_seen) {
  images.erase(images.upper_bound(tokens_seen), images.end());
}

}  // namespace cascade::test
