#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/cache/cache_image.h"
#include "engine/session_transfer.h"
#include "engine/session_transfer_wire.h"

namespace cascade {
namespace {

struct Source {
  std::shared_ptr<kernels::HostMemory> cache;  // null: the session has no cache
  int64_t tokens_seen = 0;
  uint64_t digest = 0;
  std::vector<int32_t> ids;  // from tokens_seen to the session's last but one
};

absl::StatusOr<Source> ReadCache(const TransferContext& context, Session& session) {
  Source source;
  const int64_t fed = session.cache.plan.tokens_seen();
  source.tokens_seen = fed;
  source.digest = session.cache.digest;
  switch (session.home) {
    case SessionHome::kNone:
      source.tokens_seen = 0;
      return source;
    case SessionHome::kSlot: {
      // Not of the mover's own memory: a reader may take any time.
      auto memory = context.model.AllocateHost(context.model.SlotBytes(kernels::SlotPart::kAll));
      if (!memory.ok()) return memory.status();
      source.cache = *std::move(memory);
      if (absl::Status status = context.mover.CopyTo(source.cache->bytes(), session.cache.slot); !status.ok()) {
        return status;
      }
      return source;
    }
    case SessionHome::kHost:
      if (session.host != nullptr) {
        auto memory = context.model.AllocateHost(session.host->bytes().size());
        if (!memory.ok()) return memory.status();
        source.cache = *std::move(memory);
        std::memcpy(source.cache->bytes().data(), session.host->bytes().data(), session.host->bytes().size());
      }
      source.ids = session.replay;
      source.tokens_seen = fed - static_cast<int64_t>(session.replay.size());
      return source;
    case SessionHome::kDisk:
      break;
  }
  // Another server may have it now.
  if (absl::Status status = session.journal->Claim(); !status.ok()) return status;
  auto memory = context.model.AllocateHost(context.model.SlotBytes(kernels::SlotPart::kAll));
  if (!memory.ok()) return memory.status();
  auto restored = session.journal->Restore(fed, fed, (*memory)->bytes());
  if (!restored.ok()) return restored.status();
  source.tokens_seen = restored->tokens_seen;
  source.digest = restored->digest;
  source.ids = std::move(restored->ids);
  if (source.tokens_seen > 0) source.cache = *std::move(memory);
  return source;
}

}  // namespace

absl::StatusOr<SessionExport> Export(const TransferContext& context, const std::string& id, bool with_history) {
  absl::StatusOr<AcquiredSession> acquired = context.sessions.AcquireStill(id, std::nullopt);
  if (!acquired.ok()) return acquired.status();
  Session session = acquired->lease.Snapshot();
  if (with_history && session.journal == nullptr && session.cache.position() > 0) {
    return absl::FailedPreconditionError("with_history: the session has no journal, so its ids are not kept");
  }
  absl::StatusOr<Source> source = ReadCache(context, session);
  if (!source.ok()) return source.status();

  const JournalState state = ToJournalState(session);
  TurnRecord rest;
  rest.kind = TurnKind::kScore;  // nobody can ask for it again
  rest.position = source->tokens_seen;
  rest.ids = std::move(source->ids);
  uint64_t digest = source->digest;
  if (with_history && session.journal != nullptr) {
    const int64_t fed = session.cache.plan.tokens_seen();
    auto history = session.journal->Restore(0, fed, {});
    if (absl::IsDataLoss(history.status())) {
      return absl::FailedPreconditionError("with_history: the session's journal does not go back to its begin");
    }
    if (!history.ok()) return history.status();
    rest.position = 0;
    rest.ids = std::move(history->ids);
    digest = 0;
  }
  if (session.cache.pending.has_value()) rest.ids.push_back(*session.cache.pending);
  rest.prompt_tokens = static_cast<int64_t>(rest.ids.size());
  rest.finish = state.place.last_finish;
  rest.reply_end = state.place.reply_end;
  rest.ended_ms = state.last_used_ms;

  // The session as it is before those ids, which count as a turn.
  JournalState before = state;
  before.place.position = rest.position;
  before.place.turns = std::max<int64_t>(0, state.place.turns - (rest.ids.empty() ? 0 : 1));
  before.place.digest = digest;
  before.place.last_id = rest.position > 0 ? 0 : -1;  // not known, and overwritten by the record
  const SegmentHeader header = HeaderOf(session.key, context.vault.context().model, before);

  Tag tag;
  std::vector<uint8_t> segment = EncodeHeader(header, context.vault.sealer(), &tag);
  if (!rest.ids.empty()) {
    const std::vector<uint8_t> record = EncodeRecord(rest, context.vault.sealer(), &tag);
    segment.insert(segment.end(), record.begin(), record.end());
  }
  SessionExport result;
  const TransferHead head{.segment_bytes = segment.size(), .has_image = source->cache != nullptr};
  result.head = head.Encode();
  result.head.insert(result.head.end(), segment.begin(), segment.end());
  if (source->cache == nullptr) return result;
  ImageHeader image;
  image.model = context.vault.context().model;
  image.geometry = context.vault.context().geometry;
  image.session = session.key;
  image.tokens_seen = source->tokens_seen;
  image.digest = source->digest;
  image.cache_bytes = source->cache->bytes().size();
  const std::vector<uint8_t> sealed =
      SealImage(image, source->cache->bytes(), context.vault.sealer(), kImageHashThreads);
  result.head.insert(result.head.end(), sealed.begin(), sealed.end());
  result.cache = std::move(source->cache);
  return result;
}

}  // namespace cascade
