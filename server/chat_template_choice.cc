#include "server/chat_template_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/text/builtin_templates.h"
#include "engine/text/utf8.h"
#include "server/exit_code.h"

namespace cascade {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

std::string Text(const absl::Status& status) { return {status.message().data(), status.message().size()}; }

absl::Status Bad(const std::string& message) {
  return ExitError(ExitCode::kConfig, absl::StrCat("--chat-template: ", message));
}

absl::StatusOr<std::string> ReadTemplateFile(const std::string& path) {
  const auto file = FileSystem::Real().Map(path);
  if (!file.ok()) {
    return Bad(absl::StrCat(QuoteForError(path), " is neither a built-in name (", BuiltinTemplateNames(),
                            "), nor none, nor a file that can be read: ", Text(file.status())));
  }
  const auto bytes = (*file)->bytes();
  if (bytes.size() > kMaxFileBytes) {
    return Bad(absl::StrCat(path, ": has ", bytes.size(), " bytes, a template at most ", kMaxFileBytes));
  }
  std::string text(bytes.begin(), bytes.end());
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return Bad(absl::StrCat(path, ": is not UTF-8 at byte ", bad));
  }
  return text;
}

// A template of another family works, as text that this model does not know.
bool WritesControlTokens(const ChatTemplate& chat_template) {
  const auto pieces = chat_template.Render({{"user", "a"}, {"assistant", "b"}, {"user", "c"}}, true);
  return !pieces.ok() ||
         std::any_of(pieces->begin(), pieces->end(), [](const TemplatePiece& piece) { return piece.control >= 0; });
}

void Log(const std::string& origin, const ChatTemplate& chat_template) {
  spdlog::info("chat template: {}{}", origin, chat_template.sessions().ok() ? "" : ", for one-shot requests only");
  if (!chat_template.sessions().ok()) spdlog::warn("{}", Text(chat_template.sessions()));
  if (!WritesControlTokens(chat_template)) {
    spdlog::warn("chat template: it writes no control token of this model; is it of another family?");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> OpenChatTemplate(const std::string& choice, std::string_view own,
                                                               const Tokenizer& tokenizer, const Clock& clock) {
  if (choice == "none" || (choice.empty() && own.empty())) {
    spdlog::info("chat template: {}; prompts of messages are refused",
                 choice.empty() ? "the model has none (--chat-template gives one)" : "none");
    return nullptr;
  }
  if (choice.empty()) {
    auto chat_template = CreateChatTemplate(own, tokenizer, clock);
    if (!chat_template.ok()) {
      return ExitError(
          ExitCode::kConfig,
          absl::StrCat("the model's chat template cannot be used: ", Text(chat_template.status()),
                       "; give --chat-template: a file, a built-in name (", BuiltinTemplateNames(), "), or none"));
    }
    Log("the model's own", **chat_template);
    return chat_template;
  }
  const bool builtin = !BuiltinTemplate(choice).empty();
  std::string source = choice;
  if (!builtin) {
    absl::StatusOr<std::string> text = ReadTemplateFile(choice);
    if (!text.ok()) return text.status();
    source = *std::move(text);
  }
  auto chat_template = CreateChatTemplate(source, tokenizer, clock);
  if (!chat_template.ok()) return Bad(absl::StrCat(choice, ": ", Text(chat_template.status())));
  Log(absl::StrCat(builtin ? "built-in " : "file ", choice), **chat_template);
  return chat_template;
}

}  // namespace cascade
