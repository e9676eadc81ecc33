// JSON schemas read the plain way, by walking schema and value together. Shares nothing with engine/grammar.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace cascade {

using Json = nlohmann::ordered_json;

// "" if `text` is a JSON document, has no key twice in an object, and fits; else what is wrong.
std::string WhyNot(const Json& schema, const std::string& text);

}  // namespace cascade
