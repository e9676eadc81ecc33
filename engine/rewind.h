#pragma once

#include "absl/status/statusor.h"
#include "engine/between_steps.h"
#include "engine/engine.h"
#include "engine/session/commit_queue.h"
#include "engine/session/session_store.h"

namespace cascade {

// See Engine::RewindSession. A turn whose scores were kept and since whose begin no stride closed is taken back in the
// slot; else the cache is made again when it is next used, from the newest image before that turn and the few tokens
// after it (the journal keeps such images for the newest turns).
absl::StatusOr<SessionInfo> Rewind(const EngineOptions& options, const RewindRequest& request, int64_t now_ms,
                                   SessionStore& sessions, CommitQueue& commits, Model& model,
                                   const BetweenSteps& between_steps);

}  // namespace cascade
