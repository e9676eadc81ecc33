// A session's second life: a new session that begins with its state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/between_steps.h"
#include "engine/engine.h"
#include "engine/model/llama.h"
#include "engine/session/session_store.h"

namespace cascade {

// See Engine::ForkSession. Both sessions are busy meanwhile; when it fails the new one is gone and the other one goes on. A
// cache in a slot is copied to another slot, in one piece of work between two steps (turns wait for a slot's bytes, read
// and written); without a free one, a session with a journal is forked on disk alone, and one in host memory there.
absl::StatusOr<SessionInfo> Fork(const EngineOptions& options, const std::string& id, const std::string& label,
                                 std::optional<int64_t> expected_position, SessionStore& sessions, Model& model,
                                 const BetweenSteps& between_steps);

}  // namespace cascade
