// Sessions that an earlier process, or another server that has ended, has left on disk: read when they are first
// wanted, and in the background until all are.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "engine/session/session_store.h"

namespace cascade {

// Any thread.
class SessionReader {
 public:
  // `options.vault` may be null: then there is nothing to read. All outlive it.
  SessionReader(const EngineOptions& options, const Tokenizer& tokenizer, SessionStore& sessions, Metrics& metrics);
  ~SessionReader();
  SessionReader(const SessionReader&) = delete;
  SessionReader& operator=(const SessionReader&) = delete;

  // Makes the store know this session, if it is anywhere. What is wrong with it the store says. UNAVAILABLE: a living
  // server has it. Waits for files.
  absl::Status Read(const std::string& id);
  bool NeedsReading(const std::string& id) { return sessions_.NeedsReading(id); }

 private:
  void TellDamage(const std::string& id, const absl::Status& damage);
  absl::Status ReadOne(const std::string& id);
  std::shared_ptr<TurnLog> LogOf(const Journal& journal) const;

  const EngineOptions& options_;
  Vault* const vault_;
  const Tokenizer& tokenizer_;
  SessionStore& sessions_;
  Metrics& metrics_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: sees the rest complete
};

}  // namespace cascade
