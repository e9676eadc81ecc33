#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "server/http/json_text.h"
#include "server/http/openai_format.h"

namespace cascade {
namespace {

// JSON has no infinity.
constexpr float kLeastLogprob = -9999.0f;

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

void AppendLogprob(float value, std::string* out) {
  AppendJsonNumber(std::isnan(value) ? kLeastLogprob : std::clamp(value, kLeastLogprob, 0.0f), out);
}

}  // namespace

void OpenAiFormat::AppendTokenText(int32_t id, std::string* out) const {
  const std::string_view bytes = tokenizer_.TokenBytes(id);
  AppendJsonString(bytes.empty() ? tokenizer_.TokenText(id) : bytes, out);
}

void OpenAiFormat::AppendTokenBytes(int32_t id, std::string* out) const {
  const std::string_view bytes = tokenizer_.TokenBytes(id);
  const std::string_view shown = bytes.empty() ? tokenizer_.TokenText(id) : bytes;
  *out += '[';
  for (size_t i = 0; i < shown.size(); ++i) {
    absl::StrAppend(out, i > 0 ? "," : "", static_cast<int>(static_cast<unsigned char>(shown[i])));
  }
  *out += ']';
}

void OpenAiFormat::AppendChatLogprobs(const TurnDelta& delta, size_t from, size_t count, std::string* out) const {
  const auto append = [&](int32_t id, float logprob) {
    *out += "{\"token\":";
    AppendTokenText(id, out);
    *out += ",\"logprob\":";
    AppendLogprob(logprob, out);
    *out += ",\"bytes\":";
    AppendTokenBytes(id, out);
  };
  *out += "{\"content\":[";
  for (size_t i = from; i < from + count && i < delta.logprobs.size(); ++i) {
    if (i > from) *out += ',';
    append(delta.token_ids[i], delta.logprobs[i].logprob);
    *out += ",\"top_logprobs\":[";
    for (const TokenLogprob& top : delta.logprobs[i].top) {
      if (&top != &delta.logprobs[i].top.front()) *out += ',';
      append(top.id, top.logprob);
      *out += '}';
    }
    *out += "]}";
  }
  *out += "],\"refusal\":null}";
}

void OpenAiFormat::AppendCompletionLogprobs(const TurnDelta& delta, size_t from, size_t count, OpenAiChoice* choice,
                                            std::string* out) const {
  std::string offsets, logprobs, tokens, tops;
  const auto comma = [](std::string* list) {
    if (!list->empty()) *list += ',';
  };
  const auto append = [&](int32_t id, const TokenLogprobs* values) {
    comma(&offsets);
    absl::StrAppend(&offsets, choice->characters);
    choice->characters += CountCharacters(tokenizer_.TokenBytes(id));
    comma(&tokens);
    AppendTokenText(id, &tokens);
    comma(&logprobs);
    comma(&tops);
    if (values == nullptr) {
      logprobs += "null";
      tops += "null";
      return;
    }
    AppendLogprob(values->logprob, &logprobs);
    // By their texts, of which two may be alike; the token itself is always among them.
    std::string entries;
    std::set<std::string> seen;
    const auto entry = [&](int32_t top, float logprob) {
      std::string text;
      AppendTokenText(top, &text);
      if (!seen.insert(text).second) return;
      comma(&entries);
      absl::StrAppend(&entries, text, ":");
      AppendLogprob(logprob, &entries);
    };
    for (const TokenLogprob& top : values->top) entry(top.id, top.logprob);
    entry(id, values->logprob);
    absl::StrAppend(&tops, "{", entries, "}");
  };
  if (echo_logprobs_ && from == 0) {
    if (!choice->prompt_begun && choice->first_prompt_id.has_value()) append(*choice->first_prompt_id, nullptr);
    choice->prompt_begun = true;
    for (const auto& [id, values] : delta.prompt_logprobs) append(id, &values);
  }
  for (size_t i = from; i < from + count && i < delta.logprobs.size(); ++i) {
    append(delta.token_ids[i], &delta.logprobs[i]);
  }
  absl::StrAppend(out, "{\"text_offset\":[", offsets, "],\"token_logprobs\":[", logprobs, "],\"tokens\":[", tokens,
                  "],\"top_logprobs\":[", tops, "]}");
}

// vLLM's form: of each token of the prompt, ids to {logprob, rank, decoded_token}.
void OpenAiFormat::AppendPromptLogprobs(const OpenAiChoice& choice, std::string* out) const {
  *out += "\"prompt_logprobs\":[";
  bool first = true;
  if (choice.first_prompt_id.has_value()) {
    *out += "null";
    first = false;
  }
  for (const auto& [id, values] : choice.result.prompt_logprobs) {
    if (!first) *out += ',';
    first = false;
    *out += '{';
    const auto append = [&, this](int32_t top, float logprob, size_t rank) {
      absl::StrAppend(out, "\"", top, "\":{\"logprob\":");
      AppendLogprob(logprob, out);
      if (rank > 0) absl::StrAppend(out, ",\"rank\":", rank);
      *out += ",\"decoded_token\":";
      AppendTokenText(top, out);
      *out += '}';
    };
    bool listed = false;
    for (size_t i = 0; i < values.top.size(); ++i) {
      if (i > 0) *out += ',';
      append(values.top[i].id, values.top[i].logprob, i + 1);
      listed = listed || values.top[i].id == id;
    }
    if (!listed) {
      if (!values.top.empty()) *out += ',';
      append(id, values.logprob, 0);
    }
    *out += '}';
  }
  *out += ']';
}

void OpenAiFormat::AppendLogprobs(const TurnDelta& delta, size_t from, size_t count, OpenAiChoice* choice,
                                  std::string* out) const {
  *out += "\"logprobs\":";
  if (!logprobs_) {
    *out += "null";
  } else if (kind_ == OpenAiKind::kChat) {
    AppendChatLogprobs(delta, from, count, out);
  } else {
    AppendCompletionLogprobs(delta, from, count, choice, out);
  }
}

}  // namespace cascade
