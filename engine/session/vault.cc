#include "engine/session/vault.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/session/journal_reader.h"

namespace cascade {
namespace {

constexpr char kKeyName[] = "seal.key";

absl::StatusOr<SealKey> ReadKey(Directory& directory) {
  const auto file = directory.OpenRead(kKeyName);
  if (!file.ok()) return file.status();
  SealKey key;
  if ((*file)->size() != static_cast<int64_t>(key.size())) {
    return absl::DataLossError(absl::StrCat(kKeyName, " must have ", key.size(), " bytes, it has ", (*file)->size()));
  }
  if (absl::Status status = (*file)->Read(0, key); !status.ok()) return status;
  return key;
}

// The folder's key. Of servers that open a new folder at once, one's is taken by all.
absl::StatusOr<SealKey> FindOrMakeKey(Directory& directory, const OwnerId& owner, RandomSource& random) {
  absl::StatusOr<SealKey> key = ReadKey(directory);
  if (!absl::IsNotFound(key.status())) return key;
  SealKey fresh;
  random.Fill(fresh);
  const std::string temporary = TemporaryFileName(owner, ~uint64_t{0});
  absl::Status status;
  {
    auto file = directory.Create(temporary);
    if (!file.ok()) return file.status();
    status = (*file)->Append(fresh);
    if (status.ok()) status = (*file)->Sync();
  }
  if (status.ok()) status = directory.Link(temporary, kKeyName);
  directory.Remove(temporary).IgnoreError();
  if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
  if (absl::Status synced = directory.Sync(); !synced.ok()) return synced;
  return ReadKey(directory);
}

// Whether a server's lock is free: its process has ended.
absl::StatusOr<bool> IsDead(Directory& directory, const OwnerId& owner) {
  const std::string name = OwnerFileName(owner);
  const absl::StatusOr<bool> locked = directory.IsLocked(name);
  if (!locked.ok()) return locked.status();
  return !*locked;
}

absl::StatusOr<SegmentHeader> ReadNewestHeader(Directory& directory, const SessionKey& session,
                                               const SessionFiles& files, const Sealer& sealer) {
  if (files.segments.empty()) return absl::NotFoundError("the session has no journal");
  const auto file = directory.OpenRead(SegmentName(session, *files.segments.rbegin()));
  if (!file.ok()) return file.status();
  std::vector<uint8_t> bytes(static_cast<size_t>(std::min<int64_t>((*file)->size(), kSegmentHeaderBytes)));
  if (absl::Status status = (*file)->Read(0, bytes); !status.ok()) return status;
  return SegmentReader(bytes, sealer).Header();
}

}  // namespace

Vault::Vault(Directory& directory, const VaultOptions& options, const SealKey& key, const OwnerId& owner,
             std::unique_ptr<FileLock> lock)
    : directory_(directory),
      sealer_(key),
      context_{.directory = directory,
               .sealer = sealer_,
               .owner = owner,
               .model = options.model,
               .geometry = options.geometry,
               .cache_bytes = options.cache_bytes,
               .keep_turn_starts = options.keep_turn_starts,
               .retain_all = options.retain_all},
      lock_(std::move(lock)) {}

Vault::~Vault() { directory_.Remove(OwnerFileName(context_.owner)).IgnoreError(); }

absl::StatusOr<std::unique_ptr<Vault>> Vault::Open(Directory& directory, const VaultOptions& options,
                                                   RandomSource& random) {
  OwnerId owner;
  absl::StatusOr<std::unique_ptr<FileLock>> lock = nullptr;
  for (int tries = 0; tries < 100; ++tries) {
    random.Fill(owner);
    lock = directory.Lock(OwnerFileName(owner));
    if (!absl::IsUnavailable(lock.status())) break;  // else another server is just putting the folder in order
  }
  if (!lock.ok()) return lock.status();
  const absl::StatusOr<SealKey> key = FindOrMakeKey(directory, owner, random);
  if (!key.ok()) return key.status();
  std::unique_ptr<Vault> vault(new Vault(directory, options, *key, owner, *std::move(lock)));
  if (absl::Status status = vault->Recover(); !status.ok()) return status;
  return vault;
}

absl::Status Vault::Recover() {
  absl::StatusOr<std::vector<std::string>> names = directory_.List();
  if (!names.ok()) return names.status();
  VaultListing listing = ReadListing(*names);
  // Listed again: a server's own file is there before the others of it, but one listing may have missed it.
  names = directory_.List();
  if (!names.ok()) return names.status();
  std::set<OwnerId> alive;
  for (const OwnerId& owner : ReadListing(*names).owners) {
    const absl::StatusOr<bool> dead = IsDead(directory_, owner);
    if (!dead.ok()) return dead.status();
    if (!*dead) {
      alive.insert(owner);
      continue;
    }
    // A server that begins just now has made its file and not locked it yet: then the lock is refused here.
    auto lock = directory_.Lock(OwnerFileName(owner));
    if (lock.ok()) directory_.Remove(OwnerFileName(owner)).IgnoreError();
  }
  for (const auto& [owner, name] : listing.temporaries) {
    if (alive.count(owner) > 0) continue;
    absl::Status status = directory_.Remove(name);
    if (absl::IsNotFound(status)) continue;  // of a server that has just ended
    if (!status.ok()) return status;
    ++leftovers_;
  }
  for (auto& [session, files] : listing.sessions) {
    const bool orphan = files.segments.empty();
    if (files.removed || orphan) {
      // Of a living server's, an image may be there before its journal.
      if (!files.removed && alive.size() > 1) continue;
      ++leftovers_;
      if (absl::Status status = RemoveSessionFiles(directory_, session, files); !status.ok()) return status;
      continue;
    }
    FoundSession found{.session = session, .files = files, .created_ms = 0, .label = {}};
    const absl::StatusOr<SegmentHeader> header = ReadNewestHeader(directory_, session, files, sealer_);
    if (header.ok()) {
      if (alive.count(header->owner) > 0) continue;
      if (header->session != session) {  // a fork that was not finished
        ++leftovers_;
        if (absl::Status status = RemoveSessionFiles(directory_, session, files); !status.ok()) return status;
        continue;
      }
      found.created_ms = header->created_ms;
      found.label = header->label;
    }
    found_.push_back(std::move(found));
  }
  std::stable_sort(found_.begin(), found_.end(),
                   [](const FoundSession& a, const FoundSession& b) { return a.created_ms < b.created_ms; });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Journal>> Vault::Create(const SessionKey& session, const JournalState& state) {
  return Journal::Create(context_, session, state);
}

absl::StatusOr<std::unique_ptr<Journal>> Vault::CreateFrom(const SessionKey& session, const JournalState& before,
                                                           const TurnRecord& rest, int64_t tokens_seen, uint64_t digest,
                                                           std::span<const std::byte> cache) {
  return Journal::CreateFrom(context_, session, before, rest, tokens_seen, digest, cache);
}

absl::StatusOr<std::unique_ptr<Journal>> Vault::Load(const SessionKey& session) {
  absl::StatusOr<std::vector<std::string>> names = directory_.List();
  if (!names.ok()) return names.status();
  VaultListing listing = ReadListing(*names);
  const auto found = listing.sessions.find(session);
  if (found == listing.sessions.end() || found->second.removed) return absl::NotFoundError("session not found");
  return Load(FoundSession{.session = session, .files = found->second, .created_ms = 0, .label = {}});
}

absl::StatusOr<std::unique_ptr<Journal>> Vault::Load(const FoundSession& found) {
  // Its owner first: while that lives, the files may change under the reader.
  if (absl::Status status = CheckOwner(found.session, found.files); !status.ok()) return status;
  return Journal::Load(context_, found.session, found.files);
}

absl::Status Vault::CheckOwner(const SessionKey& session, const SessionFiles& files) {
  const absl::StatusOr<SegmentHeader> header = ReadNewestHeader(directory_, session, files, sealer_);
  if (!header.ok() || header->owner == context_.owner) return absl::OkStatus();
  const absl::StatusOr<bool> dead = IsDead(directory_, header->owner);
  if (!dead.ok()) return dead.status();
  return *dead ? absl::OkStatus() : absl::UnavailableError("the session is another server's; try again there");
}

absl::Status Vault::Remove(const SessionKey& session) {
  absl::StatusOr<std::vector<std::string>> names = directory_.List();
  if (!names.ok()) return names.status();
  VaultListing listing = ReadListing(*names);
  const auto found = listing.sessions.find(session);
  if (found == listing.sessions.end()) return absl::OkStatus();
  if (absl::Status status = CheckOwner(session, found->second); !status.ok()) return status;
  return RemoveSessionFiles(directory_, session, found->second);
}

}  // namespace cascade
