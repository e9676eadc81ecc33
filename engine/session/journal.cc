#include "engine/session/journal.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/session/vault_names.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

absl::Status Taken() { return absl::AbortedError("another server has taken the session"); }

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::Create(const JournalContext& context, const SessionKey& session,
                                                         const JournalState& state) {
  std::unique_ptr<Journal> journal(new Journal(context, session));
  journal->state_ = state;
  journal->Settled();
  if (absl::Status status = journal->BeginSegment({}); !status.ok()) {
    journal->RemoveFiles().IgnoreError();
    return status;
  }
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::CreateFrom(const JournalContext& context, const SessionKey& session,
                                                             const JournalState& before, const TurnRecord& rest,
                                                             int64_t tokens_seen, uint64_t digest,
                                                             std::span<const std::byte> cache) {
  std::unique_ptr<Journal> journal(new Journal(context, session));
  journal->state_ = before;
  journal->Settled();
  // The image first: an image without a journal is nothing, and the next start removes it.
  absl::Status status = cache.empty() ? absl::OkStatus() : journal->WriteImage(tokens_seen, digest, cache);
  if (status.ok()) status = journal->BeginSegment({}, rest.ids.empty() ? nullptr : &rest);
  if (!status.ok()) {
    journal->RemoveFiles().IgnoreError();
    return status;
  }
  journal->Settled();
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Fork(const SessionKey& session, const JournalState& state) {
  if (absl::Status status = Claim(); !status.ok()) return status;
  std::unique_ptr<Journal> fork(new Journal(context_, session));
  fork->state_ = state;
  // A fork's turns are its own.
  fork->state_.turn_starts.clear();
  fork->state_.last_turn.reset();
  fork->owner_ = owner_;
  fork->tag_ = tag_;
  fork->Settled();
  absl::Status status;
  {
    MutexLock lock(mutex_);
    MutexLock fork_lock(fork->mutex_);
    // Oldest first; until the fork has a segment of its own, all of these are only names that the next start removes.
    for (const Segment& segment : segments_) {
      status = context_.directory.Link(SegmentName(session_, segment.sequence), SegmentName(session, segment.sequence));
      if (!status.ok()) break;
      fork->segments_.push_back(segment);
    }
    for (const int64_t image : images_) {
      if (!status.ok() || image > position_) break;
      status = context_.directory.Link(ImageName(session_, image), ImageName(session, image));
      if (status.ok()) fork->images_.insert(image);
      if (absl::IsNotFound(status)) status = absl::OkStatus();  // it only saves time
    }
    fork->useless_images_ = useless_images_;
  }
  if (status.ok()) status = fork->BeginSegment(session_);
  if (!status.ok()) {
    fork->RemoveFiles().IgnoreError();
    return status;
  }
  return fork;
}

void Journal::Settled() {
  MutexLock lock(mutex_);
  position_ = state_.place.position;
  turn_starts_.clear();
  for (const JournalPlace& place : state_.turn_starts) turn_starts_.push_back(place.position);
  if (!segments_.empty()) segments_.back().bytes = newest_size_;
  CountBytes();
}

std::string Journal::TemporaryName() const {
  static std::atomic<uint64_t> next{0};
  return TemporaryFileName(context_.owner, next.fetch_add(1));
}

absl::Status Journal::BeginSegment(const SessionKey& parent, const TurnRecord* first) {
  Abandon();
  SegmentHeader header = HeaderOf(session_, context_.model, state_);
  header.owner = context_.owner;
  header.parent = parent;
  header.previous = tag_;
  const std::optional<uint64_t> newest = Newest();
  header.sequence = newest.has_value() ? *newest + 1 : 0;
  const std::string name = SegmentName(session_, header.sequence);
  Tag tag;
  std::vector<uint8_t> bytes = EncodeHeader(header, context_.sealer, &tag);
  JournalState state = state_;
  if (first != nullptr) {
    CASCADE_CHECK(state.Apply(*first, context_.keep_turn_starts));
    const std::vector<uint8_t> record = EncodeRecord(*first, context_.sealer, &tag);
    bytes.insert(bytes.end(), record.begin(), record.end());
  }
  const std::string temporary = TemporaryName();
  Directory& directory = context_.directory;
  absl::StatusOr<std::unique_ptr<WritableFile>> file = directory.Create(temporary);
  if (!file.ok()) return file.status();
  absl::Status status = (*file)->Append(bytes);
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = directory.Link(temporary, name);
  // Only a name too many, if this fails: the next start removes it.
  directory.Remove(temporary).IgnoreError();
  if (absl::IsAlreadyExists(status)) {
    taken_ = true;
    return Taken();
  }
  if (!status.ok()) return status;
  // A former owner may have written until now, and one that has lost the session must not go on.
  const bool foreign = newest.has_value() && owner_ != context_.owner;
  if (newest.has_value()) status = CheckNotTaken(*newest, foreign);
  if (!status.ok() && directory.Remove(name).ok()) return status;
  state_ = std::move(state);
  tag_ = tag;
  owner_ = context_.owner;
  newest_size_ = (*file)->size();
  {
    MutexLock lock(mutex_);
    segments_.push_back({header.sequence, header.position, newest_size_});
    CountBytes();
  }
  // Those of a turn that ended with its server.
  if (foreign) RemoveImagesAfter(header.position).IgnoreError();
  if (status.ok()) status = directory.Sync();
  if (!status.ok()) return status;
  file_ = *std::move(file);
  ours_ = true;
  rotate_ = false;
  return absl::OkStatus();
}

absl::Status Journal::Claim() {
  if (taken_) return Taken();
  if (ours_) return absl::OkStatus();
  if (owner_ != context_.owner) {
    const absl::StatusOr<bool> alive = context_.directory.IsLocked(OwnerFileName(owner_));
    if (!alive.ok()) return alive.status();
    if (*alive) return absl::UnavailableError("the session is another server's; try again there");
    // Its former owner may have written after it was read here.
    if (absl::Status status = CheckNotTaken(*Newest(), true); !status.ok()) return status;
  }
  return BeginSegment({});
}

absl::Status Journal::CheckNotTaken(uint64_t newest, bool size_too) {
  const std::string name = SegmentName(session_, newest);
  bool taken = false;
  if (size_too) {
    const auto file = context_.directory.OpenRead(name);
    taken = absl::IsNotFound(file.status()) || (file.ok() && (*file)->size() != newest_size_);
    if (!taken) return file.status();
  } else {
    const absl::StatusOr<bool> there = context_.directory.Exists(name);
    if (!there.ok()) return there.status();
    taken = !*there;
  }
  if (taken) taken_ = true;
  return taken ? Taken() : absl::OkStatus();
}

std::optional<uint64_t> Journal::Newest() const {
  MutexLock lock(mutex_);
  return segments_.empty() ? std::nullopt : std::optional(segments_.back().sequence);
}

absl::Status Journal::OpenSegment() {
  if (taken_) return Taken();
  if (!ours_) return Claim();
  if (rotate_) return BeginSegment({});
  if (file_ != nullptr) return absl::OkStatus();
  auto file = context_.directory.OpenAppend(SegmentName(session_, *Newest()), newest_size_);
  if (!file.ok()) return BeginSegment({});
  file_ = *std::move(file);
  return absl::OkStatus();
}

void Journal::Abandon() {
  file_.reset();
  ours_ = false;
  pending_.reset();
}

template <class Record>
absl::Status Journal::AppendRecord(const Record& record, Pending pending) {
  CASCADE_CHECK(!pending_.has_value());
  if (absl::Status status = OpenSegment(); !status.ok()) return status;
  pending.tag = tag_;
  const std::vector<uint8_t> bytes = EncodeRecord(record, context_.sealer, &pending.tag);
  if (absl::Status status = file_->Append(bytes); !status.ok()) {
    Abandon();
    return status;
  }
  pending_ = std::move(pending);
  return absl::OkStatus();
}

absl::Status Journal::Append(const TurnRecord& record) {
  Pending pending{state_, {}};
  CASCADE_CHECK(pending.state.Apply(record, context_.keep_turn_starts));
  return AppendRecord(record, std::move(pending));
}

absl::Status Journal::Append(const RewindRecord& record) {
  Pending pending{state_, {}};
  CASCADE_CHECK(pending.state.Apply(record));
  return AppendRecord(record, std::move(pending));
}

absl::Status Journal::Sync() {
  CASCADE_CHECK(pending_.has_value());
  absl::Status status = file_->Sync();
  if (status.ok()) {
    // Whoever takes the session makes the next segment first, and looks at this one then. If that is not there yet, the
    // record is seen. Nor is it there when both have been removed.
    const uint64_t newest = *Newest();
    const absl::StatusOr<bool> taken = context_.directory.Exists(SegmentName(session_, newest + 1));
    status = taken.status();
    if (status.ok() && *taken) {
      taken_ = true;
      status = Taken();
    }
    if (status.ok()) status = CheckNotTaken(newest, false);
  }
  if (!status.ok()) {
    Abandon();
    return status;
  }
  newest_size_ = file_->size();
  state_ = std::move(pending_->state);
  tag_ = pending_->tag;
  pending_.reset();
  Settled();
  return absl::OkStatus();
}

SessionFiles Journal::files() {
  MutexLock lock(mutex_);
  SessionFiles files;
  for (const Segment& segment : segments_) files.segments.insert(segment.sequence);
  files.images = images_;
  return files;
}

void Journal::CountBytes() {
  int64_t bytes = 0;
  for (const Segment& segment : segments_) bytes += segment.bytes;
  bytes_.store(bytes, std::memory_order_relaxed);
}

absl::Status Journal::Remove() {
  if (taken_) return Taken();
  if (owner_ != context_.owner) {
    // Of two servers that remove and use a session at once, one has it. A full disk is when removing must work.
    absl::Status status = Claim();
    if (absl::IsUnavailable(status) || absl::IsAborted(status)) return status;
  }
  return RemoveFiles();
}

absl::Status Journal::RemoveFiles() {
  Abandon();
  MutexLock writing(writing_);  // an image that is being made just now comes first
  removed_ = true;
  return RemoveSessionFiles(context_.directory, session_, files());
}

}  // namespace cascade
