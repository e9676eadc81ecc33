// Chat messages to token ids. Roles and marks are written by the template; message contents never become control
// tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace cascade {

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

// Rendered text as pieces, so that contents can be tokenised as plain text and marks as control tokens.
struct TemplatePiece {
  std::string text;
  bool is_mark = false;  // written by the template
};

// How a session's last reply ended, as the template needs to know to go on after it.
enum class ReplyEnd : uint8_t {
  kNone,      // no reply yet
  kEndToken,  // the model's own end token is the session's last token
  kCut,       // max_tokens, a stop string, a cancel: the end mark was not written
};

// Immutable; any thread may call.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual std::string_view name() const = 0;
  // The whole conversation. INVALID_ARGUMENT names the message (`messages[2].role`) that does not fit.
  virtual absl::StatusOr<std::vector<TemplatePiece>> Render(const std::vector<ChatMessage>& messages,
                                                            bool add_generation_prompt) const = 0;
  // What a later turn of a session adds: what closes the last reply, then `messages`, then the generation prompt. The
  // session's ids after any number of turns equal those of Render of the whole conversation.
  virtual absl::StatusOr<std::vector<TemplatePiece>> RenderTurn(ReplyEnd last,
                                                                const std::vector<ChatMessage>& messages) const = 0;
};

// From the model's Jinja text, or a built-in name ("chatml"). UNIMPLEMENTED for a template that is not ChatML.
absl::StatusOr<std::unique_ptr<ChatTemplate>> CreateChatTemplate(std::string_view jinja_or_name);

// Marks with control tokens, contents without.
absl::StatusOr<std::vector<int32_t>> EncodePieces(const Tokenizer& tokenizer, const std::vector<TemplatePiece>& pieces);
// The plain concatenation.
std::string JoinPieces(const std::vector<TemplatePiece>& pieces);

}  // namespace cascade
