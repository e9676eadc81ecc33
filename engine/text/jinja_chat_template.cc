// DESIGN. A session keeps no messages, so a later turn is rendered after a dummy exchange D (a user's message and a
// reply): render(D + new messages) begins with what render(D) writes up to the end of D's reply, and the rest is what
// the turn adds, the end of the last reply first. That this holds is tried when the template is opened, with a few
// conversations that tell apart the templates of which it is known that it does not; each turn compares the beginning
// again. All renderings that are compared are of one moment: templates may write the date.
#include "engine/text/jinja_chat_template.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/jinja_template.h"
#include "engine/text/piece_cutter.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

constexpr size_t kMaxRoleBytes = 64;
constexpr size_t kMaxMessages = 65536;  // each costs a template's run memory, an empty one too
constexpr std::string_view kSpace = " \t\r\n";

// Contents that stand for any: no template looks for them, trims or splits them.
constexpr char kSystem[] = "Qz1system";
constexpr char kUser[] = "Qz2user";
constexpr char kReply[] = "Qz3reply";
constexpr char kNextUser[] = "Qz4user";
constexpr char kNextReply[] = "Qz5reply";
// As models that reason write it; some templates leave it out of earlier replies.
constexpr char kReasoningReply[] = "<think>\nQz6thought\n</think>\n\nQz7reply";

// A template's own words are a stranger's: one line of valid text, whatever they are.
absl::Status OneLine(absl::StatusCode code, const char* field, const absl::Status& status) {
  std::string text = field;
  AppendValidUtf8(std::string_view(status.message().data(), status.message().size()), &text);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return absl::Status(code, text);
}

// What templates know: such a word may become a part of a control token ('<|' + message['role'] + '|>').
bool IsKnownRole(std::string_view role) {
  constexpr std::array<std::string_view, 9> kRoles = {"system",   "user",    "assistant", "tool", "developer",
                                                      "function", "ipython", "model",     "human"};
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
}

bool IsRole(std::string_view role) {
  if (role.empty() || role.size() > kMaxRoleBytes || FindInvalidUtf8(role) != std::string_view::npos) return false;
  for (size_t pos = 0; pos < role.size();) {
    const char32_t c = NextCodePoint(role, &pos);
    if (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029) return false;
  }
  return true;
}

absl::Status Check(const std::vector<ChatMessage>& messages) {
  if (messages.empty()) return absl::InvalidArgumentError("messages: must not be empty");
  if (messages.size() > kMaxMessages) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages: must be at most ", kMaxMessages, ", got ", messages.size()));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    // What was found is the client's text, perhaps a content in the wrong field: it is not repeated.
    if (!IsRole(messages[i].role)) {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "].role must be 1 to ", kMaxRoleBytes, " bytes of printable text"));
    }
    if (const size_t bad = FindInvalidUtf8(messages[i].content); bad != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].content: invalid UTF-8 at byte ", bad));
    }
  }
  return absl::OkStatus();
}

// The end of `content` in `text`, where a message's content is; npos if it is not there as it is.
size_t EndOfContent(const jinja::Text& text, std::string_view content) {
  const std::string_view bytes = text.bytes();
  for (size_t pos = bytes.find(content); pos != std::string_view::npos; pos = bytes.find(content, pos + 1)) {
    if (text.IsContent(pos)) return pos + content.size();
  }
  return std::string_view::npos;
}

// Where the first byte of a client's stands at or after `begin`; the text's end if there is none.
size_t FirstContent(const jinja::Text& text, size_t begin) {
  while (begin < text.size() && !text.IsContent(begin)) begin = text.RunEnd(begin);
  return begin;
}

bool IsSpace(std::string_view text) { return text.find_first_not_of(kSpace) == std::string_view::npos; }

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(std::unique_ptr<jinja::Template> jinja, const Tokenizer& tokenizer, const Clock& clock)
      : jinja_(std::move(jinja)), clock_(clock), cutter_(tokenizer), end_ids_(tokenizer.end_ids()) {
    const auto text = [&](int32_t id) { return id < 0 ? std::string() : std::string(tokenizer.TokenText(id)); };
    tokens_.bos_token = text(tokenizer.bos_id());
    tokens_.eos_token = text(tokenizer.eos_id());
    tokens_.unk_token = text(tokenizer.unknown_id());
  }

  // Tries what always happens; fails if it does. Finds out what sessions may do.
  absl::Status Probe() {
    const std::time_t now = Now();
    const ChatMessage system = {"system", kSystem}, user = {"user", kUser}, reply = {"assistant", kReply};
    std::vector<ChatMessage> opening = {user};
    absl::StatusOr<jinja::Text> prompt = Run(opening, true, now);
    if (!prompt.ok()) {
      opening = {system, user};  // some templates want one
      const absl::Status first = prompt.status();
      prompt = Run(opening, true, now);
      if (!prompt.ok()) return first;
    }
    if (EndOfContent(*prompt, kUser) == std::string_view::npos) {
      return absl::InvalidArgumentError("the template does not write a user's message as it is");
    }
    dummy_ = opening;
    dummy_.push_back(reply);
    const std::string reason = WhyNoSessions(prompt->bytes(), now);
    if (!reason.empty()) {
      sessions_ = absl::FailedPreconditionError(
          absl::StrCat("messages: the chat template cannot be used for later turns of a session: ", reason));
    } else if (opening.size() == 1) {
      moves_system_ = MovesSystem(now);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<TemplatePiece>> Render(const std::vector<ChatMessage>& messages,
                                                    bool add_generation_prompt) const override {
    if (absl::Status status = Check(messages); !status.ok()) return status;
    const absl::StatusOr<jinja::Text> text = RunForClient(messages, add_generation_prompt, Now());
    if (!text.ok()) return text.status();
    return cutter_.Cut(*text, 0);
  }

  absl::StatusOr<std::vector<TemplatePiece>> RenderTurn(ReplyEnd last, int32_t last_id,
                                                        const std::vector<ChatMessage>& messages,
                                                        bool add_generation_prompt) const override {
    if (absl::Status status = Check(messages); !status.ok()) return status;
    if (!sessions_.ok()) return sessions_;
    const std::time_t now = Now();
    const absl::StatusOr<jinja::Text> before = RunForClient(dummy_, false, now);
    if (!before.ok()) return before.status();
    std::vector<ChatMessage> all;
    all.reserve(dummy_.size() + messages.size());
    all = dummy_;
    all.insert(all.end(), messages.begin(), messages.end());
    const absl::StatusOr<jinja::Text> text = RunForClient(all, add_generation_prompt, now);
    if (!text.ok()) return text.status();
    const size_t begin = EndOfContent(*before, kReply);
    if (begin == std::string_view::npos || !StartsAlike(*text, *before, begin)) {
      return absl::FailedPreconditionError(
          "messages: the chat template writes earlier turns in another way with these messages; a session cannot go on "
          "with them");
    }
    if (last == ReplyEnd::kNone) return WithoutClosing(*before, *text, begin);
    std::vector<TemplatePiece> pieces = cutter_.Cut(*text, begin);
    // The template's own end of a reply is there already, where the model has written it. It is the first control
    // token, before any word of the template's or of a client's.
    size_t offset = begin;
    size_t end = 0;
    for (; end < pieces.size() && pieces[end].control < 0 && IsSpace(pieces[end].text); ++end) {
      offset += pieces[end].text.size();
    }
    if (end < pieces.size() && pieces[end].control == last_id && offset <= FirstContent(*text, begin)) {
      pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(end) + 1);
    }
    return pieces;
  }

  const absl::Status& sessions() const override { return sessions_; }

  absl::Status CheckFirstTurn(const std::vector<ChatMessage>& messages) const override {
    if (!moves_system_ || messages.empty() || messages[0].role != "system") return absl::OkStatus();
    return absl::FailedPreconditionError(
        "messages[0].role must not be system on a session: the chat template moves a system message to the newest "
        "turn; "
        "put its text into the first user message");
  }

 private:
  std::time_t Now() const { return std::chrono::system_clock::to_time_t(clock_.WallNow()); }

  absl::StatusOr<jinja::Text> Run(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                  std::time_t now) const {
    jinja::Variables variables = tokens_;
    variables.messages.reserve(messages.size());
    for (const ChatMessage& message : messages) {
      variables.messages.push_back({message.role, message.content, !IsKnownRole(message.role)});
    }
    variables.add_generation_prompt = add_generation_prompt;
    variables.now = now;
    return jinja_->Render(variables, jinja::Limits());
  }

  // A template that runs out of its limits does so because of what it is given: later is not better.
  absl::StatusOr<jinja::Text> RunForClient(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                           std::time_t now) const {
    absl::StatusOr<jinja::Text> text = Run(messages, add_generation_prompt, now);
    if (text.ok()) return text;
    const absl::StatusCode code =
        absl::IsResourceExhausted(text.status()) ? absl::StatusCode::kInvalidArgument : text.status().code();
    return OneLine(code, "messages: ", text.status());
  }

  static bool StartsAlike(const jinja::Text& text, const jinja::Text& other, size_t size) {
    return text.size() >= size && text.bytes().compare(0, size, other.bytes(), 0, size) == 0;
  }

  // "" if the later turns of a session can be rendered. `prompt`: the dummy's opening with a generation prompt.
  std::string WhyNoSessions(const std::string& prompt, std::time_t now) const {
    const std::string rewrites = "it writes earlier turns in another way when new ones follow";
    const absl::StatusOr<jinja::Text> before = Run(dummy_, false, now);
    if (!before.ok()) return "it has no earlier replies";
    const size_t end = EndOfContent(*before, kReply);
    if (end == std::string_view::npos) return "it does not write earlier replies as they are";
    // The session's reply follows the generation prompt.
    const std::string head = before->bytes().substr(0, end - std::string_view(kReply).size());
    if (head.compare(0, prompt.size(), prompt) != 0 || !IsSpace(std::string_view(head).substr(prompt.size()))) {
      return "it begins an earlier reply in another way than a new one";
    }
    const ChatMessage next = {"user", kNextUser};
    const absl::StatusOr<jinja::Text> after = Run(After(dummy_, {next}), true, now);
    if (!after.ok()) return "it allows one turn only";
    if (!StartsAlike(*after, *before, end)) return rewrites;
    // What a turn adds is the same after one turn and after two.
    std::vector<ChatMessage> twice = After(dummy_, {{"user", kUser}, {"assistant", kNextReply}, next});
    const absl::StatusOr<jinja::Text> later = Run(twice, true, now);
    const size_t later_end = later.ok() ? EndOfContent(*later, kNextReply) : std::string_view::npos;
    if (later_end == std::string_view::npos || !StartsAlike(*later, *before, end) ||
        later->bytes().substr(later_end) != after->bytes().substr(end)) {
      return rewrites;
    }
    std::vector<ChatMessage> reasoned = After(dummy_, {next});
    reasoned[dummy_.size() - 1].content = kReasoningReply;
    const absl::StatusOr<jinja::Text> thought = Run(reasoned, true, now);
    if (!thought.ok() || EndOfContent(*thought, kReasoningReply) == std::string_view::npos) {
      return "it leaves the reasoning out of earlier replies";
    }
    return "";
  }

  bool MovesSystem(std::time_t now) const {
    const ChatMessage next = {"user", kNextUser};
    std::vector<ChatMessage> begun = {{"system", kSystem}};
    begun.insert(begun.end(), dummy_.begin(), dummy_.end());
    const absl::StatusOr<jinja::Text> before = Run(begun, false, now);
    if (!before.ok()) return false;  // it allows none
    const size_t end = EndOfContent(*before, kReply);
    const absl::StatusOr<jinja::Text> after = Run(After(begun, {next}), true, now);
    const absl::StatusOr<jinja::Text> plain = Run(After(dummy_, {next}), true, now);
    if (end == std::string_view::npos || !after.ok() || !plain.ok()) return true;
    return !StartsAlike(*after, *before, end) ||
           after->bytes().substr(end) != plain->bytes().substr(EndOfContent(*plain, kReply));
  }

  static std::vector<ChatMessage> After(const std::vector<ChatMessage>& messages,
                                        const std::vector<ChatMessage>& more) {
    std::vector<ChatMessage> all = messages;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  // What follows text that is no reply: `text` from `begin` on without the end of the dummy's reply.
  std::vector<TemplatePiece> WithoutClosing(const jinja::Text& before, const jinja::Text& text, size_t begin) const {
    if (before.size() > begin && StartsAlike(text, before, before.size())) return cutter_.Cut(text, before.size());
    // Some templates end a conversation in another way than a reply within it: up to its control token then.
    std::vector<TemplatePiece> pieces = cutter_.Cut(text, begin);
    const auto blank = [&](size_t i) { return i < pieces.size() && pieces[i].control < 0 && IsSpace(pieces[i].text); };
    size_t count = blank(0) ? 1 : 0;
    const bool ends =
        count < pieces.size() && std::find(end_ids_.begin(), end_ids_.end(), pieces[count].control) != end_ids_.end();
    if (!ends) return pieces;
    ++count;
    if (blank(count) && count + 1 < pieces.size()) ++count;
    pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(count));
    return pieces;
  }

  const std::unique_ptr<jinja::Template> jinja_;
  const Clock& clock_;
  jinja::Variables tokens_;  // the texts of the model's tokens
  const PieceCutter cutter_;
  const std::vector<int32_t> end_ids_;
  std::vector<ChatMessage> dummy_;
  absl::Status sessions_;
  bool moves_system_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> CreateJinjaChatTemplate(std::string_view source,
                                                                      const Tokenizer& tokenizer, const Clock& clock) {
  absl::StatusOr<std::unique_ptr<jinja::Template>> jinja = jinja::Template::Parse(source);
  if (!jinja.ok()) return OneLine(jinja.status().code(), "", jinja.status());
  auto chat_template = std::make_unique<JinjaChatTemplate>(*std::move(jinja), tokenizer, clock);
  if (absl::Status status = chat_template->Probe(); !status.ok()) return OneLine(status.code(), "", status);
  return absl::StatusOr<std::unique_ptr<ChatTemplate>>(std::move(chat_template));
}

}  // namespace cascade
