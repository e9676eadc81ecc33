#include "engine/engine.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/engine_loop.h"
#include "engine/fork.h"
#include "engine/inspection.h"
#include "engine/prompt_encoder.h"
#include "engine/session/session_store.h"
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
        sessions_(options_.geometry, options.num_slots, options.session_ttl, clock, random),
        loop_(options_, model, tokenizer.vocabulary_size(), sessions_, clock, metrics_) {}

  absl::StatusOr<SessionInfo> CreateSession(const std::string& label) override {
    if (absl::Status status = Admission(); !status.ok()) return status;
    return sessions_.Create(label);
  }
  absl::StatusOr<SessionInfo> GetSession(const std::string& id) override { return sessions_.Get(id); }
  absl::StatusOr<SessionPage> ListSessions(int page_size, const std::string& page_token) override {
    return sessions_.List(page_size, page_token);
  }
  absl::Status DeleteSession(const std::string& id) override { return sessions_.Delete(id); }

  absl::StatusOr<SessionInfo> ForkSession(const std::string& id, const std::string& label,
                                          std::optional<int64_t> expected_position) override {
    if (absl::Status status = Admission(); !status.ok()) return status;
    return WithoutLostDevice(Fork(id, label, expected_position, sessions_, model_, BetweenSteps()));
  }

  absl::StatusOr<std::vector<HeadView>> InspectSession(const std::string& id, std::vector<int> layers,
                                                       std::vector<int> kv_heads, int64_t* position) override {
    return WithoutLostDevice(
        Inspect(options_, id, std::move(layers), std::move(kv_heads), sessions_, model_, BetweenSteps(), position));
  }

  absl::StatusOr<std::shared_ptr<TokenStream>> Submit(TurnRequest request) override;

  void StopAdmission() override {
    admitting_.store(false);
    loop_.queue().Close();
  }
  void Drain(SteadyTime deadline) override {
    const SteadyTime now = clock_.Now();
    const auto patience = deadline <= now ? std::chrono::nanoseconds(0) : Until(deadline, now);
    if (loop_.queue().WaitUntilDone(patience)) return;
    loop_.CancelAll();
    loop_.queue().WaitUntilDone(std::chrono::nanoseconds::max());
  }

  int SlotsFree() const override { return sessions_.slots_free(); }
  const Metrics& metrics() const override {
    metrics_.sessions.store(sessions_.size());
    return metrics_;
  }
  const EngineOptions& options() const override { return options_; }

 private:
  cascade::BetweenSteps BetweenSteps() {
    return [this](std::function<void()> work) { return loop_.queue().RunBetweenSteps(std::move(work)); };
  }
  // What work between steps has found: a device that is lost ends all that runs, too.
  template <class T>
  absl::StatusOr<T> WithoutLostDevice(absl::StatusOr<T> found) {
    if (!absl::IsDataLoss(found.status())) return found;
    loop_.ReportLostDevice(found.status());
    return absl::UnavailableError(absl::StrCat("the device has failed: ", found.status().message()));
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

  const EngineOptions options_;
  Model& model_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* const chat_template_;
  Clock& clock_;
  RandomSource& random_;
  const TurnLimits limits_;
  std::atomic<bool> admitting_{true};
  mutable Metrics metrics_;
  mutable SessionStore sessions_;
  EngineLoop loop_;  // last: its turns hold leases of the store
};

absl::StatusOr<std::shared_ptr<TokenStream>> EngineImpl::Submit(TurnRequest request) {
  const SteadyTime arrival = clock_.Now();
  if (absl::Status status = Admission(); !status.ok()) return status;
  if (absl::Status status = ValidateTurn(request, limits_); !status.ok()) return status;

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
  setup.deadline = request.deadline;
  setup.arrival = arrival;
  const std::shared_ptr<TokenStream> stream = setup.stream;
  auto turn = std::make_unique<Turn>(std::move(setup), tokenizer_);
  if (absl::Status status = loop_.queue().Push(turn); !status.ok()) return status;
  return stream;
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
                {"--max-num-seqs", options.max_num_seqs, 1},
                {"--max-num-queued-reqs", options.max_num_queued_requests, 1},
                {"--default-max-tokens", options.default_max_tokens, 0},
                {"--max-prompt-bytes", options.max_prompt_bytes, 1},
                {"--session-ttl", options.session_ttl.count(), 0}};
  for (const auto& bound : bounds) {
    if (absl::Status status = CheckAtLeast(bound.name, bound.value, bound.least); !status.ok()) return status;
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
