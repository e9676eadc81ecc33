// Python's comparisons of values.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;

bool Equal(Runtime& runtime, const Value& left, const Value& right);
// Fails for values that have no order.
bool Less(Runtime& runtime, const Value& left, const Value& right);
bool LessOrEqual(Runtime& runtime, const Value& left, const Value& right);
// Python's `item in container`.
bool Contains(Runtime& runtime, const Value& container, const Value& item);
// Python's `is`, as far as it does not hang on what Python shares.
bool Same(Runtime& runtime, const Value& left, const Value& right);

// Where `key` is among the entries, or their number. Fails for a key that a dict cannot have.
size_t FindKey(Runtime& runtime, const std::vector<std::pair<Value, Value>>& entries, const Value& key);
// The same for a text, beside keys of any kind.
size_t FindTextKey(Runtime& runtime, const std::vector<std::pair<Value, Value>>& entries, std::string_view key);

// Sorts stably by `keys`, whose order the items follow. Fails for keys that have no order.
void Sort(Runtime& runtime, const std::vector<Value>& keys, bool reverse, std::vector<Value>* items);

}  // namespace cascade::jinja
