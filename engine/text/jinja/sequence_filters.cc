#include <algorithm>
#include <string>
#include <utility>

#include "engine/text/jinja/attributes.h"
#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/letter_case.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/printing.h"
#include "engine/text/jinja/text_operations.h"

namespace cascade::jinja {
namespace {

Value IgnoreCase(Runtime& runtime, const Value& value) {
  return value.text() == nullptr ? value : ChangeCase(runtime, *value.text(), LetterCase::kLower);
}

bool IsStream(const Value& value) { return value.Is<std::shared_ptr<Stream>>(); }

Value LengthFilter(Runtime& runtime, const Value& self, const Bound&) {
  if (const auto* loop = self.If<std::shared_ptr<Loop>>(); loop != nullptr)
    return GetAttribute(runtime, self, "length");
  const auto length = Length(runtime, self);
  return length ? Value(*length) : runtime.Fail("a " + std::string(TypeName(self)) + " has no length");
}

Value Default(Runtime&, const Value& self, const Bound& arguments) {
  const bool is_used = self.IsUndefined() || (FlagArgument(arguments[1], false) && !IsTrue(self));
  if (!is_used) return self;
  return arguments[0] != nullptr ? *arguments[0] : FreeText(Text());
}

Value First(Runtime& runtime, const Value& self, const Bound&) {
  ValueIterator iterator(runtime, self);
  Value first;
  return iterator.Next(&first) ? first : Value();
}

// Python's reversed(), as a list; fails where it does.
std::vector<Value> Reversed(Runtime& runtime, const Value& self) {
  if (IsStream(self)) runtime.Fail("a generator cannot be reversed");
  std::vector<Value> items = ToVector(runtime, self);
  std::reverse(items.begin(), items.end());
  return items;
}

Value Last(Runtime& runtime, const Value& self, const Bound&) {
  if (const Text* text = self.text(); text != nullptr && !text->empty()) return GetItem(runtime, self, int64_t{-1});
  std::vector<Value> items = Reversed(runtime, self);
  return items.empty() ? Value() : items.front();
}

Value Reverse(Runtime& runtime, const Value& self, const Bound&) {
  if (self.text() != nullptr) {
    const Value back = int64_t{-1};
    return GetSlice(runtime, self, nullptr, nullptr, &back);
  }
  if (IsStream(self)) {
    std::vector<Value> items = ToVector(runtime, self);
    std::reverse(items.begin(), items.end());
    return runtime.NewList(std::move(items));
  }
  return runtime.NewStream(Reversed(runtime, self));
}

Value ToList(Runtime& runtime, const Value& self, const Bound&) { return runtime.NewList(ToVector(runtime, self)); }

Value Join(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value separator = arguments[0] == nullptr ? FreeText(Text()) : ToStr(runtime, *arguments[0]);
  if (!runtime.ok()) return {};
  if (arguments[1] == nullptr || arguments[1]->IsNone()) return JoinTexts(runtime, *separator.text(), self, true);
  const AttributePath path(runtime, arguments[1]);
  std::vector<Value> items = ToVector(runtime, self);
  for (Value& item : items) item = path.Get(runtime, item);
  return JoinTexts(runtime, *separator.text(), runtime.NewList(std::move(items)), true);
}

Value Items(Runtime& runtime, const Value& self, const Bound&) {
  if (self.IsUndefined()) return runtime.NewStream({});
  const Dict* dict = self.dict();
  if (dict == nullptr) return runtime.Fail("items takes a dict, not " + std::string(TypeName(self)));
  std::vector<Value> items;
  for (const auto& [key, value] : dict->entries) items.push_back(runtime.NewTuple({key, value}));
  return runtime.NewStream(std::move(items));
}

Value DictSort(Runtime& runtime, const Value& self, const Bound& arguments) {
  const bool case_sensitive = FlagArgument(arguments[0], false), reverse = FlagArgument(arguments[2], false);
  const Text* by = arguments[1] != nullptr ? arguments[1]->text() : nullptr;
  const bool by_value = by != nullptr && by->bytes() == "value";
  if (arguments[1] != nullptr && !by_value && (by == nullptr || by->bytes() != "key")) {
    return runtime.Fail("dictsort goes by 'key' or 'value'");
  }
  const Dict* dict = self.dict();
  if (dict == nullptr) return runtime.Fail("dictsort takes a dict, not " + std::string(TypeName(self)));
  std::vector<Value> items, keys;
  for (const auto& [key, value] : dict->entries) {
    items.push_back(runtime.NewTuple({key, value}));
    const Value& by_this = by_value ? value : key;
    keys.push_back(case_sensitive ? by_this : IgnoreCase(runtime, by_this));
  }
  Sort(runtime, keys, reverse, &items);
  return runtime.NewList(std::move(items));
}

// The values that the filters below compare by.
std::vector<Value> KeysOf(Runtime& runtime, const std::vector<Value>& items, const Value* attribute,
                          bool case_sensitive) {
  const AttributePath path(runtime, attribute);
  std::vector<Value> keys;
  for (const Value& item : items) {
    Value key = path.Get(runtime, item);
    keys.push_back(case_sensitive ? std::move(key) : IgnoreCase(runtime, key));
    if (!runtime.ok()) break;
  }
  keys.resize(items.size());
  return keys;
}

Value SortFilter(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Text* attribute = arguments[2] != nullptr ? arguments[2]->text() : nullptr;
  if (attribute != nullptr && attribute->bytes().find(',') != std::string::npos) {
    return runtime.Unsupported("sorting by several attributes");
  }
  std::vector<Value> items = ToVector(runtime, self);
  const std::vector<Value> keys = KeysOf(runtime, items, arguments[2], FlagArgument(arguments[1], false));
  Sort(runtime, keys, FlagArgument(arguments[0], false), &items);
  return runtime.NewList(std::move(items));
}

Value Unique(Runtime& runtime, const Value& self, const Bound& arguments) {
  std::vector<Value> items = ToVector(runtime, self), kept;
  const std::vector<Value> keys = KeysOf(runtime, items, arguments[1], FlagArgument(arguments[0], false));
  std::vector<std::pair<Value, Value>> seen;
  for (size_t i = 0; i < items.size() && runtime.ok(); ++i) {
    if (FindKey(runtime, seen, keys[i]) < seen.size()) continue;
    seen.emplace_back(keys[i], None());
    kept.push_back(items[i]);
  }
  return runtime.NewStream(std::move(kept));
}

Value Extreme(Runtime& runtime, const Value& self, const Bound& arguments, bool largest) {
  const std::vector<Value> items = ToVector(runtime, self);
  const std::vector<Value> keys = KeysOf(runtime, items, arguments[1], FlagArgument(arguments[0], false));
  size_t best = 0;
  for (size_t i = 1; i < items.size() && runtime.ok(); ++i) {
    if (largest ? Less(runtime, keys[best], keys[i]) : Less(runtime, keys[i], keys[best])) best = i;
  }
  return items.empty() ? Value() : items[best];
}
Value Min(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Extreme(runtime, self, arguments, false);
}
Value Max(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Extreme(runtime, self, arguments, true);
}

Value Sum(Runtime& runtime, const Value& self, const Bound& arguments) {
  const AttributePath path(runtime, arguments[0]);
  Value sum = arguments[1] != nullptr ? *arguments[1] : Value(int64_t{0});
  if (sum.text() != nullptr) return runtime.Fail("sum takes no str to start with");
  ValueIterator iterator(runtime, self);
  for (Value item; iterator.Next(&item);) sum = Add(runtime, sum, path.Get(runtime, item));
  return sum;
}

// The name of a filter or test among the arguments, and those behind it.
std::string NameAt(Runtime& runtime, const Arguments& arguments, size_t at) {
  const Text* name = arguments.positional[at].text();
  if (name == nullptr) runtime.Fail("the name of a filter or test must be a str");
  return name == nullptr ? "" : name->bytes();
}
Arguments Behind(const Arguments& arguments, size_t count) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(count), arguments.positional.end());
  rest.keywords = arguments.keywords;
  return rest;
}

Value MapAttribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value *attribute = nullptr, *otherwise = nullptr;
  for (const auto& [name, value] : arguments.keywords) {
    if (name == "attribute") attribute = &value;
    if (name == "default") otherwise = &value;
    if (name != "attribute" && name != "default") return runtime.Fail("map takes no '" + std::string(name) + "'");
  }
  if (attribute == nullptr) return runtime.Fail("map needs a filter or an attribute");
  const AttributePath path(runtime, attribute);
  std::vector<Value> items = ToVector(runtime, self);
  for (Value& item : items) item = path.Get(runtime, item, otherwise);
  return runtime.NewStream(std::move(items));
}

Value Map(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (!IsTrue(self)) return runtime.NewStream({});
  if (arguments.positional.empty()) return MapAttribute(runtime, self, arguments);
  const Builtin* filter = FindFilter(NameAt(runtime, arguments, 0));
  if (runtime.ok() && filter == nullptr) return runtime.Unsupported("the filter given to map");
  if (!runtime.ok() || !runtime.Enter()) return {};
  const Arguments rest = Behind(arguments, 1);
  std::vector<Value> items = ToVector(runtime, self);
  for (Value& item : items) {
    item = CallBuiltin(runtime, *filter, item, rest);
    if (!runtime.ok()) break;
  }
  runtime.Leave();
  return runtime.NewStream(std::move(items));
}

Value SelectItems(Runtime& runtime, const Value& self, const Arguments& arguments, bool wanted, bool by_attribute) {
  if (!IsTrue(self)) return runtime.NewStream({});
  const size_t at = by_attribute ? 1 : 0;
  if (arguments.positional.size() < at) return runtime.Fail("the name of an attribute is missing");
  const AttributePath path(runtime, by_attribute ? &arguments.positional[0] : nullptr);
  const bool has_test = arguments.positional.size() > at;
  const Builtin* test = has_test ? FindTest(NameAt(runtime, arguments, at)) : nullptr;
  if (runtime.ok() && has_test && test == nullptr) return runtime.Unsupported("the test given to a filter");
  const Arguments rest = Behind(arguments, at + (has_test ? 1 : 0));
  std::vector<Value> items = ToVector(runtime, self), kept;
  for (Value& item : items) {
    const Value tested = path.Get(runtime, item);
    if (!runtime.ok()) break;
    const Value answer = test == nullptr ? tested : CallBuiltin(runtime, *test, tested, rest);
    if (IsTrue(answer) == wanted) kept.push_back(std::move(item));
  }
  return runtime.NewStream(std::move(kept));
}
Value Select(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return SelectItems(runtime, self, arguments, true, false);
}
Value Reject(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return SelectItems(runtime, self, arguments, false, false);
}
Value SelectAttribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return SelectItems(runtime, self, arguments, true, true);
}
Value RejectAttribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return SelectItems(runtime, self, arguments, false, true);
}

constexpr Builtin kFilters[] = {
    {.name = "length", .run = LengthFilter},
    {.name = "count", .run = LengthFilter},
    {.name = "default", .parameters = {"default_value", "boolean"}, .run = Default},
    {.name = "d", .parameters = {"default_value", "boolean"}, .run = Default},
    {.name = "first", .run = First},
    {.name = "last", .run = Last},
    {.name = "reverse", .run = Reverse},
    {.name = "list", .run = ToList},
    {.name = "join", .parameters = {"d", "attribute"}, .run = Join},
    {.name = "items", .run = Items},
    {.name = "dictsort", .parameters = {"case_sensitive", "by", "reverse"}, .run = DictSort},
    {.name = "sort", .parameters = {"reverse", "case_sensitive", "attribute"}, .run = SortFilter},
    {.name = "unique", .parameters = {"case_sensitive", "attribute"}, .run = Unique},
    {.name = "min", .parameters = {"case_sensitive", "attribute"}, .run = Min},
    {.name = "max", .parameters = {"case_sensitive", "attribute"}, .run = Max},
    {.name = "sum", .parameters = {"attribute", "start"}, .run = Sum},
    {.name = "map", .run_any = Map},
    {.name = "select", .run_any = Select},
    {.name = "reject", .run_any = Reject},
    {.name = "selectattr", .run_any = SelectAttribute},
    {.name = "rejectattr", .run_any = RejectAttribute},
};

}  // namespace

std::span<const Builtin> SequenceFilters() { return kFilters; }

}  // namespace cascade::jinja
