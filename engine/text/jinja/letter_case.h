// Python's str.upper, lower, title and capitalize.
#pragma once

#include <string_view>

#include "engine/text/jinja/text.h"

namespace cascade::jinja {

class Runtime;
class Value;

enum class LetterCase { kUpper, kLower, kTitle, kCapitalize, kTitleFilter };

// kTitle: str.title, every run of letters begins with a capital; kTitleFilter: jinja2's filter, where words begin
// behind white space and one of -({[<. Marks go with their letters.
Value ChangeCase(Runtime& runtime, const Text& text, LetterCase wanted);

// Whether a code point has another as its small letter or its capital.
bool IsUpperLetter(char32_t code_point);
bool IsLowerLetter(char32_t code_point);
// Counts looking at every letter of a text; false when there are no more steps.
bool WorkOnLetters(Runtime& runtime, std::string_view text);

}  // namespace cascade::jinja
