// An engine over a data folder, and short words for what the measurements do with it. Errors end the program.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/session/vault.h"
#include "tests/benchmarks/sessions/counting_directory.h"
#include "tests/benchmarks/sessions/letter_tokenizer.h"

namespace cascade::bench {

// With a journal for each session; at most `max_rows` rows a step.
EngineOptions DurableOptions(const CascadeGeometry& geometry, int num_slots, int max_rows);

class DurableEngine {
 public:
  // The folder is made if it is not there. `durable`: CountingDirectory.
  DurableEngine(EngineOptions options, Model& model, const std::string& folder, bool durable = true);

  Engine* operator->() const { return engine_.get(); }
  Engine& operator*() const { return *engine_; }
  const CountingDirectory& directory() const { return *directory_; }
  // Of the sessions that were there.
  std::string FoundId(size_t index) const;

 private:
  std::unique_ptr<CountingDirectory> directory_;
  std::unique_ptr<Vault> vault_;
  const LetterTokenizer tokenizer_;
  std::unique_ptr<Engine> engine_;
};

std::string NewSession(Engine& engine, Durability durability);

struct FinishedTurn {
  double first_token = 0;  // seconds since it was asked for
  double end = 0;
  TurnDelta last;
};
TurnRequest IdsTurn(const std::string& session, int prompt_tokens, int64_t max_tokens);
FinishedTurn RunTurn(Engine& engine, TurnRequest request);
// Reads about so many tokens in turns of some thousands.
void ReadTokens(Engine& engine, const std::string& session, int64_t tokens);

}  // namespace cascade::bench
