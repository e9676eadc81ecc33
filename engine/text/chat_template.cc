#include "engine/text/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/chatml_jinja.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

constexpr char kBegin[] = "<|im_start|>";
constexpr char kEnd[] = "<|im_end|>";

// <|im_start|>role\ncontent<|im_end|>\n for each message, in any order of the roles, as published ChatML has it.
class ChatMl : public ChatTemplate {
 public:
  explicit ChatMl(ChatMlForm form) : form_(std::move(form)) {}

  std::string_view name() const override { return "chatml"; }

  absl::StatusOr<std::vector<TemplatePiece>> Render(const std::vector<ChatMessage>& messages,
                                                    bool add_generation_prompt) const override {
    if (absl::Status status = Check(messages); !status.ok()) return status;
    std::vector<TemplatePiece> pieces;
    if (form_.has_default_system && messages[0].role != "system") Add("system", form_.default_system, &pieces);
    for (const ChatMessage& message : messages) Add(message.role, message.content, &pieces);
    if (add_generation_prompt) AddGenerationPrompt(&pieces);
    return pieces;
  }

  absl::StatusOr<std::vector<TemplatePiece>> RenderTurn(ReplyEnd last,
                                                        const std::vector<ChatMessage>& messages) const override {
    if (absl::Status status = Check(messages); !status.ok()) return status;
    std::vector<TemplatePiece> pieces;
    if (last == ReplyEnd::kCut) pieces.push_back({kEnd, true});
    if (last != ReplyEnd::kNone) pieces.push_back({"\n", true});
    for (const ChatMessage& message : messages) Add(message.role, message.content, &pieces);
    AddGenerationPrompt(&pieces);
    return pieces;
  }

 private:
  static absl::Status Check(const std::vector<ChatMessage>& messages) {
    if (messages.empty()) return absl::InvalidArgumentError("messages: must not be empty");
    for (size_t i = 0; i < messages.size(); ++i) {
      const ChatMessage& message = messages[i];
      if (message.role != "system" && message.role != "user" && message.role != "assistant") {
        // What was found is the client's text, perhaps a content in the wrong field: it is not repeated.
        return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].role must be system, user or assistant"));
      }
      if (const size_t bad = FindInvalidUtf8(message.content); bad != std::string_view::npos) {
        return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].content: invalid UTF-8 at byte ", bad));
      }
    }
    return absl::OkStatus();
  }

  static void Add(const std::string& role, const std::string& content, std::vector<TemplatePiece>* pieces) {
    pieces->push_back({kBegin, true});
    pieces->push_back({role + "\n", true});
    pieces->push_back({content, false});
    pieces->push_back({kEnd, true});
    pieces->push_back({"\n", true});
  }

  static void AddGenerationPrompt(std::vector<TemplatePiece>* pieces) {
    pieces->push_back({kBegin, true});
    pieces->push_back({"assistant\n", true});
  }

  const ChatMlForm form_;
};

// The longest control token that `text` has at `pos`, by trying: marks are a few dozen bytes, written by a template.
std::pair<int32_t, size_t> MatchControl(const Tokenizer& tokenizer, std::string_view text, size_t pos) {
  constexpr size_t kLongestControl = 64;
  for (size_t length = std::min(kLongestControl, text.size() - pos); length > 0; --length) {
    const int32_t id = tokenizer.FindControl(text.substr(pos, length));
    if (id >= 0) return {id, length};
  }
  return {-1, 0};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> CreateChatTemplate(std::string_view jinja_or_name) {
  ChatMlForm form;
  if (jinja_or_name != "chatml") {
    if (jinja_or_name.empty()) return absl::UnimplementedError("chat template: the model has none");
    if (jinja_or_name.find('{') == std::string_view::npos) {
      return absl::UnimplementedError(
          absl::StrCat("chat template: ", QuoteForError(jinja_or_name), " is not known; supported: chatml"));
    }
    absl::StatusOr<ChatMlForm> recognized = RecognizeChatMl(jinja_or_name);
    if (!recognized.ok()) return recognized.status();
    form = *std::move(recognized);
  }
  return std::unique_ptr<ChatTemplate>(new ChatMl(std::move(form)));
}

absl::StatusOr<std::vector<int32_t>> EncodePieces(const Tokenizer& tokenizer,
                                                  const std::vector<TemplatePiece>& pieces) {
  std::vector<int32_t> ids;
  // Between two control tokens all text is one run, whoever wrote it: "user\n" and a content that begins with a newline
  // have the ids of the whole text.
  std::string run;
  const auto flush = [&]() -> absl::Status {
    absl::StatusOr<std::vector<int32_t>> encoded = tokenizer.Encode(run, /*parse_special=*/false);
    if (!encoded.ok()) return encoded.status();
    ids.insert(ids.end(), encoded->begin(), encoded->end());
    run.clear();
    return absl::OkStatus();
  };
  for (const TemplatePiece& piece : pieces) {
    if (!piece.is_mark) {
      run += piece.text;
      continue;
    }
    for (size_t pos = 0; pos < piece.text.size();) {
      const auto [id, length] = MatchControl(tokenizer, piece.text, pos);
      if (id < 0) {
        run.push_back(piece.text[pos++]);
        continue;
      }
      if (absl::Status status = flush(); !status.ok()) return status;
      ids.push_back(id);
      pos += length;
    }
  }
  if (absl::Status status = flush(); !status.ok()) return status;
  return ids;
}

std::string JoinPieces(const std::vector<TemplatePiece>& pieces) {
  std::string text;
  for (const TemplatePiece& piece : pieces) text += piece.text;
  return text;
}

}  // namespace cascade
