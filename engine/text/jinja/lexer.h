// A template's source as tokens, exactly as jinja2's lexer cuts it with trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/place.h"

namespace cascade::jinja {

struct Token {
  enum class Kind : uint8_t {
    kData,
    kBlockBegin,
    kBlockEnd,
    kVariableBegin,
    kVariableEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  Place place;
  std::string_view text;  // of the source; a string with its quotes

  bool IsOperator(std::string_view op) const { return kind == Kind::kOperator && text == op; }
  bool IsName(std::string_view name) const { return kind == Kind::kName && text == name; }
};

// Line ends become "\n" and the last one goes, as jinja2 reads a template.
std::string NormalizeSource(std::string_view source);

// INVALID_ARGUMENT "line 1, column 2: .."; UNIMPLEMENTED for a name that is not ASCII. The last token is kEnd. Tokens
// point into `source`, which NormalizeSource gave.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// The value of a string token, as Python's unicode-escape decodes it.
absl::StatusOr<std::string> UnescapeString(std::string_view quoted);

}  // namespace cascade::jinja
