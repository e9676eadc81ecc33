#include "engine/prompt_encoder.h"

#include <algorithm>
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

TextStart StartAt(const PromptPlace& place, const Tokenizer& tokenizer) {
  if (place.position == 0) return TextStart::kText;
  return place.last_id >= 0 && tokenizer.IsControl(place.last_id) ? TextStart::kAfterControl : TextStart::kInside;
}

absl::StatusOr<std::vector<TemplatePiece>> RenderMessages(const TurnRequest& request, const PromptPlace& place,
                                                          const ChatTemplate& chat_template) {
  const auto& messages = std::get<std::vector<ChatMessage>>(request.prompt);
  const bool asks = AsksForReply(request);
  if (place.position > 0) return chat_template.RenderTurn(place.last_reply, place.last_id, messages, asks);
  if (!request.session_id.empty()) {
    if (absl::Status status = chat_template.CheckFirstTurn(messages); !status.ok()) return status;
  }
  return chat_template.Render(messages, asks);
}

bool IsEmpty(const Prompt& prompt) {
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) return text->text.empty();
  if (const auto* ids = std::get_if<Ids>(&prompt)) return ids->empty();
  return std::get<std::vector<ChatMessage>>(prompt).empty();
}

absl::StatusOr<Ids> EncodeNonEmpty(const TurnRequest& request, const PromptPlace& place, const Tokenizer& tokenizer,
                                   const ChatTemplate* chat_template) {
  if (const auto* ids = std::get_if<Ids>(&request.prompt)) return *ids;
  const TextStart start = StartAt(place, tokenizer);
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    auto ids = tokenizer.EncodeAt(start, text->text, text->parse_special);
    if (!ids.ok()) return Named("prompt.text: ", ids.status());
    if (place.position == 0) AddStart(tokenizer, &*ids);
    return ids;
  }
  CASCADE_CHECK(chat_template != nullptr);  // ValidateTurn
  const auto pieces = RenderMessages(request, place, *chat_template);
  if (!pieces.ok()) return Named("prompt.", pieces.status());
  auto ids = EncodePieces(tokenizer, *pieces, start);
  if (!ids.ok()) return Named("prompt.messages: ", ids.status());
  if (place.position == 0) AddStart(tokenizer, &*ids);
  return ids;
}

}  // namespace

void AddStart(const Tokenizer& tokenizer, Ids* ids) {
  const Ids& start = tokenizer.start_ids();
  if (ids->size() >= start.size() && std::equal(start.begin(), start.end(), ids->begin())) return;
  ids->insert(ids->begin(), start.begin(), start.end());
}

bool AsksForReply(const TurnRequest& request) {
  const auto* messages = std::get_if<std::vector<ChatMessage>>(&request.prompt);
  if (messages == nullptr || messages->empty()) return false;
  return request.max_tokens != 0 || messages->back().role != "assistant";
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const TurnRequest& request, const PromptPlace& place,
                                                  const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  Ids ids;
  if (!IsEmpty(request.prompt)) {
    absl::StatusOr<Ids> encoded = EncodeNonEmpty(request, place, tokenizer, chat_template);
    if (!encoded.ok()) return encoded.status();
    ids = *std::move(encoded);
  }
  if (place.position == 0 && ids.empty()) {
    return absl::InvalidArgumentError("prompt must not be empty: only a session that has tokens goes on without one");
  }
  if (request.kind == TurnKind::kScore && ids.size() < (place.position == 0 ? 2 : 1)) {
    return absl::InvalidArgumentError(
        "prompt must have at least two tokens to score, or one on a session that has tokens");
  }
  return ids;
}

}  // namespace cascade
