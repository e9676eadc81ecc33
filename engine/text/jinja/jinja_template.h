// A small interpreter for the Jinja that published chat templates are written in, as Hugging Face's transformers run it
// (ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks and loop controls). Not trusted: steps, depth, memory
// and output are bounded, and nothing but the variables given can be reached.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

struct Message {
  std::string role;
  std::string content;  // a client's text
  // The role is a client's text too, as the content is; false for the words that templates know ("user"), which may
  // become a part of a control token ('<|' + message['role'] + '|>').
  bool role_is_content = true;
};

// What transformers give to a chat template. `tools` and `documents` are none.
struct Variables {
  std::vector<Message> messages;
  bool add_generation_prompt = false;
  // Texts of the model's tokens; a token that the model does not have is undefined, as in transformers.
  std::string bos_token, eos_token, unk_token, pad_token;
  std::time_t now = 0;  // strftime_now, in UTC
};

struct Limits {
  int64_t steps = 2'000'000;         // statements and expressions evaluated
  size_t output_bytes = 64u << 20;   // of the result, and of any text made on the way
  size_t memory_bytes = 256u << 20;  // of all values that the template holds at a time
  int depth = 100;                   // of nested calls
};

// Immutable after parsing; any thread may call Render.
class Template {
 public:
  // UNIMPLEMENTED "line 3, column 7: .." names a construct, filter, test, function or method that is not supported;
  // INVALID_ARGUMENT one that is no Jinja, or a template over 1 MiB or nested too deeply.
  static absl::StatusOr<std::unique_ptr<Template>> Parse(std::string_view source);
  virtual ~Template() = default;

  // INVALID_ARGUMENT: the template's own raise_exception, with its text ("chat template: Conversation roles must
  // alternate .."), or an operation that its values do not allow; RESOURCE_EXHAUSTED: over a limit. Messages name line
  // and column and repeat no client's text.
  virtual absl::StatusOr<Text> Render(const Variables& variables, const Limits& limits) const = 0;
};

}  // namespace cascade::jinja
