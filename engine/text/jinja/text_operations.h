// What Python's str can do, on texts with marks. Methods and filters are made of these.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/text/jinja/jinja_value.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {

// `characters` null or None: white space. Fails when it is something else than a str.
Value StripText(Runtime& runtime, const Text& text, const Value* characters, bool left, bool right);
// At most `count` times; all for a negative one.
Value ReplaceText(Runtime& runtime, const Text& text, const Text& old, const Text& replacement, int64_t count);
// At most `count` times; all for a negative one. `separator` null or None: runs of white space.
Value SplitText(Runtime& runtime, const Text& text, const Value* separator, int64_t count, bool from_right);
std::vector<Value> SplitLines(Runtime& runtime, const Text& text, bool keep_ends);
// Items become texts by str() with `any_kind`, and must be texts without.
Value JoinTexts(Runtime& runtime, const Text& separator, const Value& items, bool any_kind);

}  // namespace cascade::jinja
