// Values of a chat template while it runs: those of Python that templates use.
//
// Lists, tuples and dicts never change once they are made, as in the sandbox that transformers render in, so they hold
// no cycles. Namespaces, frames and loops do change; the interpreter empties them when it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/jinja/text.h"

namespace cascade::jinja {

// Interned by the template: equal names are the same pointer, and outlive every value.
using Name = const std::string*;

// What values of a run hold at the moment. One thread.
struct MemoryBudget {
  size_t used = 0;
  size_t limit = 0;
};

// A part of a budget, given back when the value that owns it goes.
class Charge {
 public:
  Charge() = default;
  Charge(MemoryBudget* budget, size_t bytes) : budget_(budget), bytes_(bytes) { budget_->used += bytes_; }
  Charge(Charge&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (budget_ != nullptr) budget_->used -= bytes_;
  }

 private:
  MemoryBudget* budget_ = nullptr;
  size_t bytes_ = 0;
};

struct Undefined {
  Name name = nullptr;  // for messages; null when it may be a client's text
};
struct None {};
struct String;
struct List;
struct Dict;
struct DictView;
struct Range;
struct Stream;
struct Namespace;
struct Macro;
struct Method;
class Loop;
struct Builtin;

class Value {
 public:
  Value() = default;  // undefined
  template <typename T>
  Value(T value) : value_(std::move(value)) {}  // NOLINT: a value is made of any of the kinds below

  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(value_);
  }
  // Null when it is of another kind.
  template <typename T>
  const T* If() const {
    return std::get_if<T>(&value_);
  }
  bool IsUndefined() const { return Is<Undefined>(); }
  bool IsNone() const { return Is<None>(); }
  bool IsNumber() const { return Is<bool>() || Is<int64_t>() || Is<double>(); }
  const Text* text() const;  // null unless a string
  const List* list() const;  // null unless a list or a tuple
  const Dict* dict() const;

 private:
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const String>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<const DictView>, std::shared_ptr<const Range>,
               std::shared_ptr<Stream>, std::shared_ptr<Namespace>, std::shared_ptr<const Macro>,
               std::shared_ptr<const Method>, std::shared_ptr<Loop>, const Builtin*>
      value_;
};

struct String {
  Text text;
  Charge charge;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;  // 1 + that of its deepest item
  Charge charge;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in the order of insertion, keys are distinct
  int depth = 1;
  Charge charge;
};

// What .keys(), .values() and .items() give.
struct DictView {
  enum class Part { kKeys, kValues, kItems };
  std::shared_ptr<const Dict> dict;
  Part part = Part::kKeys;
};

struct Range {
  int64_t start = 0, step = 1, size = 0;
  int64_t stop = 0;
};

// An iterator that is used up by reading: what filters such as map and select give.
struct Stream {
  std::vector<Value> items;
  size_t next = 0;
  int depth = 1;
  Charge charge;
};

struct Namespace {
  std::vector<std::pair<Value, Value>> entries;
  Charge charge;
};

// A method of a value, not yet called.
struct Method {
  Value self;
  const Builtin* builtin = nullptr;
};

// "str", "int", "NoneType": as Python calls it.
std::string_view TypeName(const Value& value);
// Whether an `if` takes it.
bool IsTrue(const Value& value);
// How deep lists and dicts are nested in it.
int DepthOf(const Value& value);
// A string, list or dict outside any budget: a template's constants and the caller's variables.
Value FreeText(Text text);
Value FreeList(std::vector<Value> items);
Value FreeDict(std::vector<std::pair<Value, Value>> entries);

}  // namespace cascade::jinja
