#include "server/http/openai_call.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/prompt_encoder.h"
#include "server/http/json_fields.h"
#include "server/http/openai_error.h"

namespace cascade {
namespace {

// A whole answer of more bytes is written as JSON by the workers.
constexpr size_t kQuickAnswerBytes = 64 << 10;

template <class T>
void Append(std::vector<T>&& from, std::vector<T>* to) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

// `later` follows what `result` has.
void Merge(TurnDelta later, TurnDelta* result) {
  std::swap(result->text, later.text);
  std::swap(result->token_ids, later.token_ids);
  std::swap(result->logprobs, later.logprobs);
  std::swap(result->prompt_logprobs, later.prompt_logprobs);
  later.text += result->text;
  Append(std::move(result->token_ids), &later.token_ids);
  Append(std::move(result->logprobs), &later.logprobs);
  Append(std::move(result->prompt_logprobs), &later.prompt_logprobs);
  *result = std::move(later);
}

}  // namespace

void OpenAiCall::Start(const HttpContext& context, OpenAiKind kind, std::shared_ptr<HttpExchange> exchange) {
  const bool quick = exchange->request().body.size() <= kQuickBodyBytes;
  auto call = std::make_shared<OpenAiCall>(context, kind, exchange);
  exchange->NotifyWhenGone([call] { call->OnGone(); });
  call->Post(quick ? context.quick : context.workers, &OpenAiCall::Parse);
}

void OpenAiCall::Post(WorkerPool& pool, void (OpenAiCall::*step)()) {
  const absl::Status posted = pool.Post([self = shared_from_this(), step] { ((*self).*step)(); });
  if (!posted.ok()) Fail(posted);
}

// A chat's prompt are its messages.
absl::Status OpenAiCall::Named(const absl::Status& status) const {
  const std::string message(status.message());
  if (kind_ != OpenAiKind::kChat || LeadingField(message) != "prompt") return status;
  return absl::Status(status.code(), "messages" + message.substr(sizeof("prompt") - 1));
}

void OpenAiCall::Fail(const absl::Status& status) { exchange_->Send(ErrorResponse(Named(status))); }

// OpenAI's clients send again what failed; a session's turn may have changed the session by then.
void OpenAiCall::FailBegun() {
  HttpResponse response = ErrorResponse(Named(failure_));
  if (!repeatable_) response.headers.emplace_back("x-should-retry", "false");
  exchange_->Send(std::move(response));
}

void OpenAiCall::Parse() {
  HttpRequest& http = exchange_->request();
  const bool quick = http.body.size() <= kQuickBodyBytes;
  const absl::StatusOr<Json> body = ParseJsonObject(http.body);
  if (!body.ok()) return Fail(body.status());
  std::string().swap(http.body);
  absl::StatusOr<OpenAiRequest> request = ParseOpenAiRequest(kind_, *body, http.session_id);
  if (!request.ok()) return Fail(request.status());
  request_ = *std::move(request);
  if (request_.model != context_.model.name) return Fail(ModelNotFound());
  const TurnRequest& turn = request_.turns.front();
  outlives_call_ = turn.on_cancel == OnCancel::kContinue;
  repeatable_ = turn.session_id.empty() || !turn.turn_id.empty();
  if (!turn.session_id.empty() && context_.engine.SubmitWaits(turn.session_id)) {
    return Post(context_.waiters, &OpenAiCall::Submit);
  }
  if (quick && AsksForSchema(request_)) return Post(context_.workers, &OpenAiCall::Submit);
  Submit();
}

void OpenAiCall::Submit() {
  if (gone_ && !outlives_call_) return;
  const TurnRequest& turn = request_.turns.front();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  format_.emplace(request_, turn.stop_token_ids, turn.session_id,
                  absl::StrCat(kind_ == OpenAiKind::kChat ? "chatcmpl-" : "cmpl-",
                               absl::Hex(context_.random.Next64(), absl::kZeroPad16)),
                  std::chrono::duration_cast<std::chrono::seconds>(now).count(), context_.model, context_.tokenizer);
  choices_.resize(request_.turns.size() * static_cast<size_t>(std::max(0, std::min(request_.n, kMaxChoices))));
  SetFirstPromptIds();
  Streams streams;
  if (absl::Status status = SubmitAll(&streams); !status.ok()) {
    for (const auto& stream : streams) stream->Cancel();
    return Fail(status);
  }
  exchange_->Post(
      [self = shared_from_this(), streams = std::move(streams)]() mutable { self->Begin(std::move(streams)); });
}

absl::Status OpenAiCall::SubmitAll(Streams* streams) {
  for (TurnRequest& turn : request_.turns) {
    absl::StatusOr<Streams> some = context_.engine.SubmitReplies(std::move(turn), request_.n);
    if (!some.ok()) return some.status();
    Append(*std::move(some), streams);
  }
  return absl::OkStatus();
}

// The first token of a prompt has no logprob, so the engine does not name it; it stands in answers all the same.
void OpenAiCall::SetFirstPromptIds() {
  if (!request_.echo_logprobs() && !request_.prompt_logprobs) return;
  for (size_t i = 0; i < choices_.size(); ++i) {
    const TurnRequest& turn = request_.turns[i / static_cast<size_t>(request_.n)];
    if (!turn.session_id.empty()) continue;  // may have tokens before it
    const absl::StatusOr<std::vector<int32_t>> ids =
        EncodePrompt(turn, PromptPlace(), context_.tokenizer, context_.chat_template);
    if (ids.ok() && !ids->empty()) choices_[i].first_prompt_id = ids->front();
  }
}

void OpenAiCall::Begin(Streams streams) {
  streams_ = std::move(streams);
  ready_.assign(streams_.size(), true);
  if (gone_) return LeaveStreams(!outlives_call_);
  if (!request_.stream) return Pump();
  HttpResponse head;
  head.media_type = "text/event-stream; charset=utf-8";
  head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  exchange_->BeginStream(head);
  Write("", false);  // the client may wait for nothing but the head
}

void OpenAiCall::Arm(int stream) {
  streams_[static_cast<size_t>(stream)]->NotifyWhenReady(
      [self = shared_from_this(), stream] { self->context_.ready.Post(self, stream); });
}

void OpenAiCall::OnReady(int stream) {
  if (over_) return;
  ready_[static_cast<size_t>(stream)] = true;
  if (!writing_) Pump();
}

void OpenAiCall::Pump() {
  std::string out;
  for (size_t i = 0; i < streams_.size() && failure_.ok(); ++i) {
    const size_t before = out.size();
    while (ready_[i] && out.size() == before) {
      std::optional<TurnDelta> delta = streams_[i]->TryPop();
      if (!delta.has_value()) {
        ready_[i] = false;
        Arm(static_cast<int>(i));
        break;
      }
      Take(i, *std::move(delta), &out);
    }
  }
  if (over_) return;
  if (!failure_.ok()) {
    LeaveStreams(true);
    if (!request_.stream) return FailBegun();
    OpenAiFormat::AppendErrorAndEnd(Named(failure_), &out);
    return Write(std::move(out), true);
  }
  if (!AllFinished()) {
    if (!out.empty()) Write(std::move(out), false);
    return;
  }
  over_ = true;
  if (!request_.stream) return AnswerWhole();
  format_->AppendEnd(choices_, &out);
  Write(std::move(out), true);
}

void OpenAiCall::Take(size_t index, TurnDelta delta, std::string* out) {
  OpenAiChoice& choice = choices_[index];
  if (delta.finished) {
    choice.finished = true;
    ready_[index] = false;
    failure_ = OpenAiFormat::FinalStatus(delta);
    if (!failure_.ok()) return;
  }
  if (!request_.stream) return Merge(std::move(delta), &choice.result);
  format_->AppendChunks(static_cast<int>(index), delta, &choice, out);
  if (delta.finished) choice.result = std::move(delta);
}

bool OpenAiCall::AllFinished() const {
  return std::all_of(choices_.begin(), choices_.end(), [](const OpenAiChoice& choice) { return choice.finished; });
}

void OpenAiCall::Write(std::string out, bool last) {
  writing_ = true;
  over_ = over_ || last;
  exchange_->Write(std::move(out), last, [self = shared_from_this()] {
    self->writing_ = false;
    if (!self->over_) self->Pump();
  });
}

void OpenAiCall::AnswerWhole() {
  const auto answer = [self = shared_from_this()] {
    HttpResponse response;
    response.body = self->format_->Whole(self->choices_);
    self->exchange_->Send(std::move(response));
  };
  if (OpenAiFormat::WholeBytes(choices_) > kQuickAnswerBytes && context_.workers.Post(answer).ok()) return;
  answer();
}

void OpenAiCall::OnGone() {
  gone_ = true;
  if (!over_ && !streams_.empty()) LeaveStreams(!outlives_call_);
}

void OpenAiCall::LeaveStreams(bool cancel) {
  over_ = true;
  for (size_t i = 0; i < streams_.size(); ++i) {
    if (choices_[i].finished) continue;
    if (cancel) streams_[i]->Cancel();
    streams_[i]->NotifyWhenReady(nullptr);
  }
}

}  // namespace cascade
