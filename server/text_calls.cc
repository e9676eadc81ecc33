#include "server/text_calls.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/prompt_encoder.h"
#include "server/convert.h"

namespace cascade {
namespace {

absl::Status CheckBytes(const char* field, int64_t bytes, int64_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be at most max_prompt_bytes = ", limit, " bytes of text, got ", bytes));
}

void SetIds(const std::vector<int32_t>& ids, google::protobuf::RepeatedField<int32_t>* wire) {
  wire->Add(ids.begin(), ids.end());
}

}  // namespace

absl::Status RunTokenize(const ServiceContext& context, const v1::TokenizeRequest& request,
                         v1::TokenizeResponse* response) {
  const absl::Status status =
      CheckBytes("text", static_cast<int64_t>(request.text().size()), context.engine.options().max_prompt_bytes);
  if (!status.ok()) return status;
  const absl::StatusOr<std::vector<int32_t>> ids = context.tokenizer.Encode(request.text(), request.parse_special());
  if (!ids.ok()) return ids.status();
  SetIds(*ids, response->mutable_token_ids());
  return absl::OkStatus();
}

absl::Status RunDetokenize(const ServiceContext& context, const v1::DetokenizeRequest& request,
                           v1::DetokenizeResponse* response) {
  int64_t bytes = 0;
  for (int i = 0; i < request.token_ids_size(); ++i) {
    const int32_t id = request.token_ids(i);
    if (id < 0 || id >= context.tokenizer.vocabulary_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_ids[", i, "] must be in [0, ", context.tokenizer.vocabulary_size(), ")"));
    }
    bytes += static_cast<int64_t>(context.tokenizer.TokenBytes(id).size());
  }
  const absl::Status status = CheckBytes("token_ids", bytes, context.engine.options().max_prompt_bytes);
  if (!status.ok()) return status;
  response->set_text(DecodeText(context.tokenizer, {request.token_ids().begin(), request.token_ids().end()}));
  return absl::OkStatus();
}

absl::Status RunApplyChatTemplate(const ServiceContext& context, v1::ApplyChatTemplateRequest& request,
                                  v1::ApplyChatTemplateResponse* response) {
  if (context.chat_template == nullptr) return absl::FailedPreconditionError("the server has no chat template");
  int64_t bytes = 0;
  for (const v1::Message& message : request.messages()) {
    bytes += static_cast<int64_t>(message.role().size() + message.content().size());
  }
  const absl::Status status = CheckBytes("messages", bytes, context.engine.options().max_prompt_bytes);
  if (!status.ok()) return status;
  const bool add_generation_prompt = !request.has_add_generation_prompt() || request.add_generation_prompt();
  const absl::StatusOr<std::vector<TemplatePiece>> pieces =
      context.chat_template->Render(ToChatMessages(request.mutable_messages()), add_generation_prompt);
  if (!pieces.ok()) return pieces.status();
  absl::StatusOr<std::vector<int32_t>> ids = EncodePieces(context.tokenizer, *pieces);
  if (!ids.ok()) return ids.status();
  AddStart(context.tokenizer, &*ids);
  response->set_text(JoinPieces(*pieces));
  SetIds(*ids, response->mutable_token_ids());
  return absl::OkStatus();
}

}  // namespace cascade
