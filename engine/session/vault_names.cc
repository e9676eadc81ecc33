#include "engine/session/vault_names.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cascade {
namespace {

constexpr size_t kNumberDigits = 16;

std::string Number(uint64_t value) { return absl::StrCat(absl::Hex(value, absl::kZeroPad16)); }

std::optional<uint64_t> ParseNumber(const std::string& text) {
  uint64_t value = 0;
  if (text.size() != kNumberDigits || !absl::SimpleHexAtoi(text, &value) || Number(value) != text) return std::nullopt;
  return value;
}

// Already gone is what was wanted.
absl::Status RemoveIfThere(Directory& directory, const std::string& name) {
  absl::Status status = directory.Remove(name);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace

std::string SegmentName(const SessionKey& session, uint64_t sequence) {
  return absl::StrCat(ToHex(session), ".", Number(sequence), ".journal");
}

std::string ImageName(const SessionKey& session, int64_t tokens_seen) {
  return absl::StrCat(ToHex(session), ".", Number(static_cast<uint64_t>(tokens_seen)), ".image");
}

std::string RemovalName(const SessionKey& session) { return absl::StrCat(ToHex(session), ".removed"); }

std::string OwnerFileName(const OwnerId& owner) { return absl::StrCat(ToHex(owner), ".server"); }

std::string TemporaryFileName(const OwnerId& owner, uint64_t number) {
  return absl::StrCat(ToHex(owner), ".", Number(number), ".tmp");
}

VaultListing ReadListing(const std::vector<std::string>& names) {
  VaultListing listing;
  for (const std::string& name : names) {
    const std::vector<std::string> parts = absl::StrSplit(name, '.');
    const std::optional<SessionKey> key = SessionKeyFromHex(parts[0]);
    if (!key.has_value()) continue;
    if (parts.size() == 2 && parts[1] == "server") listing.owners.push_back(*key);
    if (parts.size() == 2 && parts[1] == "removed") listing.sessions[*key].removed = true;
    if (parts.size() != 3) continue;
    const std::optional<uint64_t> number = ParseNumber(parts[1]);
    if (!number.has_value()) continue;
    if (parts[2] == "journal") listing.sessions[*key].segments.insert(*number);
    if (parts[2] == "image") listing.sessions[*key].images.insert(static_cast<int64_t>(*number));
    if (parts[2] == "tmp") listing.temporaries.emplace_back(*key, name);
  }
  return listing;
}

absl::Status RemoveSessionFiles(Directory& directory, const SessionKey& session, const SessionFiles& files) {
  const std::string removal = RemovalName(session);
  absl::Status status;
  if (!files.segments.empty()) {
    // A name that stays as the mark until the rest is gone. It takes no space: a full disk is when removing must work.
    status = directory.Rename(SegmentName(session, *files.segments.begin()), removal);
    if (absl::IsNotFound(status)) status = absl::OkStatus();
    if (status.ok()) status = directory.Sync();
  }
  for (const uint64_t sequence : files.segments) {
    if (status.ok()) status = RemoveIfThere(directory, SegmentName(session, sequence));
  }
  for (const int64_t image : files.images) {
    if (status.ok()) status = RemoveIfThere(directory, ImageName(session, image));
  }
  if (status.ok()) status = directory.Sync();
  if (status.ok()) status = RemoveIfThere(directory, removal);
  return status;
}

}  // namespace cascade
