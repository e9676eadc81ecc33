// A server's data folder: the sessions in it, the key that seals them, and who owns what.
//
// DESIGN. Several servers may share a folder. Each holds a lock on a file of its own as long as it lives, and names
// that file in every segment that it writes: a session whose owner's lock is free is anybody's (journal.h says how only
// one gets it). Locks end with their process, however it ends, so nothing here looks at a clock.
//
// What a crash has left - files that were being made, removals that were not finished, forks without a segment of their
// own, owners' files - is put in order when the folder is opened and when a session of a dead owner is met.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/directory.h"
#include "engine/base/random_source.h"
#include "engine/base/seal.h"
#include "engine/session/journal.h"
#include "kernels/base/mutex.h"

namespace cascade {

struct VaultOptions {
  Digest model = {};       // of model and tokenizer
  Digest geometry = {};    // of what a cache's bytes mean
  size_t cache_bytes = 0;  // of a slot
  size_t keep_turn_starts = 4;
  bool retain_all = true;  // --journal-retain
};

// What a session's newest header says, without reading the rest.
struct FoundSession {
  SessionKey session = {};
  SessionFiles files;
  int64_t created_ms = 0;
  std::string label;
};

// Any thread.
class Vault {
 public:
  // `directory` outlives it. Errors say what is wrong with the folder.
  static absl::StatusOr<std::unique_ptr<Vault>> Open(Directory& directory, const VaultOptions& options,
                                                     RandomSource& random);
  ~Vault();

  // Sessions that were there when it was opened and that no living server owns, oldest first. Those that cannot be read
  // are among them: their loading says why.
  const std::vector<FoundSession>& found() const { return found_; }

  absl::StatusOr<std::unique_ptr<Journal>> Create(const SessionKey& session, const JournalState& state);
  absl::StatusOr<std::unique_ptr<Journal>> CreateFrom(const SessionKey& session, const JournalState& before,
                                                      const TurnRecord& rest, int64_t tokens_seen, uint64_t digest,
                                                      std::span<const std::byte> cache);
  // A session that is on the disk, by the files that are there now, or by those that were. NOT_FOUND; UNAVAILABLE: a
  // living server owns it.
  absl::StatusOr<std::unique_ptr<Journal>> Load(const SessionKey& session);
  absl::StatusOr<std::unique_ptr<Journal>> Load(const FoundSession& found);
  // All of a session's files. UNAVAILABLE: a living server owns it.
  absl::Status Remove(const SessionKey& session);

  const JournalContext& context() const { return context_; }
  const Sealer& sealer() const { return sealer_; }
  // What opening had to put in order, for the log.
  int64_t leftovers() const { return leftovers_; }

 private:
  Vault(Directory& directory, const VaultOptions& options, const SealKey& key, const OwnerId& owner,
        std::unique_ptr<FileLock> lock);
  absl::Status Recover();
  absl::Status CheckOwner(const SessionKey& session, const SessionFiles& files);

  Directory& directory_;
  const Sealer sealer_;
  const JournalContext context_;
  std::unique_ptr<FileLock> lock_;
  std::vector<FoundSession> found_;
  int64_t leftovers_ = 0;
};

}  // namespace cascade
