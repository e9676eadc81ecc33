// value.name, value[key] and value[start:stop:step], as jinja2's sandbox answers them.
#pragma once

#include <string_view>
#include <vector>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;

// An undefined value when there is none; fails for those of undefined values.
Value GetAttribute(Runtime& runtime, const Value& value, std::string_view name);
Value GetItem(Runtime& runtime, const Value& value, const Value& key);
// Each part may be null or None. Fails for values that have no slices.
Value GetSlice(Runtime& runtime, const Value& value, const Value* start, const Value* stop, const Value* step);

// Methods that would change a list or dict: the sandbox hides them.
bool IsHiddenMethod(std::string_view name);

// What filters with an `attribute` take: a name, a path "a.b.0", or a number.
class AttributePath {
 public:
  // A null attribute is the empty path.
  AttributePath(Runtime& runtime, const Value* attribute);
  Value Get(Runtime& runtime, Value value, const Value* otherwise = nullptr) const;

 private:
  std::vector<Value> parts_;
};

}  // namespace cascade::jinja
