#include "server/http/openai_format.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/http/json_text.h"
#include "server/http/openai_error.h"

namespace cascade {
namespace {

// What one event carries at most of a delta that has merged while the client did not read.
constexpr size_t kPieceTextBytes = 64 << 10;
constexpr size_t kPieceTokens = 256;

// `size` bytes of `text` from `from` on, or a few less so that no character is cut.
std::string_view WholeCharacters(std::string_view text, size_t from, size_t size) {
  from = std::min(from, text.size());
  size_t end = std::min(text.size(), from + size);
  while (end < text.size() && end > from && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(from, end - from);
}

void AppendField(const char* name, std::string_view text, std::string* out) {
  absl::StrAppend(out, "\"", name, "\":");
  AppendJsonString(text, out);
}

double Seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

std::string Head(const char* object, const std::string& id, int64_t created, const ServedModel& model) {
  std::string head = "{";
  AppendField("id", id, &head);
  head += ',';
  AppendField("object", object, &head);
  absl::StrAppend(&head, ",\"created\":", created, ",");
  AppendField("model", model.name, &head);
  head += ',';
  AppendField("system_fingerprint", model.fingerprint, &head);
  head += ",\"choices\":[";
  return head;
}

}  // namespace

OpenAiFormat::OpenAiFormat(const OpenAiRequest& request, const std::vector<int32_t>& stop_token_ids,
                           const std::string& session_id, const std::string& id, int64_t created,
                           const ServedModel& model, const Tokenizer& tokenizer)
    : kind_(request.kind),
      n_(request.n),
      include_usage_(request.include_usage),
      logprobs_(request.logprobs),
      prompt_logprobs_(request.prompt_logprobs),
      echo_logprobs_(request.echo_logprobs()),
      stop_token_ids_(stop_token_ids),
      session_id_(session_id),
      tokenizer_(tokenizer) {
  const bool chat = kind_ == OpenAiKind::kChat;
  head_ = Head(chat ? "chat.completion" : "text_completion", id, created, model);
  chunk_ = "data: " + Head(chat ? "chat.completion.chunk" : "text_completion", id, created, model);
}

absl::Status OpenAiFormat::FinalStatus(const TurnDelta& delta) {
  if (!delta.status.ok() && !absl::IsCancelled(delta.status)) return delta.status;
  switch (delta.finish_reason) {
    case FinishReason::kCancelled:
      return absl::UnavailableError("the turn was cut: the server stops, or the session's owner ended it");
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the deadline passed");
    case FinishReason::kError:
      return absl::InternalError("a turn ended with an error that has no status");
    default:
      return absl::OkStatus();
  }
}

void OpenAiFormat::AppendFinish(const TurnDelta& delta, std::string* out) const {
  const bool stop = delta.finish_reason == FinishReason::kStop || delta.finish_reason == FinishReason::kStopSequence;
  absl::StrAppend(out, "\"finish_reason\":", stop ? "\"stop\"" : "\"length\"", ",\"stop_reason\":");
  if (delta.finish_reason == FinishReason::kStopSequence) return AppendJsonString(delta.stop_sequence, out);
  const bool asked = delta.stop_token_id.has_value() &&
                     std::count(stop_token_ids_.begin(), stop_token_ids_.end(), *delta.stop_token_id) > 0;
  *out += asked ? std::to_string(*delta.stop_token_id) : "null";
}

// Of a session's turn.
void OpenAiFormat::AppendTurn(const TurnDelta& delta, std::string* out) const {
  if (session_id_.empty()) return;
  *out += ",\"cascade\":{";
  AppendField("session_id", session_id_, out);
  absl::StrAppend(out, ",\"seq\":", delta.seq);
  if (delta.finished) absl::StrAppend(out, ",\"position\":", delta.usage.session_tokens_seen);
  if (delta.acknowledgement.has_value()) {
    absl::StrAppend(out, ",\"turn\":", delta.acknowledgement->turn, ",\"digest\":\"",
                    absl::Hex(delta.acknowledgement->digest, absl::kZeroPad16), "\",\"durability\":\"",
                    DurabilityName(delta.acknowledgement->durability), "\"");
  }
  *out += '}';
}

void OpenAiFormat::AppendUsage(const std::vector<OpenAiChoice>& choices, std::string* out) const {
  int64_t prompt = 0, cached = 0, completion = 0, cache_bytes = 0;
  std::chrono::nanoseconds queue{0}, prefill{0}, decode{0};
  for (size_t i = 0; i < choices.size(); ++i) {
    const Usage& usage = choices[i].result.usage;
    // The replies to one prompt are billed one prompt.
    if (i % static_cast<size_t>(n_) == 0) {
      prompt += usage.prompt_tokens;
      cached += usage.cached_tokens;
    }
    completion += usage.completion_tokens;
    cache_bytes += usage.cache_bytes;
    queue = std::max(queue, usage.queue_time);
    prefill = std::max(prefill, usage.prefill_time);
    decode = std::max(decode, usage.decode_time);
  }
  absl::StrAppend(out, "\"usage\":{\"prompt_tokens\":", prompt, ",\"completion_tokens\":", completion,
                  ",\"total_tokens\":", prompt + completion, ",\"prompt_tokens_details\":{\"cached_tokens\":", cached,
                  "},\"cascade\":{");
  if (choices.size() == 1) {
    const Usage& usage = choices.front().result.usage;
    absl::StrAppend(out, "\"session_tokens_seen\":", usage.session_tokens_seen,
                    ",\"tokens_resident\":", usage.tokens_resident, ",\"tokens_evicted\":", usage.tokens_evicted,
                    ",\"position\":", usage.session_tokens_seen, ",");
  }
  absl::StrAppend(out, "\"cache_bytes\":", cache_bytes);
  const std::pair<const char*, std::chrono::nanoseconds> times[] = {
      {"queue_seconds", queue}, {"prefill_seconds", prefill}, {"decode_seconds", decode}};
  for (const auto& [name, time] : times) {
    absl::StrAppend(out, ",\"", name, "\":");
    AppendJsonNumber(Seconds(time), out);
  }
  *out += "}}";
}

void OpenAiFormat::AppendChunks(int index, const TurnDelta& delta, OpenAiChoice* choice, std::string* out) const {
  const bool chat = kind_ == OpenAiKind::kChat;
  const size_t tokens = logprobs_ ? delta.token_ids.size() : 0;
  size_t text_at = 0;
  size_t token_at = 0;
  bool more = !delta.text.empty() || tokens > 0 || (echo_logprobs_ && !delta.prompt_logprobs.empty()) ||
              (delta.finished && !choice->begun);
  while (more) {
    const std::string_view text = WholeCharacters(delta.text, text_at, kPieceTextBytes);
    const size_t count = std::min(kPieceTokens, tokens - token_at);
    absl::StrAppend(out, chunk_, "{\"index\":", index, ",");
    if (chat) {
      *out += choice->begun ? "\"delta\":{\"content\":" : "\"delta\":{\"role\":\"assistant\",\"content\":";
    } else {
      *out += "\"text\":";
    }
    AppendJsonString(text, out);
    *out += chat ? "}," : ",";
    AppendLogprobs(delta, token_at, count, choice, out);
    *out += ",\"finish_reason\":null}]";
    if (include_usage_) *out += ",\"usage\":null";
    choice->begun = true;
    text_at += text.size();
    token_at += count;
    more = text_at < delta.text.size() || token_at < tokens;
    if (!more && !delta.finished) AppendTurn(delta, out);
    *out += "}\n\n";
  }
  if (!delta.finished) return;
  absl::StrAppend(out, chunk_, "{\"index\":", index,
                  chat ? ",\"delta\":{},\"logprobs\":null," : ",\"text\":\"\",\"logprobs\":null,");
  AppendFinish(delta, out);
  *out += "}]";
  if (include_usage_) *out += ",\"usage\":null";
  AppendTurn(delta, out);
  *out += "}\n\n";
}

void OpenAiFormat::AppendEnd(const std::vector<OpenAiChoice>& choices, std::string* out) const {
  if (include_usage_) {
    absl::StrAppend(out, chunk_, "],");
    AppendUsage(choices, out);
    *out += "}\n\n";
  }
  *out += "data: [DONE]\n\n";
}

void OpenAiFormat::AppendErrorAndEnd(const absl::Status& status, std::string* out) {
  absl::StrAppend(out, "data: ", ErrorJson(ToOpenAiError(status)), "\n\ndata: [DONE]\n\n");
}

size_t OpenAiFormat::WholeBytes(const std::vector<OpenAiChoice>& choices) {
  size_t bytes = 0;
  const auto of = [](const TokenLogprobs& values) { return 100 * (1 + values.top.size()); };
  for (const OpenAiChoice& choice : choices) {
    bytes += choice.result.text.size();
    for (const TokenLogprobs& values : choice.result.logprobs) bytes += of(values);
    for (const auto& [id, values] : choice.result.prompt_logprobs) bytes += of(values);
  }
  return bytes;
}

std::string OpenAiFormat::Whole(const std::vector<OpenAiChoice>& choices) const {
  std::string out = head_;
  const bool chat = kind_ == OpenAiKind::kChat;
  for (size_t i = 0; i < choices.size(); ++i) {
    const TurnDelta& result = choices[i].result;
    absl::StrAppend(&out, i > 0 ? "," : "", "{\"index\":", i, ",");
    out += chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":";
    AppendJsonString(result.text, &out);
    out += chat ? ",\"refusal\":null}," : ",";
    OpenAiChoice places = {};
    places.first_prompt_id = choices[i].first_prompt_id;
    AppendLogprobs(result, 0, result.token_ids.size(), &places, &out);
    out += ',';
    AppendFinish(result, &out);
    if (prompt_logprobs_ && !chat) {
      out += ',';
      AppendPromptLogprobs(choices[i], &out);
    }
    out += '}';
  }
  out += "],";
  AppendUsage(choices, &out);
  if (prompt_logprobs_ && chat) {
    out += ',';
    AppendPromptLogprobs(choices.front(), &out);
  }
  AppendTurn(choices.front().result, &out);
  out += '}';
  return out;
}

}  // namespace cascade
