// Sessions as JSON, and the picture of a session's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "server/http/http_context.h"
#include "server/http/json_text.h"
#include "server/http/router.h"

namespace cascade {

// POST and GET /v1/sessions; GET and DELETE /v1/sessions/{id}; POST /v1/sessions/{id}/fork and ../rewind; GET
// /v1/sessions/{id}/memory. `context` outlives the router.
void AddSessionRoutes(const HttpContext& context, Router& router);

// What the heads in `views` hold together: the history of `position` tokens in `buckets` equal parts, and of each part
// the share of its tokens that is held, by sub-cache: averages over the heads.
Json MemorySummary(const CascadeGeometry& geometry, int64_t position, const std::vector<HeadView>& views, int buckets);

}  // namespace cascade
