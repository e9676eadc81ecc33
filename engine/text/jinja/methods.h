// Methods of strings, lists and dicts.
#pragma once

#include <span>
#include <string_view>

#include "engine/text/jinja/builtin.h"

namespace cascade::jinja {

// Null when a value of this kind has no such method, or none that we can call.
const Builtin* FindMethod(const Value& value, std::string_view name);
// Whether Python has an attribute of the name there that we do not have.
bool IsOtherAttribute(const Value& value, std::string_view name);

std::span<const Builtin> TextMethods();

}  // namespace cascade::jinja
