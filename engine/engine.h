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
#include <span>
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
#include "engine/session/vault.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "engine/token_stream.h"
#include "engine/turn_request.h"

namespace cascade {

// Of a session's id, what may be in a log.
inline constexpr size_t kIdPartInLogs = 8;

struct EngineOptions {
  CascadeGeometry geometry;
  int num_slots = 1;                // caches of turns that run and of sessions that were used last
  int max_num_sessions = 1024;      // in slots, in host memory and on disk together; fewer where those have no room
  size_t cache_bytes_per_slot = 0;  // reported, not used
  int num_layers = 1;               // for inspection
  int num_kv_heads = 1;
  int max_num_seqs = 16;             // turns that run together
  int max_num_batched_tokens = 256;  // rows of a step
  int max_num_queued_requests = 256;
  int64_t default_max_tokens = 1024;
  int64_t max_prompt_bytes = 8 << 20;
  std::chrono::seconds session_ttl{0};        // 0: sessions do not expire
  int64_t host_cache_bytes = 0;               // host memory for parked sessions
  Vault* vault = nullptr;                     // where sessions outlive the process; null: nowhere. Outlives the engine
  Durability durability = Durability::kNone;  // of sessions that do not ask; kNone without a vault
  int rewind_turns = 4;                       // newest turns that can be taken back at constant cost
  bool prefix_caching = true;                 // finished one-shot turns leave their caches to prompts that go on
  // The device is lost (DATA_LOSS). Called once, on the engine thread, when no new turns come in and before those that
  // there are end with UNAVAILABLE: whoever sees the last of them end knows why. May be null; must not wait for the
  // engine.
  std::function<void(absl::Status)> on_device_fault = nullptr;
  // A session in the data folder cannot be read (DATA_LOSS); it is set aside, its files stay. `session`: the begin of
  // its id, as of its files' names; all of it would let a reader of the log use the session. Any thread; may be null.
  std::function<void(const std::string& session, const absl::Status& damage)> on_damaged_session = nullptr;
  // The same of an image, which only costs the time of reading tokens again.
  std::function<void(const std::string& session, const std::string& damage)> on_damaged_image = nullptr;
};

// Sessions that may be without a journal: of the slots one stays for one-shot requests, of the places in host memory
// one for whoever is moved.
int CountMemorySessions(int num_slots, int64_t host_cache_bytes, size_t cache_bytes);

struct HeadView {
  int layer = 0;
  int kv_head = 0;
  std::vector<HeldToken> tokens;  // chronological
};

// A session on its way out: bytes() of `head`, then those of `cache`.
struct SessionExport {
  std::vector<uint8_t> head;
  std::shared_ptr<kernels::HostMemory> cache;  // null: no cache goes along
  size_t bytes() const { return head.size() + (cache == nullptr ? 0 : cache->bytes().size()); }
};

// A session on its way in. One thread at a time; dropped without Finish it leaves nothing.
class SessionImport {
 public:
  virtual ~SessionImport() = default;
  // The next bytes of an export. RESOURCE_EXHAUSTED: no memory, or more bytes than any export has.
  virtual absl::Status Add(std::span<const uint8_t> bytes) = 0;
  // After the last of them. DATA_LOSS: damaged, cut or sealed with another server's key; FAILED_PRECONDITION: of
  // another model, or of another geometry and without `replay` and a history from the session's begin.
  virtual absl::StatusOr<SessionInfo> Finish(const std::string& label, std::optional<Durability> durability,
                                             bool replay) = 0;
};

enum class ParkTarget : uint8_t { kAny, kHost, kDisk };

struct RewindRequest {
  std::string session_id;
  // One of them: the turns that the session has afterwards, or how many of the newest are taken back.
  std::optional<int64_t> to_turn;
  std::optional<int64_t> take_back;
  std::optional<int64_t> expected_position;
  bool allow_replay = false;  // turns older than EngineOptions::rewind_turns: all is read again
};

struct DrainReport {
  int turns_cut = 0;
  int sessions_parked = 0;
  int sessions_left = 0;  // not parked in time; with a journal they are as safe, and only take longer to come back
  bool parks = false;     // there is a data folder: then turns are cut in time for it, and nothing is lost by that
  bool complete() const { return sessions_left == 0 && (parks || turns_cut == 0); }
};

class Engine {
 public:
  // `chat_template` may be null; all the rest must not be and outlives the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options, Model& model,
                                                        const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                                        Clock& clock, RandomSource& random);
  // Cancels what runs and joins the loop.
  virtual ~Engine() = default;

  // Sessions. NOT_FOUND for unknown and expired ids; DATA_LOSS for one whose files are damaged; UNAVAILABLE for one
  // that another server has. Any thread. What says that it waits may read and write files, too. RESOURCE_EXHAUSTED when
  // there is no room for another one. FAILED_PRECONDITION: a durability without a data folder. Waits.
  virtual absl::StatusOr<SessionInfo> CreateSession(const std::string& label, std::optional<Durability> durability) = 0;
  // Waits for a session's files when it is met for the first time after a start.
  virtual absl::StatusOr<SessionInfo> GetSession(const std::string& id) = 0;
  // INVALID_ARGUMENT for a page token that this engine did not make.
  virtual absl::StatusOr<SessionPage> ListSessions(int page_size, const std::string& page_token) = 0;
  // Cancels a running turn and waits for its end (at most two steps more). Its files are gone when this returns.
  virtual absl::Status DeleteSession(const std::string& id) = 0;
  // Out of its slot, to host memory or to disk. FAILED_PRECONDITION: there is no such place for this session.
  // RESOURCE_EXHAUSTED: it is full. ABORTED while the session is busy. Waits.
  virtual absl::StatusOr<SessionInfo> ParkSession(const std::string& id, ParkTarget target) = 0;
  // Takes turns back. FAILED_PRECONDITION: the position is another; or what is needed is not there any more, and what
  // would help. ABORTED while the session is busy. Waits.
  virtual absl::StatusOr<SessionInfo> RewindSession(const RewindRequest& request) = 0;
  // The session goes on. `with_history`: all of its ids, which another geometry needs. ABORTED while it is busy. Waits.
  virtual absl::StatusOr<SessionExport> ExportSession(const std::string& id, bool with_history) = 0;
  virtual absl::StatusOr<std::unique_ptr<SessionImport>> ImportSession() = 0;
  // What the running or last Generate turn of a session has produced after its first `from_seq` tokens, and what it
  // still will. Leaving it cancels nothing. NOT_FOUND: there is none. INVALID_ARGUMENT: from_seq is beyond its end.
  // Waits.
  virtual absl::StatusOr<std::shared_ptr<TokenStream>> ResumeTurn(const std::string& id, int64_t from_seq) = 0;
  // A new session with the state that another one has now: continued alike, both go on alike. Its cost does not depend
  // on how much the session has seen. ABORTED while it is busy, FAILED_PRECONDITION with the true position,
  // RESOURCE_EXHAUSTED as CreateSession. Waits for the loop thread.
  virtual absl::StatusOr<SessionInfo> ForkSession(const std::string& id, const std::string& label,
                                                  std::optional<int64_t> expected_position) = 0;
  // Layers and heads in range; empty: all. ABORTED while the session is busy. Waits for the loop thread.
  virtual absl::StatusOr<std::vector<HeadView>> InspectSession(const std::string& id, std::vector<int> layers,
                                                               std::vector<int> kv_heads, int64_t* position) = 0;

  // Queues a turn. Validates everything first (ValidateTurn) and tokenises on the calling thread. Errors: see the
  // proto. Waits only if SubmitWaits.
  virtual absl::StatusOr<std::shared_ptr<TokenStream>> Submit(TurnRequest request) = 0;
  // `n` one-shot replies to one prompt, which is read once; the i-th uses seed + i, of a seed that is drawn if none is
  // given. All or none; `n` places of the queue.
  // INVALID_ARGUMENT for n outside [1, kMaxReplies], or above 1 with a session.
  static constexpr int kMaxReplies = 16;
  virtual absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> SubmitReplies(TurnRequest request, int n) = 0;
  // Whether Submit for this session has to read its files first.
  virtual bool SubmitWaits(const std::string& session_id) = 0;

  // No new turns or sessions (UNAVAILABLE) from now on.
  virtual void StopAdmission() = 0;
  // After StopAdmission: waits until no turn runs, cuts at a token boundary (CANCELLED) what runs when just the time is
  // left that parking takes, and parks every session with a journal to disk.
  virtual DrainReport Drain(SteadyTime deadline) = 0;
  // Time to park all sessions that are not on disk yet, by the speed of the images written so far.
  virtual std::chrono::nanoseconds ParkingTime() const = 0;

  virtual int SlotsFree() const = 0;
  virtual const Metrics& metrics() const = 0;
  virtual const EngineOptions& options() const = 0;
};

}  // namespace cascade
