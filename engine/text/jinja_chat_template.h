#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace cascade {

// See CreateChatTemplate; `source` is Jinja.
absl::StatusOr<std::unique_ptr<ChatTemplate>> CreateJinjaChatTemplate(std::string_view source,
                                                                      const Tokenizer& tokenizer, const Clock& clock);

}  // namespace cascade
