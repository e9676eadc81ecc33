#include "engine/prompt_encoder.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

using Ids = std::vector<int32_t>;

// The same error, its field first.
absl::Status Named(const char* field, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(field, status.message()));
}

absl::StatusOr<Ids> EncodeMessages(const std::vector<ChatMessage>& messages, int64_t position, ReplyEnd last_reply,
                                   const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  const auto pieces = position == 0 ? chat_template.Render(messages, /*add_generation_prompt=*/true)
                                    : chat_template.RenderTurn(last_reply, messages);
  if (!pieces.ok()) return Named("prompt.", pieces.status());
  auto ids = EncodePieces(tokenizer, *pieces);
  if (!ids.ok()) return Named("prompt.messages: ", ids.status());
  return ids;
}

bool IsEmpty(const Prompt& prompt) {
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) return text->text.empty();
  if (const auto* ids = std::get_if<Ids>(&prompt)) return ids->empty();
  return std::get<std::vector<ChatMessage>>(prompt).empty();
}

absl::StatusOr<Ids> EncodeNonEmpty(const TurnRequest& request, int64_t position, ReplyEnd last_reply,
                                   const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  if (const auto* ids = std::get_if<Ids>(&request.prompt)) return *ids;
  absl::StatusOr<Ids> ids;
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    ids = tokenizer.Encode(text->text, text->parse_special);
    if (!ids.ok()) return Named("prompt.text: ", ids.status());
  } else {
    CASCADE_CHECK(chat_template != nullptr);  // ValidateTurn
    ids = EncodeMessages(std::get<std::vector<ChatMessage>>(request.prompt), position, last_reply, tokenizer,
                         *chat_template);
    if (!ids.ok()) return ids.status();
  }
  if (position == 0) ids->insert(ids->begin(), tokenizer.start_ids().begin(), tokenizer.start_ids().end());
  return ids;
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const TurnRequest& request, int64_t position, ReplyEnd last_reply,
                                                  const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  Ids ids;
  if (!IsEmpty(request.prompt)) {
    absl::StatusOr<Ids> encoded = EncodeNonEmpty(request, position, last_reply, tokenizer, chat_template);
    if (!encoded.ok()) return encoded.status();
    ids = *std::move(encoded);
  }
  if (position == 0 && ids.empty()) {
    return absl::InvalidArgumentError("prompt must not be empty: only a session that has tokens goes on without one");
  }
  if (request.kind == TurnKind::kScore && ids.size() < (position == 0 ? 2 : 1)) {
    return absl::InvalidArgumentError(
        "prompt must have at least two tokens to score, or one on a session that has tokens");
  }
  return ids;
}

}  // namespace cascade
