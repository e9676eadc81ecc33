#include "engine/session/session.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace cascade {
namespace {

SessionState StateOf(const Session& session) {
  if (session.busy) return SessionState::kBusy;
  if (session.home == SessionHome::kHost) return SessionState::kParkedHost;
  return session.home == SessionHome::kDisk ? SessionState::kParkedDisk : SessionState::kResident;
}

}  // namespace

SessionInfo DescribeSession(const Session& session, const CascadeGeometry& geometry, std::chrono::seconds ttl) {
  SessionInfo info;
  info.id = session.id;
  info.label = session.label;
  info.state = StateOf(session);
  info.position = session.cache.position();
  const CascadePlan plan(geometry, info.position);
  info.tokens_resident = plan.tokens_resident();
  info.tokens_evicted = plan.tokens_evicted();
  info.turns = session.turns;
  info.created = session.created;
  info.last_used = session.last_used;
  if (ttl.count() > 0) info.expires = session.last_used + ttl;
  info.last_finish = session.last_finish;
  info.durability = session.durability;
  // Of a session that was not used since the start, the fed tokens' digest is not known, but that of all is.
  info.digest = session.digest;
  if (session.journal != nullptr) info.journal_bytes = session.journal->journal_bytes();
  return info;
}

SessionCache CacheAt(const CascadeGeometry& geometry, const JournalPlace& place) {
  SessionCache cache(geometry);
  if (place.position > 0) {
    cache.plan = CascadePlan(geometry, place.position - 1);
    cache.pending = place.last_id;
    cache.recent = place.recent;
  }
  return cache;
}

void SetFromJournal(const CascadeGeometry& geometry, const JournalState& state, Session& session) {
  session.label = state.label;
  session.durability = state.durability;
  session.created = FromUnixMs(state.created_ms);
  session.last_used = FromUnixMs(state.last_used_ms);
  session.cache = CacheAt(geometry, state.place);
  session.digest = state.place.digest;
  session.home = state.place.position > 1 ? SessionHome::kDisk : SessionHome::kNone;
  session.reply_end = state.place.reply_end;
  session.last_finish = state.place.last_finish;
  session.turns = state.place.turns;
  session.turn_starts.clear();
  for (const JournalPlace& place : state.turn_starts) {
    session.turn_starts.push_back(
        {CacheAt(geometry, place), place.digest, place.reply_end, place.last_finish, place.turns, nullptr});
  }
}

JournalState ToJournalState(const Session& session) {
  JournalState state;
  state.label = session.label;
  state.durability = session.durability;
  state.created_ms = ToUnixMs(session.created);
  state.last_used_ms = ToUnixMs(session.last_used);
  state.place = {.position = session.cache.position(),
                 .turns = session.turns,
                 .digest = session.digest,
                 .last_id = session.cache.pending.value_or(-1),
                 .reply_end = session.reply_end,
                 .last_finish = session.last_finish,
                 .recent = session.cache.recent};
  return state;
}

absl::Status ValidateLabel(const std::string& label) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  };
  if (label.size() > 64 || !std::all_of(label.begin(), label.end(), allowed)) {
    return absl::InvalidArgumentError("label must be at most 64 of A-Z, a-z, 0-9, _ and -");
  }
  return absl::OkStatus();
}

int64_t ToUnixMs(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::chrono::system_clock::time_point FromUnixMs(int64_t ms) {
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(ms));
}

}  // namespace cascade
