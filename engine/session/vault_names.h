// Names of the files in a server's data folder, and what may be done with them by name alone.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/directory.h"
#include "engine/session/journal_record.h"

namespace cascade {

using OwnerId = std::array<uint8_t, 16>;

// Of one session.
struct SessionFiles {
  std::set<uint64_t> segments;
  std::set<int64_t> images;  // by the tokens seen
  bool removed = false;      // somebody has begun to remove all of them
};

std::string SegmentName(const SessionKey& session, uint64_t sequence);
std::string ImageName(const SessionKey& session, int64_t tokens_seen);
std::string RemovalName(const SessionKey& session);  // there while a session's files are being removed
std::string OwnerFileName(const OwnerId& owner);     // locked as long as the process lives
std::string TemporaryFileName(const OwnerId& owner, uint64_t number);

// A data folder's files by what they are; others are left out.
struct VaultListing {
  std::map<SessionKey, SessionFiles> sessions;
  std::vector<OwnerId> owners;
  std::vector<std::pair<OwnerId, std::string>> temporaries;  // with their names
};
VaultListing ReadListing(const std::vector<std::string>& names);

// All or, after a crash, what the next start completes: a session is never left with a part of its journal.
absl::Status RemoveSessionFiles(Directory& directory, const SessionKey& session, const SessionFiles& files);

}  // namespace cascade
