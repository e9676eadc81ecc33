// The durable side of one session: its journal, a chain of segments with all of its tokens, and images of its cache,
// which only save the time of reading them again.
//
// DESIGN. A segment is a file `ID.SEQUENCE.journal` that one server process writes. Its header says where the chain
// before it ends, by the tag of the last record that counts; whatever an earlier segment holds beyond that is not part
// of the chain. One mechanism does four things so:
//  - a file whose write or fsync failed is given up, and the next segment begins at what is durable;
//  - a torn tail is left behind in the same way;
//  - a session has one owner: who makes segment n + 1 (its name appears wholly or not at all, and only once) owns it,
//    and whoever wrote segment n finds that name before it acknowledges a turn, and stops. Records that such a former
//    owner still writes lie behind the place where the new one began;
//  - a fork shares the segments so far with the session that it came from, by further names of the same files.
// Images are files `ID.POSITION.image`, made beside, synced and renamed. None is taken that does not fit the journal's
// tokens.
//
// Memory does not grow with the session: tokens are read from the files when they are needed.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/directory.h"
#include "engine/base/seal.h"
#include "engine/session/journal_record.h"
#include "engine/session/journal_state.h"
#include "engine/session/vault_names.h"
#include "kernels/base/mutex.h"

namespace cascade {

// What the journals of a server share.
struct JournalContext {
  Directory& directory;
  const Sealer& sealer;
  const OwnerId owner;    // this process
  const Digest model;     // of model and tokenizer: what ids mean
  const Digest geometry;  // of what a cache's bytes mean
  const size_t cache_bytes;
  const size_t keep_turn_starts;  // turns that can be taken back at constant cost
  const bool retain_all;          // or only what follows the images that are kept
};

// One thread at a time, but for WriteImage, which may run beside everything else.
class Journal {
 public:
  // A new session; durable when this returns.
  static absl::StatusOr<std::unique_ptr<Journal>> Create(const JournalContext& context, const SessionKey& session,
                                                         const JournalState& state);
  // A session that comes from elsewhere: `before` is its state before `rest`, its last ids. `cache`, which may be
  // empty, has seen `tokens_seen` of its tokens; without it `before` is at position 0.
  static absl::StatusOr<std::unique_ptr<Journal>> CreateFrom(const JournalContext& context, const SessionKey& session,
                                                             const JournalState& before, const TurnRecord& rest,
                                                             int64_t tokens_seen, uint64_t digest,
                                                             std::span<const std::byte> cache);
  // Reads and checks all segments. DATA_LOSS: damaged; FAILED_PRECONDITION: of another model, or a newer version.
  static absl::StatusOr<std::unique_ptr<Journal>> Load(const JournalContext& context, const SessionKey& session,
                                                       SessionFiles files);
  // A new session that begins where this one is. Its cost does not depend on the number of tokens.
  absl::StatusOr<std::unique_ptr<Journal>> Fork(const SessionKey& session, const JournalState& state);

  const SessionKey& session() const { return session_; }
  // What is durable.
  const JournalState& state() const { return state_; }
  OwnerId owner() const { return owner_; }  // of the newest segment
  // Makes the session this process's, if it is not yet, by a new segment. UNAVAILABLE: the process that has it is
  // alive. ABORTED: somebody else was faster, or the session is not what it was when it was loaded.
  absl::Status Claim();

  // Writes a record; it counts when Sync is OK. After an error of either the state is as before and the next record
  // goes to a new segment. ABORTED: another server has taken the session. RESOURCE_EXHAUSTED: no space is left.
  absl::Status Append(const TurnRecord& record);
  absl::Status Append(const RewindRecord& record);
  absl::Status Sync();
  // Frees a descriptor; the session stays this process's.
  void CloseFile() { file_.reset(); }

  // Makes an image of a cache that has seen so many of the session's tokens, and forgets what is not needed any more. A
  // cache that is ahead of the journal (a turn runs) is fine.
  absl::Status WriteImage(int64_t tokens_seen, uint64_t digest, std::span<const std::byte> cache);
  // The newest image that has seen at most `tokens_seen` tokens, into `cache`; and all tokens from there to `end`.
  // `tokens_seen` 0 in the result: there is none that can be used, `cache` is undefined. DATA_LOSS: nor are the tokens
  // there.
  struct Restored {
    int64_t tokens_seen = 0;
    uint64_t digest = 0;  // of those
    std::vector<int32_t> ids;
    std::string damage;  // of images that were passed over; "" when there were none
  };
  absl::StatusOr<Restored> Restore(int64_t tokens_seen, int64_t end, std::span<std::byte> cache);
  // State at a turn's begin, at any distance: reads the whole journal. NOT_FOUND.
  absl::StatusOr<JournalPlace> FindTurnStart(int64_t turn);
  // The newest image at most this old that has seen at most so many tokens; nullopt: none.
  std::optional<int64_t> ImageBefore(int64_t tokens_seen);
  // Images after so many tokens are of no use any more: the session goes back, or a turn that ran is dropped. One that
  // is being written meanwhile is given up.
  absl::Status RemoveImagesAfter(int64_t tokens_seen);

  SessionFiles files();
  // No file of the session is left. Errors leave some, which the next start removes; but when it is another server's
  // (UNAVAILABLE, ABORTED), nothing has happened.
  absl::Status Remove();
  // On the disk; those that are shared with forks too. Any thread.
  int64_t journal_bytes() const { return bytes_.load(std::memory_order_relaxed); }
  // Another server has it: what is known here is not what it is. Any thread.
  bool taken() const { return taken_.load(); }

 private:
  struct Pending {
    JournalState state;
    Tag tag;
  };
  struct History {
    int64_t first = 0;          // position of ids[0]
    uint64_t first_digest = 0;  // of the tokens before
    std::vector<int32_t> ids;
    std::vector<JournalPlace> turn_starts;  // of all turns that count, without their recent ids

    RecentIds RecentBefore(int64_t position) const;  // as far as they are there
  };

  Journal(const JournalContext& context, const SessionKey& session) : context_(context), session_(session) {}

  // Every record that counts, in order. `begin`: of each segment, before its records; false of either: damaged.
  struct Visitor {
    std::function<bool(const SegmentHeader& header, bool first)> begin;
    std::function<bool(const JournalRecord& record)> record;
  };
  struct Walked {
    std::vector<SegmentHeader> headers;
    Tag tag = {};                // of the last record that counts
    std::vector<int64_t> sizes;  // of the files
  };
  absl::StatusOr<Walked> Walk(const std::set<uint64_t>& segments, const Visitor& visitor) const;
  absl::StatusOr<SegmentHeader> ReadHeader(uint64_t sequence) const;
  absl::StatusOr<std::vector<uint8_t>> ReadFile(const std::string& name) const;
  absl::StatusOr<History> ReadHistory();
  absl::Status CompleteRecent(int64_t first);

  // `first`: a record that is there when the segment is; may be null.
  absl::Status BeginSegment(const SessionKey& parent, const TurnRecord* first = nullptr);
  std::optional<uint64_t> Newest() const;  // segment
  absl::Status CheckNotTaken(uint64_t newest, bool size_too);
  absl::Status OpenSegment();
  template <class Record>
  absl::Status AppendRecord(const Record& record, Pending pending);
  void Abandon();
  std::string TemporaryName() const;
  // A file that is there wholly or not at all. It is not open any more.
  absl::Status WriteFile(const std::string& name, std::span<const uint8_t> head, std::span<const uint8_t> body);
  absl::Status LoadImage(int64_t tokens_seen, uint64_t digest, std::span<std::byte> cache) const;
  void Settled();
  void CountBytes() CASCADE_REQUIRES(mutex_);
  absl::Status RemoveFiles();
  // Forgets images; their files are the caller's to remove, without a lock.
  std::vector<int64_t> ForgetImages(const std::vector<int64_t>& images) CASCADE_REQUIRES(mutex_);
  absl::Status RemoveImageFiles(const std::vector<int64_t>& images);
  std::vector<int64_t> UnneededImages() CASCADE_REQUIRES(mutex_);
  absl::Status Prune();

  const JournalContext& context_;
  const SessionKey session_;
  JournalState state_;
  Tag tag_ = {};  // of the last record that counts
  OwnerId owner_ = {};
  std::unique_ptr<WritableFile> file_;  // of the newest segment; may be closed meanwhile
  bool ours_ = false;                   // the newest segment is this process's, and good
  int64_t newest_size_ = 0;             // its size
  std::atomic<bool> rotate_{false};     // the next record begins a segment, so that earlier ones can go
  std::optional<Pending> pending_;
  std::atomic<bool> taken_{false};  // by another server

  struct Segment {
    uint64_t sequence;
    int64_t position;  // before its first record
    int64_t bytes;
  };
  Mutex writing_;  // an image; before mutex_
  bool removed_ CASCADE_GUARDED_BY(writing_) = false;
  std::atomic<int64_t> bytes_{0};  // of segments_
  mutable Mutex mutex_;            // nothing that takes long is done under it, but for a fork's links
  std::vector<Segment> segments_ CASCADE_GUARDED_BY(mutex_);  // oldest first
  std::set<int64_t> images_ CASCADE_GUARDED_BY(mutex_);
  std::set<int64_t> useless_images_ CASCADE_GUARDED_BY(mutex_);  // some of them: Restore had to pass them over
  int64_t image_removals_ CASCADE_GUARDED_BY(mutex_) = 0;        // calls of RemoveImagesAfter
  // Copies of what state_ says, for WriteImage.
  int64_t position_ CASCADE_GUARDED_BY(mutex_) = 0;
  std::vector<int64_t> turn_starts_ CASCADE_GUARDED_BY(mutex_);
};

}  // namespace cascade
