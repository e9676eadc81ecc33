// The paths that OpenAI's and vLLM's clients know.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/http/http_context.h"
#include "server/http/http_exchange.h"
#include "server/http/json_text.h"
#include "server/http/router.h"

namespace cascade {

// POST /v1/chat/completions, /v1/completions, /tokenize, /detokenize; GET /v1/models, /v1/models/{id}. `context`
// outlives the router.
void AddOpenAiRoutes(const HttpContext& context, Router& router);

// Runs `work` in `pool`, and answers with what it returns.
void AnswerFrom(WorkerPool& pool, std::shared_ptr<HttpExchange> exchange,
                std::function<absl::StatusOr<Json>(HttpRequest&)> work);

}  // namespace cascade
