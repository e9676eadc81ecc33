#include "engine/fork.h"

#include <utility>

namespace cascade {

absl::StatusOr<SessionInfo> Fork(const std::string& id, const std::string& label,
                                 std::optional<int64_t> expected_position, SessionStore& sessions, Model& model,
                                 const BetweenSteps& between_steps) {
  if (absl::Status status = ValidateLabel(label); !status.ok()) return status;
  // Nothing to cancel: it ends by itself.
  const absl::StatusOr<AcquiredSession> origin = sessions.Acquire(id, expected_position, [] {});
  if (!origin.ok()) return origin.status();
  absl::StatusOr<AcquiredSession> fork = sessions.CreateBusy(label);
  if (!fork.ok()) return fork.status();
  absl::Status status;
  if (origin->cache.plan.tokens_seen() > 0) {  // else the slot holds nothing, and is cleared when it is first fed
    const bool ran = between_steps([&] { status = model.CopySlot(origin->cache.slot, fork->cache.slot); });
    if (!ran) status = absl::UnavailableError("the server is stopping");
  }
  if (!status.ok()) {
    fork->lease.Lose();
    return status;
  }
  return fork->lease.Adopt(origin->cache, origin->reply_end);
}

}  // namespace cascade
