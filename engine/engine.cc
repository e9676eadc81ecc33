#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/engine_loop.h"
#include "engine/fork.h"
#include "engine/inspection.h"
#include "engine/mover.h"
#include "engine/prompt_encoder.h"
#include "engine/rewind.h"
#include "engine/session/commit_queue.h"
#include "engine/session/session_store.h"
#include "engine/session_reader.h"
#include "engine/session_transfer.h"
#include "engine/turn_validation.h"

namespace cascade {
namespace {

// The callers' side; the other one is EngineLoop.
class EngineImpl final : public Engine {
 public:
  EngineImpl(const EngineOptions& options, Model& model, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
             Clock& clock, RandomSource& random)
      : options_(options),
        model_(model),
        tokenizer_(tokenizer),
        chat_template_(chat_template),
        clock_(clock),
        random_(random),
        limits_{.vocabulary = tokenizer.vocabulary_size(),
                .max_prompt_bytes = options.max_prompt_bytes,
                .has_chat_template = chat_template != nullptr},
        commits_(std::make_unique<CommitQueue>()),
        sessions_(options_.geometry, Limits(options_, model), clock, random),
        reader_(std::make_unique<SessionReader>(options_, tokenizer, sessions_, metrics_)),
        loop_(options_, model, tokenizer.vocabulary_size(), sessions_, *commits_, clock, metrics_),
        mover_(options_, model, sessions_, metrics_, BetweenSteps(), [this] { loop_.queue().Wake(); }) {
    loop_.Start(mover_);
  }
  // Turns end first, then what moves their sessions, and the thread that serves both at last.
  ~EngineImpl() override {
    loop_.queue().Close();
    loop_.CancelAll();
    loop_.queue().WaitUntilDone(std::chrono::nanoseconds::max());
    mover_.Stop();
    commits_.reset();
    reader_.reset();
  }

  absl::StatusOr<SessionInfo> CreateSession(const std::string& label, std::optional<Durability> durability) override;
  absl::StatusOr<SessionInfo> GetSession(const std::string& id) override {
    if (absl::Status status = Read(id); !status.ok()) return status;
    return sessions_.Get(id);
  }
  absl::StatusOr<SessionPage> ListSessions(int page_size, const std::string& page_token) override;
  absl::Status DeleteSession(const std::string& id) override;

  absl::StatusOr<SessionInfo> ForkSession(const std::string& id, const std::string& label,
                                          std::optional<int64_t> expected_position) override {
    if (absl::Status status = Ready(id); !status.ok()) return status;
    return WithoutLostDevice(Fork(options_, id, label, expected_position, sessions_, model_, BetweenSteps()));
  }
  absl::StatusOr<SessionInfo> ParkSession(const std::string& id, ParkTarget target) override;
  absl::StatusOr<SessionInfo> RewindSession(const RewindRequest& request) override {
    if (absl::Status status = Ready(request.session_id); !status.ok()) return status;
    return WithoutLostDevice(
        Rewind(options_, request, ToUnixMs(clock_.WallNow()), sessions_, *commits_, model_, BetweenSteps()));
  }
  absl::StatusOr<SessionExport> ExportSession(const std::string& id, bool with_history) override {
    if (options_.vault == nullptr) return NoVault();
    if (absl::Status status = Ready(id); !status.ok()) return status;
    return WithoutLostDevice(Export(Transfer(), id, with_history));
  }
  absl::StatusOr<std::unique_ptr<SessionImport>> ImportSession() override {
    if (options_.vault == nullptr) return NoVault();
    if (absl::Status status = Admission(); !status.ok()) return status;
    return BeginImport(Transfer());
  }
  absl::StatusOr<std::shared_ptr<TokenStream>> ResumeTurn(const std::string& id, int64_t from_seq) override;

  absl::StatusOr<std::vector<HeadView>> InspectSession(const std::string& id, std::vector<int> layers,
                                                       std::vector<int> kv_heads, int64_t* position) override {
    if (absl::Status status = Read(id); !status.ok()) return status;
    return WithoutLostDevice(
        Inspect(options_, id, std::move(layers), std::move(kv_heads), sessions_, model_, BetweenSteps(), position));
  }

  absl::StatusOr<std::shared_ptr<TokenStream>> Submit(TurnRequest request) override;
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> SubmitReplies(TurnRequest request, int n) override;
  bool SubmitWaits(const std::string& session_id) override {
    return options_.vault != nullptr && (reader_->NeedsReading(session_id) || !sessions_.Knows(session_id));
  }

  void StopAdmission() override {
    admitting_.store(false);
    loop_.queue().Close();
  }
  DrainReport Drain(SteadyTime deadline) override;
  std::chrono::nanoseconds ParkingTime() const override {
    return mover_.TimePerImage() * static_cast<int64_t>(sessions_.Unparked().size());
  }

  int SlotsFree() const override { return sessions_.slots_free(); }
  const Metrics& metrics() const override;
  const EngineOptions& options() const override { return options_; }

 private:
  cascade::BetweenSteps BetweenSteps() {
    return [this](std::function<void()> work) { return loop_.queue().RunBetweenSteps(std::move(work)); };
  }
  // What work between steps has found: a device that is lost ends all that runs, too.
  absl::Status WithoutLostDevice(absl::Status found) {
    if (!IsLostDevice(found)) return found;
    loop_.ReportLostDevice(found);
    return absl::UnavailableError(absl::StrCat("the device has failed: ", found.message()));
  }
  template <class T>
  absl::StatusOr<T> WithoutLostDevice(absl::StatusOr<T> found) {
    if (found.ok()) return found;
    return WithoutLostDevice(found.status());
  }
  absl::Status Admission() const {
    if (loop_.device_lost()) return absl::UnavailableError("the device has failed");
    return admitting_.load() ? absl::OkStatus() : absl::UnavailableError("the server is draining");
  }
  // SteadyTime::max() minus a negative time would overflow.
  static std::chrono::nanoseconds Until(SteadyTime deadline, SteadyTime now) {
    return now.time_since_epoch().count() < 0 && deadline == SteadyTime::max() ? std::chrono::nanoseconds::max()
                                                                               : deadline - now;
  }

  static StoreLimits Limits(const EngineOptions& options, Model& model) {
    const size_t bytes = model.SlotBytes(kernels::SlotPart::kAll);
    return {.num_slots = options.num_slots,
            .max_sessions = options.max_num_sessions,
            .host_places = CountHostPlaces(options.host_cache_bytes, bytes),
            .ttl = options.session_ttl};
  }
  static absl::Status NoVault() {
    return absl::FailedPreconditionError(
        "the server has no data folder (--data-dir), whose key seals exported sessions");
  }
  TransferContext Transfer() { return {options_, *options_.vault, model_, mover_, sessions_}; }
  // The session is read, if it is anywhere; what has expired is removed.
  absl::Status Read(const std::string& id) {
    RemoveExpired();
    return reader_->Read(id);
  }
  absl::Status Ready(const std::string& id) {
    if (absl::Status status = Admission(); !status.ok()) return status;
    return Read(id);
  }
  void RemoveExpired() {
    for (const std::shared_ptr<Session>& session : sessions_.TakeExpired()) session->journal->Remove().IgnoreError();
  }
  std::optional<std::shared_ptr<TokenStream>> Repeated(const TurnRequest& request);

  const EngineOptions options_;
  Model& model_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* const chat_template_;
  Clock& clock_;
  RandomSource& random_;
  const TurnLimits limits_;
  std::atomic<bool> admitting_{true};
  mutable Metrics metrics_;
  std::unique_ptr<CommitQueue> commits_;
  mutable SessionStore sessions_;
  std::unique_ptr<SessionReader> reader_;
  EngineLoop loop_;  // its turns hold leases of the store
  Mover mover_;
};

absl::StatusOr<SessionInfo> EngineImpl::CreateSession(const std::string& label, std::optional<Durability> durability) {
  if (absl::Status status = Admission(); !status.ok()) return status;
  const Durability kind = durability.value_or(options_.durability);
  if (kind != Durability::kNone && options_.vault == nullptr) {
    return absl::FailedPreconditionError("durability: the server has no data folder (--data-dir)");
  }
  RemoveExpired();
  absl::StatusOr<AcquiredSession> made = sessions_.CreateBusy(label, kind);
  if (!made.ok()) return made.status();
  Session session = made->lease.Snapshot();
  if (kind != Durability::kNone) {
    absl::StatusOr<std::unique_ptr<Journal>> journal = options_.vault->Create(session.key, ToJournalState(session));
    if (!journal.ok()) {
      made->lease.Lose();
      return absl::Status(journal.status().code(),
                          absl::StrCat("the session could not be made: ", journal.status().message()));
    }
    session.journal = *std::move(journal);
  }
  return made->lease.Become(session);
}

absl::StatusOr<SessionPage> EngineImpl::ListSessions(int page_size, const std::string& page_token) {
  RemoveExpired();
  absl::StatusOr<SessionPage> page = sessions_.List(page_size, page_token);
  bool read = false;
  for (size_t i = 0; page.ok() && i < page->sessions.size(); ++i) {
    if (!reader_->NeedsReading(page->sessions[i].id)) continue;
    reader_->Read(page->sessions[i].id).IgnoreError();
    read = true;
  }
  return read ? sessions_.List(page_size, page_token) : page;
}

absl::Status EngineImpl::DeleteSession(const std::string& id) {
  // Reading it tells whose it is.
  if (absl::Status status = Read(id); !status.ok()) return status;
  absl::StatusOr<std::shared_ptr<Session>> session = sessions_.Delete(id);
  if (!session.ok()) return session.status();
  if ((*session)->journal != nullptr) return (*session)->journal->Remove();
  return (*session)->damage.ok() ? absl::OkStatus() : options_.vault->Remove((*session)->key);
}

absl::StatusOr<SessionInfo> EngineImpl::ParkSession(const std::string& id, ParkTarget target) {
  if (absl::Status status = Read(id); !status.ok()) return status;
  absl::StatusOr<AcquiredSession> acquired = sessions_.AcquireStill(id, std::nullopt);
  if (!acquired.ok()) return acquired.status();
  const absl::Status status = WithoutLostDevice(mover_.Park(sessions_.BeginMove(acquired->lease), target));
  acquired->lease.Release();
  if (!status.ok()) return status;
  return sessions_.Get(id);
}

absl::StatusOr<std::shared_ptr<TokenStream>> EngineImpl::ResumeTurn(const std::string& id, int64_t from_seq) {
  if (absl::Status status = Read(id); !status.ok()) return status;
  if (const auto session = sessions_.Get(id); !session.ok()) return session.status();
  const std::shared_ptr<TurnLog> log = sessions_.LastTurn(id);
  if (log == nullptr) return absl::NotFoundError("the session has no turn to resume");
  auto stream = std::make_shared<TokenStream>();
  if (absl::Status status = log->Follow(from_seq, stream); !status.ok()) return status;
  return stream;
}

DrainReport EngineImpl::Drain(SteadyTime deadline) {
  const SteadyTime now = clock_.Now();
  const auto patience = deadline <= now ? std::chrono::nanoseconds(0) : Until(deadline, now);
  DrainReport report;
  const std::chrono::nanoseconds parking = std::min<std::chrono::nanoseconds>(ParkingTime(), patience);
  if (!loop_.queue().WaitUntilDone(patience - parking)) {
    report.turns_cut = metrics_.turns_running.load() + metrics_.turns_waiting.load();
    loop_.CancelAll();
    loop_.queue().WaitUntilDone(std::chrono::nanoseconds::max());
  }
  if (options_.vault == nullptr || loop_.device_lost()) return report;
  const SteadyTime until = patience > std::chrono::hours(24 * 365)
                               ? SteadyTime::max()
                               : std::chrono::steady_clock::now() + Until(deadline, clock_.Now());
  std::tie(report.sessions_parked, report.sessions_left) = mover_.ParkAll(until);
  return report;
}

const Metrics& EngineImpl::metrics() const {
  metrics_.sessions.store(sessions_.size());
  metrics_.sessions_parked_host.store(sessions_.CountIn(SessionHome::kHost));
  metrics_.sessions_parked_disk.store(sessions_.CountIn(SessionHome::kDisk));
  const CommitQueue::Counters commits = commits_->counters();
  metrics_.journal_commits.store(commits.commits);
  metrics_.journal_batches.store(commits.batches);
  metrics_.journal_failures.store(commits.failures);
  metrics_.journal_sync_us.store(commits.microseconds);
  return metrics_;
}

// A turn that was sent again: what it said.
std::optional<std::shared_ptr<TokenStream>> EngineImpl::Repeated(const TurnRequest& request) {
  if (request.turn_id.empty() || request.session_id.empty()) return std::nullopt;
  const std::shared_ptr<TurnLog> log = sessions_.LastTurn(request.session_id);
  if (log == nullptr || log->turn_id() != request.turn_id) return std::nullopt;
  auto stream = std::make_shared<TokenStream>();
  if (!log->Follow(0, stream).ok()) return std::nullopt;
  return stream;
}

absl::StatusOr<std::shared_ptr<TokenStream>> EngineImpl::Submit(TurnRequest request) {
  const SteadyTime arrival = clock_.Now();
  if (absl::Status status = Admission(); !status.ok()) return status;
  if (absl::Status status = ValidateTurn(request, limits_); !status.ok()) return status;

  if (!request.session_id.empty()) {
    if (absl::Status status = Read(request.session_id); !status.ok()) return status;
    if (auto repeated = Repeated(request); repeated.has_value()) return *repeated;
  }
  Turn::Setup setup(options_.geometry);
  setup.kind = request.kind;
  setup.stream = std::make_shared<TokenStream>();
  if (!request.session_id.empty()) {
    // From here on the session is busy; every way out gives the lease back.
    absl::StatusOr<AcquiredSession> session =
        sessions_.Acquire(request.session_id, request.expected_position, [stream = setup.stream] { stream->Cancel(); });
    if (!session.ok()) return session.status();
    setup.lease = std::move(session->lease);
    setup.cache = std::move(session->cache);
    setup.reply_end = session->reply_end;
    setup.turns = session->turns;
    setup.journaled = setup.lease.journal() != nullptr;
    setup.durability = request.durability.value_or(setup.lease.durability());
    if (setup.journaled != (setup.durability != Durability::kNone)) {
      return absl::FailedPreconditionError(setup.journaled
                                               ? "durability: a turn of a session with a journal is written there"
                                               : "durability: the session has no journal, its durability is none");
    }
    if (request.kind == TurnKind::kGenerate) setup.log = std::make_shared<TurnLog>(request.turn_id);
  }
  absl::StatusOr<std::vector<int32_t>> prompt = EncodePrompt(
      request, {setup.cache.position(), setup.reply_end, setup.cache.pending.value_or(-1)}, tokenizer_, chat_template_);
  if (!prompt.ok()) return prompt.status();

  setup.asks_for_reply = AsksForReply(request);
  setup.prompt = *std::move(prompt);
  setup.sampling = request.sampling;
  setup.seed = request.sampling.seed.has_value() ? *request.sampling.seed : random_.Next64();
  setup.max_tokens = request.max_tokens.value_or(options_.default_max_tokens);
  if (request.kind == TurnKind::kGenerate) setup.stop = std::move(request.stop);
  setup.turn_id = std::move(request.turn_id);
  setup.on_cancel = request.on_cancel;
  setup.deadline = request.deadline;
  setup.arrival = arrival;
  const std::shared_ptr<TokenStream> stream = setup.stream;
  auto turn = std::make_unique<Turn>(std::move(setup), tokenizer_);
  if (absl::Status status = loop_.queue().Push(turn); !status.ok()) return status;
  return stream;
}

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> EngineImpl::SubmitReplies(TurnRequest request, int n) {
  if (n < 1 || n > kMaxReplies) {
    return absl::InvalidArgumentError(absl::StrCat("n must be in [1, ", kMaxReplies, "], got ", n));
  }
  if (n > 1 && !request.session_id.empty()) {
    return absl::InvalidArgumentError("n must be 1 with session_id: a session has one reply");
  }
  if (n > 1 && !request.sampling.seed.has_value()) request.sampling.seed = random_.Next64();
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < n; ++i) {
    TurnRequest one = i + 1 < n ? request : std::move(request);
    if (i > 0) *one.sampling.seed += static_cast<uint64_t>(i);
    absl::StatusOr<std::shared_ptr<TokenStream>> stream = Submit(std::move(one));
    if (!stream.ok()) {
      for (const auto& begun : streams) begun->Cancel();
      return stream.status();
    }
    streams.push_back(*std::move(stream));
  }
  return streams;
}

absl::Status CheckAtLeast(const char* name, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " must be at least ", least, ", got ", value));
}

absl::Status ValidateOptions(const EngineOptions& options, const Model& model, const Tokenizer& tokenizer) {
  if (absl::Status status = options.geometry.Validate(); !status.ok()) return status;
  const struct {
    const char* name;
    int64_t value;
    int64_t least;
  } bounds[] = {{"number of cache slots", options.num_slots, 1},
                {"--max-num-sessions", options.max_num_sessions, 1},
                {"--host-cache-bytes", options.host_cache_bytes, 0},
                {"--rewind-turns", options.rewind_turns, 0},
                {"--max-num-seqs", options.max_num_seqs, 1},
                {"--max-num-queued-reqs", options.max_num_queued_requests, 1},
                {"--default-max-tokens", options.default_max_tokens, 0},
                {"--max-prompt-bytes", options.max_prompt_bytes, 1},
                {"--session-ttl", options.session_ttl.count(), 0}};
  for (const auto& bound : bounds) {
    if (absl::Status status = CheckAtLeast(bound.name, bound.value, bound.least); !status.ok()) return status;
  }
  if (options.durability != Durability::kNone && options.vault == nullptr) {
    return absl::InvalidArgumentError("--durability: needs a data folder (--data-dir)");
  }
  // The bounds of schedule/scheduler.h rest on this.
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    return absl::InvalidArgumentError(absl::StrCat("--max-num-batched-tokens must be at least --max-num-seqs = ",
                                                   options.max_num_seqs, ", got ", options.max_num_batched_tokens));
  }
  // Times are counted in nanoseconds of 64 bits.
  if (options.session_ttl > std::chrono::hours(24 * 36500)) {
    return absl::InvalidArgumentError("--session-ttl must be at most 100 years");
  }
  if (tokenizer.vocabulary_size() < 1 || tokenizer.vocabulary_size() > model.vocabulary()) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ", tokenizer.vocabulary_size(),
                                                   " tokens, but the model's vocabulary is ", model.vocabulary()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, Model& model,
                                                       const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                                       Clock& clock, RandomSource& random) {
  if (absl::Status status = ValidateOptions(options, model, tokenizer); !status.ok()) return status;
  model.SetEndIds(tokenizer.end_ids());
  return std::make_unique<EngineImpl>(options, model, tokenizer, chat_template, clock, random);
}

}  // namespace cascade
