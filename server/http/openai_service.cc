#include "server/http/openai_service.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/prompt_encoder.h"
#include "server/http/json_fields.h"
#include "server/http/openai_call.h"
#include "server/http/openai_error.h"

namespace cascade {
namespace {

Json ModelJson(const ServedModel& model) {
  return {{"id", model.name},      {"object", "model"},  {"created", model.created_seconds},
          {"owned_by", "cascade"}, {"root", model.name}, {"max_model_len", model.max_positions}};
}

absl::Status CheckModel(JsonFields& fields, const ServedModel& model) {
  const auto name = fields.String("model");
  return name.has_value() && *name != model.name ? ModelNotFound() : absl::OkStatus();
}

absl::Status CheckBytes(const char* field, size_t bytes, int64_t limit) {
  if (static_cast<int64_t>(bytes) <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be at most max_prompt_bytes = ", limit, " bytes of text, got ", bytes));
}

absl::StatusOr<std::vector<int32_t>> EncodeMessages(const HttpContext& context, const Json& messages,
                                                    bool add_generation_prompt) {
  if (context.chat_template == nullptr) {
    return absl::InvalidArgumentError("messages must not be set: the server has no chat template");
  }
  const absl::StatusOr<std::vector<ChatMessage>> parsed = ParseMessages(messages);
  if (!parsed.ok()) return parsed.status();
  size_t bytes = 0;
  for (const ChatMessage& message : *parsed) bytes += message.role.size() + message.content.size();
  if (absl::Status status = CheckBytes("messages", bytes, context.engine.options().max_prompt_bytes); !status.ok()) {
    return status;
  }
  const auto pieces = context.chat_template->Render(*parsed, add_generation_prompt);
  if (!pieces.ok()) return pieces.status();
  absl::StatusOr<std::vector<int32_t>> ids = EncodePieces(context.tokenizer, *pieces);
  if (ids.ok()) AddStart(context.tokenizer, &*ids);
  return ids;
}

absl::StatusOr<Json> Tokenize(const HttpContext& context, HttpRequest& request) {
  const absl::StatusOr<Json> body = ParseJsonObject(request.body);
  if (!body.ok()) return body.status();
  JsonFields fields(*body);
  if (absl::Status status = CheckModel(fields, context.model); !status.ok()) return status;
  const auto prompt = fields.String("prompt");
  const Json* messages = fields.Find("messages");
  const bool strings = fields.Bool("return_token_strs").value_or(false);
  const auto add_special_tokens = fields.Bool("add_special_tokens");
  const auto add_generation_prompt = fields.Bool("add_generation_prompt");
  const auto parse_special = fields.Bool("parse_special");
  if (prompt.has_value() == (messages != nullptr)) fields.Fail("prompt", "must be given, or messages, and not both");
  if (messages != nullptr && (parse_special.has_value() || add_special_tokens.value_or(false))) {
    fields.Fail(parse_special.has_value() ? "parse_special" : "add_special_tokens", "must not be set with messages");
  }
  if (messages == nullptr && add_generation_prompt.has_value()) {
    fields.Fail("add_generation_prompt", "must not be set without messages");
  }
  if (absl::Status status = fields.Finish(); !status.ok()) return status;
  absl::StatusOr<std::vector<int32_t>> ids;
  if (messages != nullptr) {
    ids = EncodeMessages(context, *messages, add_generation_prompt.value_or(true));
  } else {
    const absl::Status status = CheckBytes("prompt", prompt->size(), context.engine.options().max_prompt_bytes);
    if (!status.ok()) return status;
    ids = context.tokenizer.Encode(*prompt, parse_special.value_or(true));
    if (ids.ok() && add_special_tokens.value_or(true)) AddStart(context.tokenizer, &*ids);
  }
  if (!ids.ok()) return ids.status();
  Json result = {{"count", ids->size()}, {"max_model_len", context.model.max_positions}, {"tokens", *ids}};
  if (strings) {
    Json texts = Json::array();
    for (const int32_t id : *ids) texts.push_back(std::string(context.tokenizer.TokenText(id)));
    result["token_strs"] = std::move(texts);
  }
  return result;
}

absl::StatusOr<Json> Detokenize(const HttpContext& context, HttpRequest& request) {
  const absl::StatusOr<Json> body = ParseJsonObject(request.body);
  if (!body.ok()) return body.status();
  JsonFields fields(*body);
  if (absl::Status status = CheckModel(fields, context.model); !status.ok()) return status;
  const auto ids = fields.Ids("tokens");
  if (!ids.has_value()) fields.Fail("tokens", "must be an array of token ids");
  if (absl::Status status = fields.Finish(); !status.ok()) return status;
  size_t bytes = 0;
  for (size_t i = 0; i < ids->size(); ++i) {
    if ((*ids)[i] >= context.tokenizer.vocabulary_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokens[", i, "] must be in [0, ", context.tokenizer.vocabulary_size(), ")"));
    }
    bytes += context.tokenizer.TokenBytes((*ids)[i]).size();
  }
  if (absl::Status status = CheckBytes("tokens", bytes, context.engine.options().max_prompt_bytes); !status.ok()) {
    return status;
  }
  return Json{{"prompt", DecodeText(context.tokenizer, *ids)}};
}

}  // namespace

void AnswerFrom(WorkerPool& pool, std::shared_ptr<HttpExchange> exchange,
                std::function<absl::StatusOr<Json>(HttpRequest&)> work) {
  const absl::Status posted = pool.Post([exchange, work = std::move(work)] {
    const absl::StatusOr<Json> result = work(exchange->request());
    if (!result.ok()) return exchange->Send(ErrorResponse(result.status()));
    HttpResponse response;
    response.body = DumpJson(*result);
    exchange->Send(std::move(response));
  });
  if (!posted.ok()) exchange->Send(ErrorResponse(posted));
}

void AddOpenAiRoutes(const HttpContext& context, Router& router) {
  const auto generate = [&context](OpenAiKind kind) {
    return [&context, kind](std::shared_ptr<HttpExchange> exchange, const std::string&) {
      OpenAiCall::Start(context, kind, std::move(exchange));
    };
  };
  router.Add("POST", "/v1/chat/completions", generate(OpenAiKind::kChat));
  router.Add("POST", "/v1/completions", generate(OpenAiKind::kCompletion));
  const auto text = [&context](absl::StatusOr<Json> (*work)(const HttpContext&, HttpRequest&)) {
    return [&context, work](std::shared_ptr<HttpExchange> exchange, const std::string&) {
      WorkerPool& pool = exchange->request().body.size() <= kQuickBodyBytes ? context.quick : context.workers;
      AnswerFrom(pool, std::move(exchange), [&context, work](HttpRequest& request) { return work(context, request); });
    };
  };
  router.Add("POST", "/tokenize", text(Tokenize));
  router.Add("POST", "/detokenize", text(Detokenize));
  router.Add("GET", "/v1/models", [&context](const std::shared_ptr<HttpExchange>& exchange, const std::string&) {
    HttpResponse response;
    response.body = DumpJson({{"object", "list"}, {"data", Json::array({ModelJson(context.model)})}});
    exchange->Send(std::move(response));
  });
  router.Add("GET", "/v1/models/{id..}",
             [&context](const std::shared_ptr<HttpExchange>& exchange, const std::string& id) {
               if (id != context.model.name) return exchange->Send(ErrorResponse(ModelNotFound()));
               HttpResponse response;
               response.body = DumpJson(ModelJson(context.model));
               exchange->Send(std::move(response));
             });
}

}  // namespace cascade
