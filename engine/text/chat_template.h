// Chat messages to token ids, as the model's own chat template writes them. What a template writes may become control
// tokens; what a client writes never does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/text/tokenizer.h"

namespace cascade {

struct ChatMessage {
  std::string role;  // system, user, assistant, tool, ..: the template says which; 1 to 64 bytes, printable
  std::string content;
};

// Rendered text, cut at its control tokens. Between two of them all text is one run, whoever wrote it: "user\n" and a
// content that begins with a newline have the ids of the whole text.
struct TemplatePiece {
  std::string text;
  int32_t control = -1;  // the control token that the text is; -1: plain text
};

// How a session's last reply ended, as the template needs to know to go on after it.
enum class ReplyEnd : uint8_t {
  kNone,      // no reply is the session's end
  kEndToken,  // an id that ends replies is the session's last token; not always the one that the template writes
  kCut,       // max_tokens, a stop string, a cancel: no end was written
};

// Immutable; any thread may call. Time and memory of a rendering are bounded (jinja::Limits).
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // The whole conversation. INVALID_ARGUMENT names the message (`messages[2].role ..`) that does not fit, or repeats
  // what the template itself says of the conversation (`messages: ..`); also for what is too much for it, as more
  // than 65,536 messages.
  virtual absl::StatusOr<std::vector<TemplatePiece>> Render(const std::vector<ChatMessage>& messages,
                                                            bool add_generation_prompt) const = 0;

  // What a later turn of a session adds: what closes the last reply, then `messages`, then the generation prompt, so
  // that the session's ids after any number of turns equal those of Render of the whole conversation (as far as the
  // model writes what the template writes: some put a space between a reply and its end). `last_id` is the
  // session's last token. FAILED_PRECONDITION: the template does not allow it.
  virtual absl::StatusOr<std::vector<TemplatePiece>> RenderTurn(ReplyEnd last, int32_t last_id,
                                                                const std::vector<ChatMessage>& messages,
                                                                bool add_generation_prompt) const = 0;

  // OK, or why the later turns of a session are refused (FAILED_PRECONDITION): the template writes earlier turns in
  // another way once there are new ones.
  virtual const absl::Status& sessions() const = 0;
  // Whether a session may begin with `messages`: not with a system message that the template would move to a later turn
  // (FAILED_PRECONDITION). One-shot requests may.
  virtual absl::Status CheckFirstTurn(const std::vector<ChatMessage>& messages) const = 0;
};

// From a template's Jinja text, or the name of a built-in one (builtin_templates.h). `tokenizer` is read here only;
// `clock` outlives the template. Fails for all that would fail always: UNIMPLEMENTED or INVALID_ARGUMENT with the
// construct, its line and its column; INVALID_ARGUMENT for a template that cannot render a user's message.
absl::StatusOr<std::unique_ptr<ChatTemplate>> CreateChatTemplate(std::string_view jinja_or_name,
                                                                 const Tokenizer& tokenizer, const Clock& clock);

// `start`: where the first piece stands.
absl::StatusOr<std::vector<int32_t>> EncodePieces(const Tokenizer& tokenizer, const std::vector<TemplatePiece>& pieces,
                                                  TextStart start = TextStart::kText);
// The plain concatenation.
std::string JoinPieces(const std::vector<TemplatePiece>& pieces);

}  // namespace cascade
