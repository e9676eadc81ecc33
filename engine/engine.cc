#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/engine_loop.h"
#include "engine/fork.h"
#include "engine/grammar_cache.h"
#include "engine/inspection.h"
#include "engine/mover.h"
#include "engine/options_validation.h"
#include "engine/prompt_encoder.h"
#include "engine/rewind.h"
#include "engine/session/commit_queue.h"
#include "engine/session/session_store.h"
#include "engine/session_reader.h"
#include "engine/session_transfer.h"
#include "engine/turn_sampling.h"
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
                .default_max_tokens = options.default_max_tokens,
                .has_chat_template = chat_template != nullptr},
        grammars_(tokenizer),
        commits_(std::make_unique<CommitQueue>()),
        sessions_(options_.geometry, Limits(options_, model), clock, random),
        reader_(std::make_unique<SessionReader>(options_, tokenizer, sessions_, metrics_)),
        loop_(options_, model, tokenizer.vocabulary_size(), sessions_, *commits_, clock, metrics_),
        mover_(
            options_, model, sessions_, metrics_, BetweenSteps(), [this] { loop_.queue().Wake(); },
            [this](const absl::Status& cause) { loop_.ReportLostDevice(cause); }) {
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
    return WithoutTaken(
        id, WithoutLostDevice(Fork(options_, id, label, expected_position, sessions_, model_, BetweenSteps())));
  }
  absl::StatusOr<SessionInfo> ParkSession(const std::string& id, ParkTarget target) override;
  absl::StatusOr<SessionInfo> RewindSession(const RewindRequest& request) override {
    if (absl::Status status = Ready(request.session_id); !status.ok()) return status;
    return WithoutTaken(request.session_id, WithoutLostDevice(Rewind(options_, request, ToUnixMs(clock_.WallNow()),
                                                                     sessions_, *commits_, model_, BetweenSteps())));
  }
  absl::StatusOr<SessionExport> ExportSession(const std::string& id, bool with_history) override {
    if (options_.vault == nullptr) return NoVault();
    if (absl::Status status = Ready(id); !status.ok()) return status;
    return WithoutTaken(id, WithoutLostDevice(Export(Transfer(), id, with_history)));
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
    return mover_.TimePerImage() * static_cast<int64_t>(sessions_.Unparked(/*without_image=*/true).size());
  }

  int SlotsFree() const override { return sessions_.slots_free(); }
  const Metrics& metrics() const override;
  const EngineOptions& options() const override { return options_; }

 private:
  // What another server has taken is not known here any more, so that the next call looks at its files.
  template <class T>
  T WithoutTaken(const std::string& id, T found) {
    if (found.ok() || !sessions_.ForgetTaken(id)) return found;
    if constexpr (std::is_same_v<T, absl::Status>) {
      return absl::UnavailableError(found.message());
    } else {
      return absl::UnavailableError(found.status().message());
    }
  }
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
    for (const std::shared_ptr<Session>& session : sessions_.TakeExpired()) mover_.RemoveFiles(session);
  }
  std::optional<absl::StatusOr<std::shared_ptr<TokenStream>>> Repeated(const TurnRequest& request);
  // Null without a schema.
  absl::StatusOr<std::unique_ptr<TokenMask>> MaskOf(const TurnRequest& request);
  // Of a valid request. `setup` has what depends on its session, and the prompt.
  absl::StatusOr<std::unique_ptr<Turn>> MakeTurn(const TurnRequest& request, uint64_t seed, SteadyTime arrival,
                                                 std::unique_ptr<TokenMask> mask, Turn::Setup setup);

  const EngineOptions options_;
  Model& model_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* const chat_template_;
  Clock& clock_;
  RandomSource& random_;
  const TurnLimits limits_;
  GrammarCache grammars_;
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
  absl::Status status;
  if ((*session)->journal != nullptr) {
    status = (*session)->journal->Remove();
    if ((*session)->journal->taken()) status = absl::UnavailableError(status.message());
  } else if (!(*session)->damage.ok()) {
    status = options_.vault->Remove((*session)->key);
  }
  sessions_.Gone(id);
  return status;
}

absl::StatusOr<SessionInfo> EngineImpl::ParkSession(const std::string& id, ParkTarget target) {
  if (absl::Status status = Read(id); !status.ok()) return status;
  absl::StatusOr<AcquiredSession> acquired = sessions_.AcquireStill(id, std::nullopt);
  if (!acquired.ok()) return acquired.status();
  absl::Status status = WithoutLostDevice(mover_.Park(sessions_.BeginMove(acquired->lease), target));
  acquired->lease.Release();
  if (!status.ok()) return WithoutTaken(id, status);
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
  DrainReport report{.parks = options_.vault != nullptr};
  // Turns that are cut end with the steps that are in flight.
  const auto cutting = std::min<std::chrono::nanoseconds>(patience / 10, std::chrono::seconds(1));
  const std::chrono::nanoseconds parking = options_.vault == nullptr
                                               ? std::chrono::nanoseconds(0)
                                               : std::min<std::chrono::nanoseconds>(ParkingTime() + cutting, patience);
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
  metrics_.prefix_entries.store(sessions_.prefixes());
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
std::optional<absl::StatusOr<std::shared_ptr<TokenStream>>> EngineImpl::Repeated(const TurnRequest& request) {
  if (request.turn_id.empty() || request.session_id.empty()) return std::nullopt;
  const std::shared_ptr<TurnLog> log = sessions_.TurnOf(request.session_id, request.turn_id);
  if (log == nullptr) return std::nullopt;
  auto stream = std::make_shared<TokenStream>();
  if (absl::Status status = log->Follow(0, stream); !status.ok()) return status;
  return stream;
}

absl::StatusOr<std::unique_ptr<TokenMask>> EngineImpl::MaskOf(const TurnRequest& request) {
  if (request.json_schema.empty()) return nullptr;
  return grammars_.NewMask(request.json_schema);
}

absl::StatusOr<std::unique_ptr<Turn>> EngineImpl::MakeTurn(const TurnRequest& request, uint64_t seed,
                                                           SteadyTime arrival, std::unique_ptr<TokenMask> mask,
                                                           Turn::Setup setup) {
  setup.kind = request.kind;
  setup.asks_for_reply = AsksForReply(request);
  if (request.kind == TurnKind::kGenerate) {
    const int64_t max_tokens = request.max_tokens.value_or(options_.default_max_tokens);
    if (absl::Status status =
            SetSampling(request, seed, max_tokens, tokenizer_, model_.vocabulary(), std::move(mask), setup);
        !status.ok()) {
      return status;
    }
  }
  setup.tenant = request.tenant;
  setup.leaves_prefix = options_.prefix_caching && request.session_id.empty() && request.kind == TurnKind::kGenerate;
  // Log-probabilities of a prompt are had by reading it.
  setup.seeks_prefix = setup.leaves_prefix && !request.prompt_logprobs.has_value();
  setup.priority = request.priority;
  setup.turn_id = request.turn_id;
  setup.on_cancel = request.on_cancel;
  setup.deadline = request.deadline;
  setup.arrival = arrival;
  return std::make_unique<Turn>(std::move(setup), tokenizer_);
}

absl::StatusOr<std::shared_ptr<TokenStream>> EngineImpl::Submit(TurnRequest request) {
  const SteadyTime arrival = clock_.Now();
  if (absl::Status status = Admission(); !status.ok()) return status;
  if (absl::Status status = ValidateTurn(request, limits_); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<TokenMask>> mask = MaskOf(request);
  if (!mask.ok()) return mask.status();

  if (!request.session_id.empty()) {
    if (absl::Status status = Read(request.session_id); !status.ok()) return status;
    if (auto repeated = Repeated(request); repeated.has_value()) return *repeated;
  }
  Turn::Setup setup(options_.geometry);
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

  setup.prompt = *std::move(prompt);
  const uint64_t seed = request.sampling.seed.has_value() ? *request.sampling.seed : random_.Next64();
  const std::shared_ptr<TokenStream> stream = setup.stream;
  absl::StatusOr<std::unique_ptr<Turn>> made = MakeTurn(request, seed, arrival, *std::move(mask), std::move(setup));
  if (!made.ok()) return made.status();
  std::unique_ptr<Turn> turn = *std::move(made);
  // Whoever sends it again while it waits is given its stream.
  if (!turn->one_shot()) turn->lease().Begin(turn->log());
  if (absl::Status status = loop_.queue().Push(turn); !status.ok()) {
    if (!turn->one_shot()) turn->lease().Begin(nullptr);
    return status;
  }
  return stream;
}

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> EngineImpl::SubmitReplies(TurnRequest request, int n) {
  if (n < 1 || n > kMaxReplies) {
    return absl::InvalidArgumentError(absl::StrCat("n must be in [1, ", kMaxReplies, "], got ", n));
  }
  if (n > 1 && !request.session_id.empty()) {
    return absl::InvalidArgumentError("n must be 1 with session_id: a session has one reply");
  }
  if (n == 1) {
    absl::StatusOr<std::shared_ptr<TokenStream>> stream = Submit(std::move(request));
    if (!stream.ok()) return stream.status();
    return std::vector<std::shared_ptr<TokenStream>>{*std::move(stream)};
  }
  const SteadyTime arrival = clock_.Now();
  if (absl::Status status = Admission(); !status.ok()) return status;
  if (absl::Status status = ValidateTurn(request, limits_); !status.ok()) return status;
  const absl::StatusOr<std::vector<int32_t>> prompt =
      EncodePrompt(request, {0, ReplyEnd::kNone, -1}, tokenizer_, chat_template_);
  if (!prompt.ok()) return prompt.status();

  const uint64_t seed = request.sampling.seed.has_value() ? *request.sampling.seed : random_.Next64();
  const bool samples = request.max_tokens.value_or(options_.default_max_tokens) > 0;
  std::shared_ptr<ReplyGroup> replies;
  if (request.kind == TurnKind::kGenerate && samples && !request.prompt_logprobs.has_value()) {
    replies = std::make_shared<ReplyGroup>();
  }
  std::vector<std::unique_ptr<Turn>> turns;
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < n; ++i) {
    absl::StatusOr<std::unique_ptr<TokenMask>> mask = MaskOf(request);
    if (!mask.ok()) return mask.status();
    Turn::Setup setup(options_.geometry);
    setup.stream = streams.emplace_back(std::make_shared<TokenStream>());
    setup.prompt = *prompt;
    setup.replies = replies;
    absl::StatusOr<std::unique_ptr<Turn>> turn =
        MakeTurn(request, seed + static_cast<uint64_t>(i), arrival, *std::move(mask), std::move(setup));
    if (!turn.ok()) return turn.status();
    turns.push_back(*std::move(turn));
  }
  if (absl::Status status = loop_.queue().Push(turns); !status.ok()) return status;
  return streams;
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
