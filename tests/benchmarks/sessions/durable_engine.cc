#include "tests/benchmarks/sessions/durable_engine.h"

#include <algorithm>
#include <utility>

#include "tests/benchmarks/bench_sessions.h"
#include "tests/benchmarks/or_die.h"

namespace cascade::bench {

EngineOptions DurableOptions(const CascadeGeometry& geometry, int num_slots, int max_rows) {
  EngineOptions options;
  options.geometry = geometry;
  options.num_slots = num_slots;
  options.max_num_sessions = 1000000;
  options.max_num_seqs = std::min(16, num_slots);
  options.max_num_batched_tokens = max_rows;
  options.max_num_queued_requests = 1024;
  options.durability = Durability::kJournal;
  return options;
}

DurableEngine::DurableEngine(EngineOptions options, Model& model, const std::string& folder, bool durable)
    : directory_(std::make_unique<CountingDirectory>(OrDie(Directory::Open(folder)), durable)) {
  // One model and one geometry per folder: the fingerprints may be anything.
  vault_ = OrDie(
      Vault::Open(*directory_, {.cache_bytes = model.SlotBytes(kernels::SlotPart::kAll)}, RandomSource::System()));
  options.vault = vault_.get();
  engine_ = OrDie(Engine::Create(options, model, tokenizer_, nullptr, Clock::Real(), RandomSource::System()));
}

std::string DurableEngine::FoundId(size_t index) const { return ToHex(vault_->found()[index].session); }

std::string NewSession(Engine& engine, Durability durability) { return OrDie(engine.CreateSession("", durability)).id; }

TurnRequest IdsTurn(const std::string& session, int prompt_tokens, int64_t max_tokens) {
  TurnRequest request;
  request.session_id = session;
  std::vector<int32_t> ids;
  for (int i = 0; i < prompt_tokens; ++i) ids.push_back('a' + (i * 7 + i / 26) % 26);
  request.prompt = std::move(ids);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

FinishedTurn RunTurn(Engine& engine, TurnRequest request) {
  const double begin = Now();
  const std::shared_ptr<TokenStream> stream = OrDie(engine.Submit(std::move(request)));
  FinishedTurn turn;
  do {
    turn.last = stream->Pop();
    if (turn.first_token == 0 && !turn.last.token_ids.empty()) turn.first_token = Now() - begin;
  } while (!turn.last.finished);
  turn.end = Now() - begin;
  Check(turn.last.status);
  return turn;
}

void ReadTokens(Engine& engine, const std::string& session, int64_t tokens) {
  constexpr int kPiece = 4000;
  for (int64_t left = tokens; left > 0; left -= kPiece) {
    RunTurn(engine, IdsTurn(session, static_cast<int>(std::min<int64_t>(left, kPiece)), 1));
  }
}

}  // namespace cascade::bench
