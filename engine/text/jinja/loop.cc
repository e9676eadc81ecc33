#include "engine/text/jinja/loop.h"

#include <string>
#include <utility>

#include "engine/text/jinja/builtin.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

Value Cycle(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (!arguments.keywords.empty()) return runtime.Fail("loop.cycle takes no keyword arguments");
  if (arguments.positional.empty()) return runtime.Fail("loop.cycle needs items");
  const Loop& loop = **self.If<std::shared_ptr<Loop>>();
  return arguments.positional[static_cast<size_t>(loop.index0()) % arguments.positional.size()];
}

Value ChangedCall(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (!arguments.keywords.empty()) return runtime.Fail("loop.changed takes no keyword arguments");
  return (*self.If<std::shared_ptr<Loop>>())->Changed(runtime, arguments.positional);
}

constexpr Builtin kMethods[] = {{.name = "cycle", .run_any = Cycle}, {.name = "changed", .run_any = ChangedCall}};

}  // namespace

bool Loop::Peek() {
  if (ahead_begin_ < ahead_.size()) return true;
  ahead_.clear();
  ahead_begin_ = 0;
  Value next;
  if (!source_ || !source_(&next)) return false;
  ahead_.push_back(std::move(next));
  return true;
}

bool Loop::Next() {
  if (!Peek()) return false;
  before_ = std::move(item_);
  item_ = std::move(ahead_[ahead_begin_++]);
  ++index0_;
  return true;
}

void Loop::End() {
  if (!length_ && text_.text() == nullptr) length_ = index0_ + 1;
  source_ = nullptr;
  ahead_.clear();
  ahead_begin_ = 0;
  before_ = item_ = {};
  last_changed_.reset();
}

int64_t Loop::CountAll(Runtime& runtime) {
  if (!length_ && text_.text() != nullptr) length_ = Length(runtime, text_);
  if (!length_) {
    Value next;
    while (source_ && source_(&next)) ahead_.push_back(std::move(next));
    length_ = index0_ + 1 + static_cast<int64_t>(ahead_.size() - ahead_begin_);
  }
  return *length_;
}

bool Loop::Changed(Runtime& runtime, const std::vector<Value>& values) {
  Value all = runtime.NewTuple(values);
  if (last_changed_ && Equal(runtime, *last_changed_, all)) return false;
  last_changed_ = std::move(all);
  return true;
}

std::optional<Value> Loop::Attribute(Runtime& runtime, const Value& self, std::string_view name) {
  if (name == "index") return index0_ + 1;
  if (name == "index0") return index0_;
  if (name == "first") return index0_ == 0;
  if (name == "last") return !Peek();
  if (name == "length") return CountAll(runtime);
  if (name == "revindex") return CountAll(runtime) - index0_;
  if (name == "revindex0") return CountAll(runtime) - index0_ - 1;
  if (name == "previtem") return index0_ > 0 ? before_ : Value();
  if (name == "nextitem") return Peek() ? ahead_[ahead_begin_] : Value();
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (const Builtin* method = FindBuiltin(kMethods, name)) {
    return std::make_shared<const Method>(Method{self, method});
  }
  return std::nullopt;
}

}  // namespace cascade::jinja
