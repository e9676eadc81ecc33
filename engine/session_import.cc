#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/token_digest.h"
#include "engine/cache/cache_image.h"
#include "engine/session/journal_reader.h"
#include "engine/session_transfer.h"
#include "engine/session_transfer_wire.h"

namespace cascade {
namespace {

absl::Status Damaged() { return absl::DataLossError("data: damaged, cut, or sealed with another server's key"); }

class Import final : public SessionImport {
 public:
  explicit Import(const TransferContext& context)
      : context_(context), cache_bytes_(context.model.SlotBytes(kernels::SlotPart::kAll)) {}

  absl::Status Add(std::span<const uint8_t> bytes) override;
  absl::StatusOr<SessionInfo> Finish(const std::string& label, std::optional<Durability> durability,
                                     bool replay) override;

 private:
  struct Parsed {
    JournalState before;
    TurnRecord rest;
    ImageHeader image;
    bool image_fits = false;
  };
  // Bytes before the cache's, as far as they are known.
  size_t HeadBytes() const {
    return kTransferHeadBytes + segment_bytes_ + (has_image_ ? ImageHeaderBytes(cache_bytes_) : 0);
  }
  absl::StatusOr<Parsed> Parse(bool replay);
  absl::Status ParseImage(bool replay, Parsed& parsed);

  const TransferContext context_;
  const size_t cache_bytes_;
  std::vector<uint8_t> head_;
  bool known_ = false;  // the first bytes have been read
  uint64_t segment_bytes_ = 0;
  bool has_image_ = false;
  std::shared_ptr<kernels::HostMemory> cache_;
  uint64_t total_ = 0;
  size_t filled_ = 0;  // of cache_
};

absl::Status Import::Add(std::span<const uint8_t> bytes) {
  total_ += bytes.size();
  while (!bytes.empty()) {
    const size_t wanted = known_ ? HeadBytes() : kTransferHeadBytes;
    if (head_.size() < wanted) {
      const size_t count = std::min(bytes.size(), wanted - head_.size());
      head_.insert(head_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      if (known_ || head_.size() < kTransferHeadBytes) continue;
      const std::optional<TransferHead> head = TransferHead::Decode(head_);
      if (!head.has_value()) return Damaged();
      segment_bytes_ = head->segment_bytes;
      has_image_ = head->has_image;
      known_ = true;
      continue;
    }
    if (!has_image_) return absl::ResourceExhaustedError("data: longer than an exported session");
    if (cache_ == nullptr) {
      auto memory = context_.model.AllocateHost(cache_bytes_);
      if (!memory.ok()) return memory.status();
      cache_ = *std::move(memory);
    }
    // An image of another geometry may be larger than ours; it is not kept then, only its history may be of use.
    const size_t count = std::min(bytes.size(), cache_bytes_ - filled_);
    std::memcpy(cache_->bytes().data() + filled_, bytes.data(), count);
    filled_ += count;
    if (count < bytes.size() && total_ > kMaxTransferSegment + (uint64_t{1} << 40)) {
      return absl::ResourceExhaustedError("data: longer than an exported session");
    }
    break;
  }
  return absl::OkStatus();
}

absl::Status Import::ParseImage(bool replay, Parsed& parsed) {
  const Vault& vault = context_.vault;
  const size_t at = kTransferHeadBytes + segment_bytes_;
  if (head_.size() <= at) return Damaged();
  const std::span<const uint8_t> bytes = std::span<const uint8_t>(head_).subspan(at);
  const absl::StatusOr<ImageHeader> header = ReadImageHeader(bytes, total_ - at, vault.sealer());
  if (!header.ok()) return absl::IsDataLoss(header.status()) ? Damaged() : header.status();
  absl::Status status = CheckImageFits(*header, vault.context().model, vault.context().geometry);
  if (!status.ok()) {
    const bool can_replay = header->model == vault.context().model && parsed.rest.position == 0;
    if (replay && can_replay) return absl::OkStatus();
    return can_replay ? absl::FailedPreconditionError(
                            absl::StrCat(status.message(), "; with replay its tokens are read again"))
                      : status;
  }
  const absl::StatusOr<SealedImage> image = OpenImage(bytes, total_ - at, vault.sealer());
  if (!image.ok()) return absl::IsDataLoss(image.status()) ? Damaged() : image.status();
  if (filled_ != cache_bytes_ || header->cache_bytes != cache_bytes_) return Damaged();
  if (!CheckSections(*image, cache_->bytes(), kImageHashThreads).ok()) return Damaged();
  const int64_t seen = header->tokens_seen - parsed.rest.position;
  if (seen < 0 || seen >= static_cast<int64_t>(parsed.rest.ids.size())) return Damaged();
  const uint64_t digest = ExtendTokenDigest(parsed.before.place.digest,
                                            std::span<const int32_t>(parsed.rest.ids).first(static_cast<size_t>(seen)));
  if (digest != header->digest) return Damaged();
  parsed.image = *header;
  parsed.image_fits = true;
  return absl::OkStatus();
}

absl::StatusOr<Import::Parsed> Import::Parse(bool replay) {
  if (!known_ || head_.size() < kTransferHeadBytes + segment_bytes_) return Damaged();
  SegmentReader reader(std::span<const uint8_t>(head_).subspan(kTransferHeadBytes, segment_bytes_),
                       context_.vault.sealer());
  const absl::StatusOr<SegmentHeader> header = reader.Header();
  if (!header.ok()) return absl::IsDataLoss(header.status()) ? Damaged() : header.status();
  if (header->model != context_.vault.context().model) {
    return absl::FailedPreconditionError("data: the session is of another model");
  }
  const absl::StatusOr<JournalRecord> record = reader.Next();
  if (!record.ok() || reader.torn()) return Damaged();
  Parsed parsed;
  if (const auto* rest = std::get_if<TurnRecord>(&*record)) {
    parsed.rest = *rest;
    const absl::StatusOr<JournalRecord> end = reader.Next();
    if (!end.ok() || !std::holds_alternative<std::monostate>(*end) || reader.torn()) return Damaged();
    if (rest->position != header->position || rest->ids.empty()) return Damaged();
  } else if (!std::holds_alternative<std::monostate>(*record) || header->position != 0) {
    return Damaged();
  }
  for (const int32_t id : parsed.rest.ids) {
    if (id >= context_.model.vocabulary()) return Damaged();
  }
  parsed.before.label = header->label;
  parsed.before.created_ms = header->created_ms;
  parsed.before.last_used_ms = header->last_used_ms;
  parsed.before.place = PlaceOf(*header);
  if (has_image_) {
    if (absl::Status status = ParseImage(replay, parsed); !status.ok()) return status;
  } else if (total_ != kTransferHeadBytes + segment_bytes_ || header->position != 0) {
    return Damaged();
  }
  return parsed;
}

absl::StatusOr<SessionInfo> Import::Finish(const std::string& label, std::optional<Durability> durability,
                                           bool replay) {
  absl::StatusOr<Parsed> parsed = Parse(replay);
  if (!parsed.ok()) return parsed.status();
  const Durability kind = durability.value_or(context_.options.durability);
  absl::StatusOr<AcquiredSession> acquired =
      context_.sessions.CreateBusy(label.empty() ? parsed->before.label : label, kind);
  if (!acquired.ok()) return acquired.status();
  Session session = acquired->lease.Snapshot();
  JournalState before = parsed->before;
  before.label = session.label;
  before.durability = kind;
  before.created_ms = ToUnixMs(session.created);
  JournalState state = before;
  if (!parsed->rest.ids.empty() && !state.Apply(parsed->rest, 0)) {
    acquired->lease.Lose();
    return Damaged();
  }
  state.last_turn.reset();
  const std::span<const std::byte> cache =
      parsed->image_fits ? std::span<const std::byte>(cache_->bytes()) : std::span<const std::byte>();
  if (kind != Durability::kNone) {
    auto journal = context_.vault.CreateFrom(session.key, before, parsed->rest, parsed->image.tokens_seen,
                                             parsed->image.digest, cache);
    if (!journal.ok()) {
      acquired->lease.Lose();
      return journal.status();
    }
    session.journal = *std::move(journal);
  }
  SetFromJournal(context_.options.geometry, state, session);
  if (kind == Durability::kNone && session.home == SessionHome::kDisk) {
    const int64_t fed = session.cache.plan.tokens_seen();
    const auto from = static_cast<size_t>(parsed->image.tokens_seen - parsed->rest.position);
    const auto to = static_cast<size_t>(fed - parsed->rest.position);
    session.home = SessionHome::kHost;
    session.host = parsed->image_fits ? cache_ : nullptr;
    session.replay.assign(parsed->rest.ids.begin() + static_cast<ptrdiff_t>(from),
                          parsed->rest.ids.begin() + static_cast<ptrdiff_t>(to));
    session.cache.digest = parsed->image.digest;
  }
  return acquired->lease.Become(session);
}

}  // namespace

std::unique_ptr<SessionImport> BeginImport(const TransferContext& context) { return std::make_unique<Import>(context); }

}  // namespace cascade
