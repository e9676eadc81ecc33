// Reading a journal back: its state when a session is found, its tokens when a cache is made again.
#include <algorithm>
#include <utility>

#include "engine/base/token_digest.h"
#include "engine/session/journal.h"
#include "engine/session/journal_reader.h"

namespace cascade {
namespace {

absl::Status Damaged(const char* what) { return absl::DataLossError(what); }

bool SameTokens(const JournalPlace& a, const JournalPlace& b) {
  return a.position == b.position && a.digest == b.digest && a.last_id == b.last_id;
}

// Each segment is this session's own, or one of those that a later one was forked from.
absl::Status CheckLineage(const std::vector<SegmentHeader>& headers, const SessionKey& session) {
  if (headers.back().session != session) return absl::NotFoundError("a fork that was not finished");
  SessionKey expected = session;
  for (auto header = headers.rbegin(); header != headers.rend(); ++header) {
    if (header->session != expected) return Damaged("a part of the journal is another session's");
    const auto earlier = std::next(header);
    if (earlier != headers.rend() && earlier->session != expected) expected = header->parent;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> Journal::ReadFile(const std::string& name) const {
  const auto file = context_.directory.OpenRead(name);
  if (!file.ok()) return file.status();
  std::vector<uint8_t> bytes(static_cast<size_t>((*file)->size()));
  if (absl::Status status = (*file)->Read(0, bytes); !status.ok()) return status;
  return bytes;
}

absl::StatusOr<SegmentHeader> Journal::ReadHeader(uint64_t sequence) const {
  const auto file = context_.directory.OpenRead(SegmentName(session_, sequence));
  if (!file.ok()) return file.status();
  std::vector<uint8_t> bytes(static_cast<size_t>(std::min<int64_t>((*file)->size(), kSegmentHeaderBytes)));
  if (absl::Status status = (*file)->Read(0, bytes); !status.ok()) return status;
  absl::StatusOr<SegmentHeader> header = SegmentReader(bytes, context_.sealer).Header();
  if (!header.ok()) return header;
  if (header->sequence != sequence) return Damaged("a part of the journal is in another one's place");
  if (header->model != context_.model) return absl::FailedPreconditionError("the session is of another model");
  return header;
}

absl::StatusOr<Journal::Walked> Journal::Walk(const std::set<uint64_t>& segments, const Visitor& visitor) const {
  if (segments.empty()) return absl::NotFoundError("the session has no journal");
  Walked walked;
  for (const uint64_t sequence : segments) {
    absl::StatusOr<SegmentHeader> header = ReadHeader(sequence);
    if (!header.ok()) return header.status();
    walked.headers.push_back(*std::move(header));
  }
  if (absl::Status status = CheckLineage(walked.headers, session_); !status.ok()) return status;
  for (size_t i = 0; i < walked.headers.size(); ++i) {
    const absl::StatusOr<std::vector<uint8_t>> bytes = ReadFile(SegmentName(session_, walked.headers[i].sequence));
    if (!bytes.ok()) return bytes.status();
    SegmentReader reader(*bytes, context_.sealer);
    if (absl::Status status = reader.Header().status(); !status.ok()) return status;
    if (!visitor.begin(walked.headers[i], i == 0)) return Damaged("parts of the journal do not fit together");
    const bool newest = i + 1 == walked.headers.size();
    // What lies behind the place where the next one begins was never acknowledged.
    while (newest || reader.tag() != walked.headers[i + 1].previous) {
      const absl::StatusOr<JournalRecord> record = reader.Next();
      if (!record.ok()) return record.status();
      if (std::holds_alternative<std::monostate>(*record)) {
        if (!newest) return Damaged("the end of a part of the journal is missing");
        break;
      }
      if (!visitor.record(*record)) return Damaged("records of the journal do not fit together");
    }
    walked.tag = reader.tag();
    walked.sizes.push_back(static_cast<int64_t>(bytes->size()));
  }
  return walked;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Load(const JournalContext& context, const SessionKey& session,
                                                       SessionFiles files) {
  std::unique_ptr<Journal> journal(new Journal(context, session));
  JournalState state;
  SessionKey at = {};
  const auto begin = [&](const SegmentHeader& header, bool first) {
    const JournalPlace place = PlaceOf(header);
    if (!first && !SameTokens(place, state.place)) return false;
    // A fork's turns are its own.
    if (header.session != at) state.turn_starts.clear();
    if (header.session != at) state.last_turn.reset();
    at = header.session;
    const RecentIds recent = state.place.recent;
    state.place = place;
    state.place.recent = recent;
    state.label = header.label;
    state.durability = header.durability;
    state.created_ms = header.created_ms;
    state.last_used_ms = header.last_used_ms;
    return true;
  };
  const auto apply = [&](const JournalRecord& record) {
    if (const auto* turn = std::get_if<TurnRecord>(&record)) return state.Apply(*turn, context.keep_turn_starts);
    return state.Apply(std::get<RewindRecord>(record));
  };
  absl::StatusOr<Walked> walked = journal->Walk(files.segments, {begin, apply});
  if (!walked.ok()) return walked.status();
  journal->state_ = std::move(state);
  journal->tag_ = walked->tag;
  journal->owner_ = walked->headers.back().owner;
  journal->newest_size_ = walked->sizes.back();
  {
    MutexLock lock(journal->mutex_);
    for (size_t i = 0; i < walked->headers.size(); ++i) {
      const SegmentHeader& header = walked->headers[i];
      journal->segments_.push_back({header.sequence, header.position, walked->sizes[i]});
    }
    journal->images_ = std::move(files.images);
  }
  if (absl::Status status = journal->CompleteRecent(walked->headers.front().position); !status.ok()) return status;
  journal->Settled();
  return journal;
}

RecentIds Journal::History::RecentBefore(int64_t position) const {
  const auto end = static_cast<size_t>(std::max<int64_t>(0, position - first));
  return ExtendRecent(nullptr, std::span<const int32_t>(ids).first(std::min(end, ids.size())));
}

// After a rewind to a turn that was older than those that are kept the recent ids are elsewhere in the journal.
absl::Status Journal::CompleteRecent(int64_t first) {
  const auto lacks = [&](const JournalPlace& place) {
    const int64_t there = std::min<int64_t>(place.position - first, kRecentIds);
    return static_cast<int64_t>(AsSpan(place.recent).size()) < there;
  };
  const bool complete =
      !lacks(state_.place) && std::none_of(state_.turn_starts.begin(), state_.turn_starts.end(), lacks);
  if (complete) return absl::OkStatus();
  const absl::StatusOr<History> history = ReadHistory();
  if (!history.ok()) return history.status();
  state_.place.recent = history->RecentBefore(state_.place.position);
  for (JournalPlace& start : state_.turn_starts) start.recent = history->RecentBefore(start.position);
  return absl::OkStatus();
}

absl::StatusOr<Journal::History> Journal::ReadHistory() {
  History history;
  SessionKey at = {};
  JournalState state;  // follows the records, for the places of turns
  const auto begin = [&](const SegmentHeader& header, bool first) {
    if (first) {
      history.first = header.position;
      history.first_digest = header.digest;
    }
    if (header.session != at) history.turn_starts.clear();
    at = header.session;
    state.place = PlaceOf(header);
    return header.position == history.first + static_cast<int64_t>(history.ids.size());
  };
  const auto record = [&](const JournalRecord& record) {
    if (const auto* turn = std::get_if<TurnRecord>(&record)) {
      state.place.recent.reset();  // of all turns they would be too much
      history.turn_starts.push_back(state.place);
      history.ids.insert(history.ids.end(), turn->ids.begin(), turn->ids.end());
      return state.Apply(*turn, 1);
    }
    const auto& rewind = std::get<RewindRecord>(record);
    if (!state.Apply(rewind)) return false;
    if (rewind.position < history.first) {  // to tokens of segments that are not there any more
      history.first = rewind.position;
      history.first_digest = rewind.digest;
    }
    history.ids.resize(static_cast<size_t>(rewind.position - history.first));
    while (!history.turn_starts.empty() && history.turn_starts.back().turns >= rewind.turns) {
      history.turn_starts.pop_back();
    }
    return true;
  };
  std::set<uint64_t> segments = files().segments;
  absl::StatusOr<Walked> walked = Walk(segments, {begin, record});
  while (absl::IsNotFound(walked.status()) && files().segments != segments) {  // those that an image made useless
    history = {};
    at = {};
    segments = files().segments;
    walked = Walk(segments, {begin, record});
  }
  if (!walked.ok()) return walked.status();
  return history;
}

absl::StatusOr<JournalPlace> Journal::FindTurnStart(int64_t turn) {
  absl::StatusOr<History> history = ReadHistory();
  if (!history.ok()) return history.status();
  for (JournalPlace& place : history->turn_starts) {
    if (place.turns != turn) continue;
    place.recent = history->RecentBefore(place.position);
    // Nor does it if there is no cache to begin with. Up to one token none is needed.
    if (history->first == 0 || place.position <= 1 || ImageBefore(place.position - 1).value_or(-1) >= history->first) {
      return place;
    }
  }
  return absl::NotFoundError("the journal does not go back to that turn");
}

absl::StatusOr<Journal::Restored> Journal::Restore(int64_t tokens_seen, int64_t end, std::span<std::byte> cache) {
  absl::StatusOr<History> history = ReadHistory();
  if (!history.ok()) return history.status();
  const auto known_end = history->first + static_cast<int64_t>(history->ids.size());
  if (end > known_end || tokens_seen > end) return Damaged("the journal is shorter than the session");
  const auto ids = [&](int64_t from, int64_t to) {
    return std::span<const int32_t>(history->ids)
        .subspan(static_cast<size_t>(from - history->first), static_cast<size_t>(to - from));
  };
  const std::set<int64_t> images = files().images;
  Restored restored;
  for (auto image = images.rbegin(); image != images.rend(); ++image) {
    if (*image > tokens_seen || *image < history->first) continue;
    const uint64_t digest = ExtendTokenDigest(history->first_digest, ids(history->first, *image));
    const absl::Status status = LoadImage(*image, digest, cache);
    if (status.ok()) {
      restored.tokens_seen = *image;
      restored.digest = digest;
      break;
    }
    if (absl::IsResourceExhausted(status)) return status;
    restored.damage = std::string(status.message());
    MutexLock lock(mutex_);
    useless_images_.insert(*image);
  }
  if (restored.tokens_seen < history->first) {
    return Damaged("no image of the session can be used, and its journal does not go back to its begin");
  }
  const std::span<const int32_t> rest = ids(restored.tokens_seen, end);
  restored.ids.assign(rest.begin(), rest.end());
  return restored;
}

}  // namespace cascade
