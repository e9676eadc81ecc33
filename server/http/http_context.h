// What every call over HTTP needs: references to what the endpoint owns, all of which outlive the last call.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/random_source.h"
#include "engine/engine.h"
#include "server/http/ready_queue.h"
#include "server/worker_pool.h"

namespace cascade {

struct ServedModel {
  std::string name;
  std::string version;          // the server's
  std::string fingerprint;      // changes where answers may: OpenAI's system_fingerprint
  int64_t max_positions = 0;    // that the model was trained for; sessions may be longer
  int64_t created_seconds = 0;  // since 1970
};

struct HttpContext {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template;  // may be null
  const ServedModel& model;
  RandomSource& random;
  ReadyQueue& ready;
  WorkerPool& quick;    // small requests: to read them, to tokenise, to queue their turns
  WorkerPool& workers;  // the same of large ones, and of schemas
  WorkerPool& waiters;  // for what waits for the engine or for files
};

// Bodies of more bytes are the workers'.
inline constexpr size_t kQuickBodyBytes = 64 << 10;

}  // namespace cascade
