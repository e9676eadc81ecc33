// The engine: sessions, their caches, and the one loop that runs turns in batches.
//
// DESIGN. Callers (any thread) tokenise, check and queue turns; the loop thread alone touches plans, caches and the
// model. They meet in the session store (its lock), the bounded request queue (push), the token streams (pop) and the
// streams' cancel flags. The loop sleeps when there is no work; it never polls. It knows nothing of gRPC.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/random_source.h"
#include "engine/cache/cascade_geometry.h"
#include "engine/cache/cascade_plan.h"
#include "engine/metrics.h"
#include "engine/model/llama.h"
#include "engine/session/session.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "engine/token_stream.h"
#include "engine/turn_request.h"

namespace cascade {

struct EngineOptions {
  CascadeGeometry geometry;
  int num_slots = 1;                 // sessions that fit, the one kept for one-shot requests included
  size_t cache_bytes_per_slot = 0;   // reported, not used
  int num_layers = 1;                // for inspection
  int num_kv_heads = 1;
  int max_num_seqs = 16;             // turns that run together
  int max_num_batched_tokens = 256;  // rows of a step
  int max_num_queued_requests = 256;
  int64_t default_max_tokens = 1024;
  int64_t max_prompt_bytes = 8 << 20;
  std::chrono::seconds session_ttl{0};  // 0: sessions do not expire
  // The device is lost (DATA_LOSS). Called once, on the engine thread, when no new turns come in and before those that
  // there are end with UNAVAILABLE: whoever sees the last of them end knows why. May be null; must not wait for the engine.
  std::function<void(absl::Status)> on_device_fault = nullptr;
};

struct HeadView {
  int layer = 0;
  int kv_head = 0;
  std::vector<HeldToken> tokens;  // chronological
};

class Engine {
 public:
  // `chat_template` may be null; all the rest must not be and outlives the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options, Model& model,
                                                        const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                                        Clock& clock, RandomSource& random);
  // Cancels what runs and joins the loop.
  virtual ~Engine() = default;

  // Sessions. NOT_FOUND for unknown and expired ids. Any thread.
  // RESOURCE_EXHAUSTED when no slot is free (one stays for one-shot requests).
  virtual absl::StatusOr<SessionInfo> CreateSession(const std::string& label) = 0;
  virtual absl::StatusOr<SessionInfo> GetSession(const std::string& id) = 0;
  // INVALID_ARGUMENT for a page token that this engine did not make.
  virtual absl::StatusOr<SessionPage> ListSessions(int page_size, const std::string& page_token) = 0;
  // Cancels a running turn and waits for its end (at most two steps more).
  virtual absl::Status DeleteSession(const std::string& id) = 0;
  // A new session with the state that another one has now: continued alike, both go on alike. Its cost does not depend
  // on how much the session has seen. ABORTED while it is busy, FAILED_PRECONDITION with the true position,
  // RESOURCE_EXHAUSTED as CreateSession. Waits for the loop thread.
  virtual absl::StatusOr<SessionInfo> ForkSession(const std::string& id, const std::string& label,
                                                  std::optional<int64_t> expected_position) = 0;
  // Layers and heads in range; empty: all. ABORTED while the session is busy. Waits for the loop thread.
  virtual absl::StatusOr<std::vector<HeadView>> InspectSession(const std::string& id, std::vector<int> layers,
                                                              std::vector<int> kv_heads, int64_t* position) = 0;

  // Queues a turn. Validates everything first (ValidateTurn) and tokenises on the calling thread. Errors: see the proto.
  virtual absl::StatusOr<std::shared_ptr<TokenStream>> Submit(TurnRequest request) = 0;

  // No new turns or sessions (UNAVAILABLE) from now on.
  virtual void StopAdmission() = 0;
  // After StopAdmission: waits until no turn runs; at `deadline` the rest is cut at a token boundary (CANCELLED).
  virtual void Drain(SteadyTime deadline) = 0;

  virtual int SlotsFree() const = 0;
  virtual const Metrics& metrics() const = 0;
  virtual const EngineOptions& options() const = 0;
};

}  // namespace cascade
