// Which tokens a session holds, read between the engine's steps.
#pragma once

#include <string>
#include <vector>

#include "engine/between_steps.h"
#include "engine/engine.h"
#include "engine/session/session_store.h"

namespace cascade {

// See Engine::InspectSession. The session is busy meanwhile. A few heads are read between two steps, so that running
// turns go on; the whole answer is in memory at the end (24 bytes per held token, layer and head): ask for few layers
// of a large cache. The session's pending token is not in the cache yet; it stands last, as the newest of the open
// stride (or of the sinks), with score and distinctness 0.
absl::StatusOr<std::vector<HeadView>> Inspect(const EngineOptions& options, const std::string& id,
                                              std::vector<int> layers, std::vector<int> kv_heads,
                                              SessionStore& sessions, Model& model, const BetweenSteps& between_steps,
                                              int64_t* position);

}  // namespace cascade
