#include "server/http/openai_request_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

constexpr int64_t kMostInt = std::numeric_limits<int32_t>::max();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int kMaxTopLogprobs = 20;
constexpr size_t kMaxTurnId = 64;

// What official clients send and what changes no reply.
constexpr const char* kHarmless[] = {"user",
                                     "metadata",
                                     "store",
                                     "service_tier",
                                     "parallel_tool_calls",
                                     "safety_identifier",
                                     "prompt_cache_key",
                                     "prompt_cache_retention"};
// Fields of OpenAI and vLLM that would change one, and that are not there.
constexpr const char* kUnsupported[] = {"tools",
                                        "functions",
                                        "audio",
                                        "prediction",
                                        "web_search_options",
                                        "reasoning_effort",
                                        "verbosity",
                                        "use_beam_search",
                                        "length_penalty",
                                        "truncate_prompt_tokens",
                                        "continue_final_message",
                                        "logits_processors",
                                        "guided_json",
                                        "guided_regex",
                                        "guided_choice",
                                        "guided_grammar",
                                        "structured_outputs",
                                        "documents",
                                        "chat_template",
                                        "chat_template_kwargs",
                                        "mm_processor_kwargs",
                                        "kv_transfer_params"};

void ReadLogitBias(JsonFields& fields, SamplingParams* sampling) {
  const Json* bias = fields.Find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) {
    return fields.Fail("logit_bias", absl::StrCat("must be an object of token ids, got ", JsonTypeName(*bias)));
  }
  for (const auto& [key, value] : bias->items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      return fields.Fail("logit_bias", "must have token ids as its keys");
    }
    if (!value.is_number()) {
      return fields.Fail("logit_bias", absl::StrCat("must have numbers as its values, got ", JsonTypeName(value)));
    }
    sampling->logit_bias.emplace_back(id, value.get<float>());
  }
  // "7" and "07" are one id.
  std::sort(sampling->logit_bias.begin(), sampling->logit_bias.end());
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (std::adjacent_find(sampling->logit_bias.begin(), sampling->logit_bias.end(), same) !=
      sampling->logit_bias.end()) {
    fields.Fail("logit_bias", "must name no token id twice");
  }
}

}  // namespace

std::optional<Durability> DurabilityNamed(const std::string& name) {
  if (name == "none") return Durability::kNone;
  if (name == "journal") return Durability::kJournal;
  if (name == "image") return Durability::kImage;
  return std::nullopt;
}

const char* DurabilityName(Durability durability) {
  switch (durability) {
    case Durability::kNone:
      return "none";
    case Durability::kJournal:
      return "journal";
    case Durability::kImage:
      return "image";
  }
  return "";
}

void ReadSampling(JsonFields& fields, SamplingParams* sampling) {
  const auto number = [&](const char* name, float* value) {
    if (const auto given = fields.Number(name); given.has_value()) *value = static_cast<float>(*given);
  };
  number("temperature", &sampling->temperature);
  number("top_p", &sampling->top_p);
  number("min_p", &sampling->min_p);
  number("repetition_penalty", &sampling->repetition_penalty);
  number("frequency_penalty", &sampling->frequency_penalty);
  number("presence_penalty", &sampling->presence_penalty);
  // vLLM's -1 is our 0: all.
  if (const auto top_k = fields.Int("top_k", -1, kMostInt); top_k.has_value()) {
    sampling->top_k = static_cast<int>(std::max<int64_t>(0, *top_k));
  }
  if (const auto seed = fields.Int("seed", std::numeric_limits<int64_t>::min(), kMost); seed.has_value()) {
    sampling->seed = static_cast<uint64_t>(*seed);
  }
  ReadLogitBias(fields, sampling);
  if (auto ids = fields.Ids("allowed_token_ids"); ids.has_value()) {
    if (ids->empty()) fields.Fail("allowed_token_ids", "must not be empty");
    sampling->allowed_token_ids = *std::move(ids);
  }
}

void ReadStop(JsonFields& fields, TurnRequest* turn) {
  if (const Json* stop = fields.Find("stop"); stop != nullptr) {
    if (stop->is_string()) {
      turn->stop.push_back(stop->get<std::string>());
    } else if (stop->is_array()) {
      for (const Json& text : *stop) {
        if (!text.is_string()) {
          return fields.Fail(absl::StrCat("stop[", turn->stop.size(), "]"),
                             absl::StrCat("must be a string, got ", JsonTypeName(text)));
        }
        turn->stop.push_back(text.get<std::string>());
      }
    } else {
      return fields.Fail("stop", absl::StrCat("must be a string or an array of strings, got ", JsonTypeName(*stop)));
    }
  }
  if (auto ids = fields.Ids("stop_token_ids"); ids.has_value()) turn->stop_token_ids = *std::move(ids);
  turn->ignore_eos = fields.Bool("ignore_eos").value_or(false);
  turn->include_stop = fields.Bool("include_stop_str_in_output").value_or(false);
  turn->min_tokens = fields.Int("min_tokens", 0, kMost).value_or(0);
}

void ReadMaxTokens(JsonFields& fields, OpenAiKind kind, TurnRequest* turn) {
  turn->max_tokens = fields.Int("max_tokens", 0, kMost);
  if (kind == OpenAiKind::kCompletion) {
    if (!turn->max_tokens.has_value()) turn->max_tokens = kDefaultCompletionTokens;
    return;
  }
  const auto newer = fields.Int("max_completion_tokens", 0, kMost);
  if (!newer.has_value()) return;
  if (turn->max_tokens.has_value() && *turn->max_tokens != *newer) {
    fields.Fail("max_tokens", "must not differ from max_completion_tokens");
  }
  turn->max_tokens = newer;
}

void ReadLogprobs(JsonFields& fields, OpenAiRequest* request, TurnRequest* turn) {
  if (request->kind == OpenAiKind::kChat) {
    request->logprobs = fields.Bool("logprobs").value_or(false);
    const auto top = fields.Int("top_logprobs", 0, kMaxTopLogprobs);
    if (top.value_or(0) > 0 && !request->logprobs) fields.Fail("top_logprobs", "must not be set without logprobs");
    if (request->logprobs) turn->logprobs = static_cast<int>(top.value_or(0));
  } else if (const auto top = fields.Int("logprobs", 0, kMaxTopLogprobs); top.has_value()) {
    request->logprobs = true;
    turn->logprobs = static_cast<int>(*top);
  }
  if (const auto top = fields.Int("prompt_logprobs", 0, kMaxTopLogprobs); top.has_value()) {
    request->prompt_logprobs = true;
    turn->prompt_logprobs = static_cast<int>(*top);
  }
  if (!request->echo_logprobs()) return;
  turn->prompt_logprobs = std::max(turn->prompt_logprobs.value_or(0), *turn->logprobs);
}

void ReadResponseFormat(JsonFields& fields, TurnRequest* turn) {
  const Json* format = fields.Find("response_format");
  if (format == nullptr) return;
  if (!format->is_object()) {
    return fields.Fail("response_format", absl::StrCat("must be an object, got ", JsonTypeName(*format)));
  }
  JsonFields inner(*format, "response_format.");
  const std::string type = inner.String("type").value_or("");
  const Json* schema = nullptr;
  if (type == "json_object") {
    turn->json_schema = R"({"type":"object"})";
  } else if (type == "json_schema") {
    schema = inner.Find("json_schema");
    if (schema == nullptr || !schema->is_object()) inner.Fail("json_schema", "must be an object");
  } else if (type != "text") {
    inner.Fail("type", "must be text, json_object or json_schema");
  }
  absl::Status status = inner.Finish();
  if (status.ok() && schema != nullptr) {
    JsonFields named(*schema, "response_format.json_schema.");
    named.String("name");
    named.String("description");
    named.Bool("strict");
    const Json* found = named.Find("schema");
    if (found == nullptr || !(found->is_object() || found->is_boolean())) named.Fail("schema", "must be a JSON schema");
    status = named.Finish();
    if (status.ok()) turn->json_schema = DumpJson(*found);
  }
  if (!status.ok()) fields.Fail("", std::string(status.message()));
}

void ReadSession(JsonFields& fields, const std::string& header, TurnRequest* turn) {
  turn->session_id = fields.String("session_id").value_or("");
  if (turn->session_id.empty()) {
    turn->session_id = header;
  } else if (!header.empty() && header != turn->session_id) {
    fields.Fail("session_id", "must be that of the header cascade-session-id, where both are given");
  }
  turn->expected_position = fields.Int("expected_position", 0, kMost);
  const auto turn_id = fields.String("turn_id");
  turn->turn_id = turn_id.value_or("");
  const bool printable =
      std::all_of(turn->turn_id.begin(), turn->turn_id.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
  if (!printable || turn->turn_id.size() > kMaxTurnId) {
    fields.Fail("turn_id", absl::StrCat("must be at most ", kMaxTurnId, " printable ASCII characters"));
  }
  const auto on_cancel = fields.String("on_cancel");
  if (on_cancel == "rollback") {
    turn->on_cancel = OnCancel::kRollback;
  } else if (on_cancel == "continue") {
    turn->on_cancel = OnCancel::kContinue;
  } else if (on_cancel.has_value() && on_cancel != "keep") {
    fields.Fail("on_cancel", "must be keep, rollback or continue");
  }
  const auto durability = fields.String("durability");
  if (durability.has_value()) {
    turn->durability = DurabilityNamed(*durability);
    if (!turn->durability.has_value()) fields.Fail("durability", "must be none, journal or image");
  }
  const std::pair<const char*, bool> given[] = {{"expected_position", turn->expected_position.has_value()},
                                                {"turn_id", turn_id.has_value()},
                                                {"on_cancel", on_cancel.has_value()},
                                                {"durability", durability.has_value()}};
  for (const auto& [field, is_given] : given) {
    if (is_given && turn->session_id.empty()) fields.Fail(field, "must not be set without session_id");
  }
}

void ReadStreaming(JsonFields& fields, OpenAiRequest* request) {
  request->stream = fields.Bool("stream").value_or(false);
  const Json* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) {
    return fields.Fail("stream_options", absl::StrCat("must be an object, got ", JsonTypeName(*options)));
  }
  if (!request->stream) return fields.Fail("stream_options", "must not be set without stream");
  JsonFields inner(*options, "stream_options.");
  request->include_usage = inner.Bool("include_usage").value_or(false);
  inner.Ignore("include_obfuscation");  // padding against listeners on the wire; there is none
  inner.Unsupported("continuous_usage_stats");
  if (absl::Status status = inner.Finish(); !status.ok()) fields.Fail("", std::string(status.message()));
}

void ReadUnsupported(JsonFields& fields, OpenAiKind kind) {
  for (const char* name : kHarmless) fields.Ignore(name);
  for (const char* name : kUnsupported) fields.Unsupported(name);
  fields.Unsupported("tool_choice", "none");
  fields.Unsupported("function_call", "none");
  fields.Unsupported("modalities", Json::array({"text"}));
  fields.Unsupported("suffix", "");
  // vLLM's, where they ask for what is done anyway.
  for (const char* name : {"skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens"}) {
    if (!fields.Bool(name).value_or(true)) fields.Fail(name, "is not supported but as true");
  }
  if (kind == OpenAiKind::kChat) {
    if (!fields.Bool("add_generation_prompt").value_or(true)) {
      fields.Fail("add_generation_prompt", "is not supported but as true");
    }
    if (fields.Bool("echo").value_or(false)) fields.Fail("echo", "must not be set with messages");
  } else if (const auto best_of = fields.Int("best_of", 1, kMostInt); best_of.value_or(1) > 1) {
    fields.Fail("best_of", "is not supported but as 1");
  }
}

}  // namespace cascade
