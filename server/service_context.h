// What every call needs: references to what the server owns, all of which outlive the last call.
#pragma once

#include "cascade/v1/cascade.pb.h"
#include "engine/engine.h"
#include "server/live_streams.h"
#include "server/ready_dispatcher.h"
#include "server/transfer_quota.h"
#include "server/worker_pool.h"

namespace cascade {

struct ServiceContext {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template;  // may be null
  v1::ServerInfo info;                // what never changes; sessions_free is filled in at each call
  ReadyDispatcher& dispatcher;
  WorkerPool& workers;  // for work
  WorkerPool& waiters;  // for what waits for the engine or for files
  TransferQuota& transfers;
  LiveStreams& streams;
};

// Requests of more bytes are parsed and tokenised by the workers, not on a gRPC callback thread.
inline constexpr size_t kInlineRequestBytes = 64 << 10;

}  // namespace cascade
