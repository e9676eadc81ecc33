#include "engine/session_reader.h"

#include <utility>

#include "engine/text/text_decoder.h"

namespace cascade {

SessionReader::SessionReader(const EngineOptions& options, const Tokenizer& tokenizer, SessionStore& sessions,
                             Metrics& metrics)
    : options_(options), vault_(options.vault), tokenizer_(tokenizer), sessions_(sessions), metrics_(metrics) {
  if (vault_ == nullptr || vault_->found().empty()) return;
  sessions_.AddFound(vault_->found());
  thread_ = std::thread([this] {
    for (const FoundSession& found : vault_->found()) {
      if (stopping_.load()) return;
      ReadOne(ToHex(found.session)).IgnoreError();  // who wants it is told
    }
  });
}

SessionReader::~SessionReader() {
  stopping_.store(true);
  if (thread_.joinable()) thread_.join();
}

absl::Status SessionReader::ReadOne(const std::string& id) {
  const std::optional<FoundSession> found = sessions_.BeginReading(id);
  if (!found.has_value()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Journal>> journal = vault_->Load(*found);
  if (absl::IsDataLoss(journal.status())) TellDamage(id, journal.status());
  std::shared_ptr<TurnLog> log = journal.ok() ? LogOf(**journal) : nullptr;
  const absl::Status status = journal.status();
  sessions_.EndReading(id, std::move(journal), std::move(log));
  return status;
}

void SessionReader::TellDamage(const std::string& id, const absl::Status& damage) {
  metrics_.sessions_damaged.fetch_add(1, std::memory_order_relaxed);
  if (options_.on_damaged_session) options_.on_damaged_session(id.substr(0, kIdPartInLogs), damage);
}

absl::Status SessionReader::Read(const std::string& id) {
  if (vault_ == nullptr) return absl::OkStatus();
  if (sessions_.NeedsReading(id)) {
    const absl::Status status = ReadOne(id);
    // Otherwise the store says what there is to say of it.
    return sessions_.NeedsReading(id) ? status : absl::OkStatus();
  }
  // Not one of ours: another server's that has ended?
  const std::optional<SessionKey> key = SessionKeyFromHex(id);
  if (!key.has_value() || sessions_.Knows(id)) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Journal>> journal = vault_->Load(*key);
  if (absl::IsNotFound(journal.status())) return absl::OkStatus();
  if (!journal.ok() && !absl::IsDataLoss(journal.status())) return journal.status();
  if (!journal.ok()) TellDamage(id, journal.status());
  std::shared_ptr<TurnLog> log = journal.ok() ? LogOf(**journal) : nullptr;
  sessions_.AddRead(*key, std::move(journal), std::move(log));
  return absl::OkStatus();
}

std::shared_ptr<TurnLog> SessionReader::LogOf(const Journal& journal) const {
  const std::optional<LastTurn>& last = journal.state().last_turn;
  if (!last.has_value() || last->kind != TurnKind::kGenerate) return nullptr;
  // Token by token, so that whoever comes back is sent the text of what they lack and no more.
  auto log = std::make_shared<TurnLog>(last->turn_id);
  TurnDelta whole;
  TextDecoder decoder(tokenizer_, last->stop_sequence.empty() ? std::vector<std::string>{}
                                                              : std::vector<std::string>{last->stop_sequence});
  size_t added = 0;
  for (size_t i = 0; i < last->sampled.size() && !decoder.stopped(); ++i) {
    const bool end = last->finish == FinishReason::kStop && i + 1 == last->sampled.size();
    TurnDelta delta;
    if (!end) delta.text = decoder.Append(last->sampled[i]);
    delta.token_ids.push_back(last->sampled[i]);
    log->Add(delta);
    ++added;
  }
  whole.token_ids.assign(last->sampled.begin() + static_cast<ptrdiff_t>(added), last->sampled.end());
  if (!decoder.stopped()) whole.text = decoder.Finish();
  whole.finished = true;
  whole.finish_reason = last->finish;
  whole.stop_sequence = last->stop_sequence;
  if (last->finish == FinishReason::kStop && !last->sampled.empty()) whole.stop_token_id = last->sampled.back();
  if (last->finish == FinishReason::kCancelled) whole.status = absl::CancelledError("the turn was cancelled");
  if (last->finish == FinishReason::kDeadline) whole.status = absl::DeadlineExceededError("the deadline has passed");
  const JournalPlace& place = journal.state().place;
  whole.usage.prompt_tokens = last->prompt_tokens;
  whole.usage.completion_tokens = static_cast<int64_t>(last->sampled.size());
  whole.usage.session_tokens_seen = place.position;
  whole.acknowledgement = {.turn = place.turns, .digest = place.digest, .durability = Durability::kJournal};
  log->Add(whole);
  return log;
}

}  // namespace cascade
