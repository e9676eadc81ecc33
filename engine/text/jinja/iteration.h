// Python's iter() over values.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;

class ValueIterator {
 public:
  // Fails when `source` is not iterable.
  ValueIterator(Runtime& runtime, Value source);
  // False at the end and after a failure. Every item costs a step.
  bool Next(Value* item);

 private:
  bool NextOfText(const Text& text, Value* item);

  Runtime& runtime_;
  Value source_;
  size_t next_ = 0;  // a byte of a text, an item of others
};

bool IsIterable(const Value& value);
// len(), or nothing for values without one.
std::optional<int64_t> Length(Runtime& runtime, const Value& value);
// All items, in order; empty after a failure.
std::vector<Value> ToVector(Runtime& runtime, const Value& value);
// Item `index` of a range.
int64_t RangeItem(const Range& range, int64_t index);

}  // namespace cascade::jinja
