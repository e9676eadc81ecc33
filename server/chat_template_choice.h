#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace cascade {

// Which chat template the server uses, and logs it. `choice` is --chat-template: "" for the model's own, which is
// `own` ("": it has none); "none"; a built-in name; or a file of Jinja, at most 1 MiB. Null where there is none: then
// prompts of messages are refused. An ExitError (kConfig) where the template cannot be used: one that works for some
// conversations only is better chosen than met.
absl::StatusOr<std::unique_ptr<ChatTemplate>> OpenChatTemplate(const std::string& choice, std::string_view own,
                                                               const Tokenizer& tokenizer, const Clock& clock);

}  // namespace cascade
