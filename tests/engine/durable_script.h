// Random lives of sessions that outlive things: turns of any kind, parked, restored, forked, rewound, exported and
// imported, with engines that end and others that go on from the same folder. Whatever happens, a session's next tokens
// are those of a one-shot turn that reads all of its ids (the state of a session is a function of its ids).
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace cascade {

struct DurableScriptOptions {
  uint64_t seed = 1;
  int operations = 300;
  int sessions = 5;
  int vocabulary = 256;
  int max_prompt = 40;
  int max_reply = 12;
  bool host = false;  // there is host memory for parked sessions
  bool restarts = true;
  // May be null. Called now and then with a session that is not busy and its ids; may fork it, must leave it as it is.
  std::function<void(Engine& engine, const std::string& session, const std::vector<int32_t>& ids)> look;
};

struct DurableScriptCounts {
  int turns = 0, tokens = 0, parks = 0, restarts = 0, forks = 0, rewinds = 0, transfers = 0, interrupted = 0, looks = 0;
};

// `start` makes an engine over the same folder as the one before, which has ended; `reference` runs one-shot turns.
// Failures are GoogleTest's.
DurableScriptCounts RunDurableScript(const DurableScriptOptions& options,
                                     const std::function<std::unique_ptr<Engine>()>& start, Engine& reference);

}  // namespace cascade
