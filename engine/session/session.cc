#include "engine/session/session.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace cascade {

SessionInfo DescribeSession(const Session& session, const CascadeGeometry& geometry, std::chrono::seconds ttl) {
  SessionInfo info;
  info.id = session.id;
  info.label = session.label;
  info.state = session.busy ? SessionState::kBusy : SessionState::kResident;
  info.position = session.cache.position();
  const CascadePlan plan(geometry, info.position);
  info.tokens_resident = plan.tokens_resident();
  info.tokens_evicted = plan.tokens_evicted();
  info.turns = session.turns;
  info.created = session.created;
  info.last_used = session.last_used;
  if (ttl.count() > 0) info.expires = session.last_used + ttl;
  info.last_finish = session.last_finish;
  return info;
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

}  // namespace cascade
