#include "engine/text/chatml_jinja.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
// Stand for the message's fields in output; no template holds these bytes (they are no UTF-8).
constexpr char kRole = '\xFE';
constexpr char kContent = '\xFF';

// A template as a list of statements and of what is written between them.
struct Part {
  bool is_statement = false;
  std::string text;
};

absl::Status Unsupported(std::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat("chat template: only ChatML is supported; ", absl::string_view(what.data(), what.size())));
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// One spelling for all: single spaces, single quotes, message.role for message['role'].
std::string Normalize(std::string_view code) {
  std::string out;
  for (const char c : Trim(code)) {
    if (kSpace.find(c) == std::string_view::npos) {
      out.push_back(c == '"' ? '\'' : c);
    } else if (out.back() != ' ') {
      out.push_back(' ');
    }
  }
  for (const char* name : {"role", "content"}) {
    const std::string index = absl::StrCat("['", name, "']");
    for (size_t pos; (pos = out.find(index)) != std::string::npos;) {
      out.replace(pos, index.size(), absl::StrCat(".", name));
    }
  }
  return out;
}

// The string literal at `*pos` (a quote), which moves behind it; nullopt if it does not end.
std::optional<std::string> ReadLiteral(std::string_view code, size_t* pos) {
  const char quote = code[(*pos)++];
  std::string out;
  for (; *pos < code.size(); ++*pos) {
    char c = code[*pos];
    if (c == quote) {
      ++*pos;
      return out;
    }
    if (c == '\\' && *pos + 1 < code.size()) {
      c = code[++*pos];
      if (c == 'n') c = '\n';
      if (c == 't') c = '\t';
    }
    out.push_back(c);
  }
  return std::nullopt;
}

// What `a + 'b' + message.role` writes; nullopt if it is anything but such a sum, then `*term` is where it is not.
std::optional<std::string> Evaluate(std::string_view code, size_t* term) {
  std::string out;
  size_t pos = 0;
  const auto skip_space = [&] {
    while (pos < code.size() && kSpace.find(code[pos]) != std::string_view::npos) ++pos;
  };
  while (true) {
    skip_space();
    *term = pos;
    if (pos == code.size()) return std::nullopt;
    if (code[pos] == '\'' || code[pos] == '"') {
      const std::optional<std::string> literal = ReadLiteral(code, &pos);
      if (!literal) return std::nullopt;
      out += *literal;
    } else {
      const size_t end = std::min(code.find('+', pos), code.size());
      const std::string name = Normalize(code.substr(pos, end - pos));
      if (name != "message.role" && name != "message.content") return std::nullopt;
      out.push_back(name == "message.role" ? kRole : kContent);
      pos = end;
    }
    skip_space();
    *term = pos;
    if (pos == code.size()) return out;
    if (code[pos++] != '+') return std::nullopt;
  }
}

// Where the tag that opens before `pos` closes; a closing mark inside a string literal does not count.
size_t FindClose(std::string_view text, size_t pos, std::string_view close) {
  while (pos < text.size() && text.substr(pos, close.size()) != close) {
    if (text[pos] == '\'' || text[pos] == '"') {
      if (!ReadLiteral(text, &pos)) return std::string_view::npos;
    } else {
      ++pos;
    }
  }
  return pos < text.size() ? pos : std::string_view::npos;
}

void Write(std::string_view text, std::vector<Part>* parts) {
  if (text.empty()) return;
  if (parts->empty() || parts->back().is_statement) parts->push_back({});
  parts->back().text += text;
}

// Whitespace as chat templates are run: '-' at a tag takes all beside it, a statement takes the newline behind it and
// the spaces before it on its line (trim_blocks, lstrip_blocks).
absl::StatusOr<std::vector<Part>> Parse(std::string_view jinja) {
  std::vector<Part> parts;
  size_t pos = 0;
  while (pos < jinja.size()) {
    size_t open = jinja.find('{', pos);
    while (open != std::string_view::npos &&
           (open + 1 == jinja.size() || (jinja[open + 1] != '%' && jinja[open + 1] != '{' && jinja[open + 1] != '#'))) {
      open = jinja.find('{', open + 1);
    }
    std::string_view plain = jinja.substr(pos, open == std::string_view::npos ? open : open - pos);
    if (open == std::string_view::npos) {
      // As Jinja does, the last newline of the text is not a part of it.
      if (!plain.empty() && plain.back() == '\n') plain.remove_suffix(1);
      Write(plain, &parts);
      break;
    }
    const char kind = jinja[open + 1];
    const std::string_view close = kind == '%' ? "%}" : kind == '{' ? "}}" : "#}";
    size_t begin = open + 2;
    const size_t end = kind == '#' ? jinja.find(close, begin) : FindClose(jinja, begin, close);
    if (end == std::string_view::npos) return Unsupported("it has a tag that does not end");
    const bool trim_before = begin < end && jinja[begin] == '-';
    const bool trim_after = end > begin + (trim_before ? 1 : 0) && jinja[end - 1] == '-';
    if (trim_before) {
      ++begin;
      plain = plain.substr(0, plain.find_last_not_of(kSpace) + 1);
    } else if (kind != '{') {
      const size_t line = plain.find_last_not_of(" \t") + 1;
      if (line == 0 ? open - plain.size() == 0 || jinja[pos - 1] == '\n' : plain[line - 1] == '\n') {
        plain = plain.substr(0, line);
      }
    }
    Write(plain, &parts);
    const std::string_view code = jinja.substr(begin, end - (trim_after ? 1 : 0) - begin);
    if (kind == '%') {
      parts.push_back({true, Normalize(code)});
    } else if (kind == '{') {
      size_t term = 0;
      const std::optional<std::string> written = Evaluate(code, &term);
      if (!written) return Unsupported(absl::StrCat("found ", QuoteForError(Trim(code.substr(term))), " in {{ }}"));
      Write(*written, &parts);
    }
    pos = end + 2;
    if (trim_after) {
      pos = std::min(jinja.find_first_not_of(kSpace, pos), jinja.size());
    } else if (kind != '{' && pos < jinja.size() && jinja[pos] == '\n') {
      ++pos;
    }
  }
  return parts;
}

// Walks over the parts and names the first that is not what ChatML has there.
class Reader {
 public:
  explicit Reader(std::vector<Part> parts) : parts_(std::move(parts)) {}

  bool TakeStatement(std::initializer_list<std::string_view> spellings) {
    for (const std::string_view spelling : spellings) {
      if (next_ < parts_.size() && parts_[next_].is_statement && parts_[next_].text == spelling) {
        ++next_;
        return true;
      }
    }
    return false;
  }
  std::optional<std::string> TakeText() {
    if (next_ == parts_.size() || parts_[next_].is_statement) return std::nullopt;
    return parts_[next_++].text;
  }
  bool done() const { return next_ == parts_.size(); }
  absl::Status Refuse() const {
    if (done()) return Unsupported("the template ends early");
    const Part& part = parts_[next_];
    return Unsupported(part.is_statement ? absl::StrCat("found the statement ", QuoteForError(part.text))
                                         : absl::StrCat("found the text ", QuoteForError(part.text)));
  }

 private:
  std::vector<Part> parts_;
  size_t next_ = 0;
};

constexpr std::string_view kSystemBegin = "<|im_start|>system\n";
constexpr std::string_view kMessageEnd = "<|im_end|>\n";

// {% if <the first message is no system message> %} .. {% endif %}, where it is there.
absl::Status ReadDefaultSystem(Reader* reader, bool in_loop, ChatMlForm* form) {
  const bool found = in_loop ? reader->TakeStatement({"if loop.first and messages[0].role != 'system'",
                                                      "if messages[0].role != 'system' and loop.first",
                                                      "if loop.first and message.role != 'system'"})
                             : reader->TakeStatement({"if messages[0].role != 'system'"});
  if (!found) return absl::OkStatus();
  const Reader before = *reader;
  const std::string text = reader->TakeText().value_or("");
  std::string_view body = text;
  if (form->has_default_system || body.substr(0, kSystemBegin.size()) != kSystemBegin ||
      body.size() < kSystemBegin.size() + kMessageEnd.size() ||
      body.substr(body.size() - kMessageEnd.size()) != kMessageEnd) {
    return before.Refuse();
  }
  body.remove_prefix(kSystemBegin.size());
  body.remove_suffix(kMessageEnd.size());
  if (body.find("<|im_") != std::string_view::npos || FindInvalidUtf8(body) != std::string_view::npos) {
    return before.Refuse();
  }
  if (!reader->TakeStatement({"endif"})) return reader->Refuse();
  form->default_system = std::string(body);
  form->has_default_system = true;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatMlForm> RecognizeChatMl(std::string_view jinja) {
  for (const std::string_view mark : {"<|im_start|>", "<|im_end|>"}) {
    if (jinja.find(mark) == std::string_view::npos) {
      return Unsupported(absl::StrCat("the template has no ", absl::string_view(mark.data(), mark.size())));
    }
  }
  absl::StatusOr<std::vector<Part>> parts = Parse(jinja);
  if (!parts.ok()) return parts.status();
  Reader reader(*std::move(parts));
  ChatMlForm form;
  if (reader.TakeStatement({"if not add_generation_prompt is defined", "if add_generation_prompt is not defined"})) {
    if (!reader.TakeStatement({"set add_generation_prompt = false"})) return reader.Refuse();
    if (!reader.TakeStatement({"endif"})) return reader.Refuse();
  }
  if (absl::Status status = ReadDefaultSystem(&reader, false, &form); !status.ok()) return status;
  if (!reader.TakeStatement({"for message in messages"})) return reader.Refuse();
  if (absl::Status status = ReadDefaultSystem(&reader, true, &form); !status.ok()) return status;
  const Reader before_message = reader;
  const std::string message =
      absl::StrCat("<|im_start|>", std::string(1, kRole), "\n", std::string(1, kContent), "<|im_end|>\n");
  if (reader.TakeText() != message) return before_message.Refuse();
  if (!reader.TakeStatement({"endfor"})) return reader.Refuse();
  if (!reader.TakeStatement({"if add_generation_prompt"})) return reader.Refuse();
  const Reader before_prompt = reader;
  if (reader.TakeText() != "<|im_start|>assistant\n") return before_prompt.Refuse();
  if (!reader.TakeStatement({"endif"})) return reader.Refuse();
  if (!reader.done()) return reader.Refuse();
  return form;
}

}  // namespace cascade
