// The special variable `loop`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;

// Reads its items as late as jinja2 does, because a filter of the loop may look at what the body has set: one ahead for
// `last` and `nextitem`, all of them for `length`.
class Loop {
 public:
  // Sets the next item, or false at the end.
  using Source = std::function<bool(Value*)>;
  // `length`: of the source, where it is known without reading. `text`: the source where it is a text, whose code
  // points are counted when that is asked for.
  Loop(Source source, std::optional<int64_t> length, Value text)
      : source_(std::move(source)), length_(length), text_(std::move(text)) {}

  // Goes on to the next item; false at the end.
  bool Next();
  const Value& item() const { return item_; }
  // Of a loop that is over: lets go of its items, which may hold the loop.
  void End();

  // Nothing when a loop has no such attribute. Methods come back bound to `self`.
  std::optional<Value> Attribute(Runtime& runtime, const Value& self, std::string_view name);
  int64_t index0() const { return index0_; }
  // Python's loop.changed.
  bool Changed(Runtime& runtime, const std::vector<Value>& values);

 private:
  bool Peek();  // whether there is a next item
  int64_t CountAll(Runtime& runtime);

  Source source_;
  std::optional<int64_t> length_;
  Value text_;
  std::vector<Value> ahead_;  // read already, the next one first
  size_t ahead_begin_ = 0;
  Value before_, item_;
  int64_t index0_ = -1;
  std::optional<Value> last_changed_;
};

}  // namespace cascade::jinja
