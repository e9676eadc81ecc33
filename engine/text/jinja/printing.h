// Values as text: Python's str() and repr().
#pragma once

#include <string>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;
class TextMaker;

bool AppendStr(Runtime& runtime, const Value& value, TextMaker* out);
bool AppendRepr(Runtime& runtime, const Value& value, TextMaker* out);
// str() as a value: a string itself comes back without a copy.
Value ToStr(Runtime& runtime, const Value& value);
// Python's repr of a float: the shortest digits that give it back.
std::string FloatRepr(double number);

}  // namespace cascade::jinja
