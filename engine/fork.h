// A session's second life: a new session that begins with its state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/between_steps.h"
#include "engine/model/llama.h"
#include "engine/session/session_store.h"

namespace cascade {

// See Engine::ForkSession. Both sessions are busy meanwhile; when the copy fails the new one is gone and the other one
// goes on. The copy is one piece of work between two steps: turns wait for it (a slot's bytes, read and written).
absl::StatusOr<SessionInfo> Fork(const std::string& id, const std::string& label,
                                 std::optional<int64_t> expected_position, SessionStore& sessions, Model& model,
                                 const BetweenSteps& between_steps);

}  // namespace cascade
