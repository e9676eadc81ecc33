// Recognises ChatML in a model's Jinja text. No Jinja is run: the text is compared with the forms in which ChatML is
// published, so that what we render is what the template would.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cascade {

struct ChatMlForm {
  // What the template puts before a conversation that does not begin with a system message; "" for nothing.
  std::string default_system;
  bool has_default_system = false;
};

// UNIMPLEMENTED says what is not supported.
absl::StatusOr<ChatMlForm> RecognizeChatMl(std::string_view jinja);

}  // namespace cascade
