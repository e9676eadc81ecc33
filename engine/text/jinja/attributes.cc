#include "engine/text/jinja/attributes.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/methods.h"
#include "engine/text/jinja/number_syntax.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

constexpr std::string_view kHidden[] = {"append", "clear",   "extend",     "insert", "pop",    "remove",
                                        "sort",   "reverse", "setdefault", "update", "popitem"};

Value UndefinedUse(Runtime& runtime, const Value& value) {
  const Name name = value.If<Undefined>()->name;
  return runtime.Fail(name == nullptr ? "an undefined value is used" : "'" + *name + "' is undefined");
}

bool IsHiddenIn(const Value& value, std::string_view name) {
  if (value.dict() != nullptr) {
    return name == "clear" || name == "pop" || name == "popitem" || name == "setdefault" || name == "update";
  }
  const List* list = value.list();
  return list != nullptr && !list->is_tuple && name != "setdefault" && name != "update" && name != "popitem" &&
         IsHiddenMethod(name);
}

// The item of a sequence of `size` that Python's index means, or nothing.
std::optional<int64_t> Index(const Value& key, int64_t size) {
  const std::optional<int64_t> index = AsInteger(key);
  if (!index || *index >= size || *index < -size) return std::nullopt;
  return *index < 0 ? *index + size : *index;
}

Value TextItem(Runtime& runtime, const Text& text, const Value& key) {
  const std::optional<int64_t> wanted = AsInteger(key);
  if (!wanted) return {};
  const std::string& bytes = text.bytes();
  const uint64_t passed = *wanted < 0 ? uint64_t{0} - static_cast<uint64_t>(*wanted) : static_cast<uint64_t>(*wanted);
  if (!runtime.WorkOnCodePoints(std::min<uint64_t>(bytes.size(), std::min<uint64_t>(passed, bytes.size()) * 4)))
    return {};
  size_t begin = 0;
  if (*wanted >= 0) {
    begin = ByteOfCodePoint(bytes, static_cast<size_t>(*wanted));
    if (begin == bytes.size()) return {};
  } else {
    begin = bytes.size();
    for (int64_t i = 0; i > *wanted; --i) {
      if (begin == 0) return {};
      begin = PreviousCodePoint(bytes, begin);
    }
  }
  size_t end = begin;
  NextCodePoint(bytes, &end);
  return runtime.NewText(text.Slice(begin, end));
}

// The indices that a slice takes: first, first + step, .. (`count` of them).
struct SliceRange {
  int64_t first = 0, step = 1, count = 0;
};

// Python's slice.indices().
SliceRange Indices(Runtime& runtime, const Value* start, const Value* stop, const Value* step, int64_t size) {
  SliceRange range;
  std::array<std::optional<int64_t>, 3> parts;
  const std::array<const Value*, 3> given = {start, stop, step};
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i] == nullptr || given[i]->IsNone()) continue;
    parts[i] = AsInteger(*given[i]);
    if (!parts[i]) {
      runtime.Fail("a slice needs integers, not " + std::string(TypeName(*given[i])));
      return range;
    }
  }
  range.step = std::max(parts[2].value_or(1), -std::numeric_limits<int64_t>::max());
  if (range.step == 0) {
    runtime.Fail("a slice with a step of zero");
    return range;
  }
  const bool forward = range.step > 0;
  const int64_t least = forward ? 0 : -1, most = forward ? size : size - 1;
  const auto clamp = [&](std::optional<int64_t> part, int64_t otherwise) {
    if (!part) return otherwise;
    return *part < 0 ? std::max(*part + size, least) : std::min(*part, most);
  };
  range.first = clamp(parts[0], forward ? least : most);
  const int64_t last = clamp(parts[1], forward ? most : least);
  const int64_t distance = forward ? last - range.first : range.first - last;
  if (distance > 0) range.count = (distance - 1) / (forward ? range.step : -range.step) + 1;
  return range;
}

Value TextSlice(Runtime& runtime, const Text& text, const SliceRange& range) {
  const std::string& bytes = text.bytes();
  if (range.step == 1) {
    if (!runtime.WorkOnCodePoints(bytes.size())) return {};
    const size_t begin = ByteOfCodePoint(bytes, static_cast<size_t>(range.first));
    const std::string_view rest = std::string_view(bytes).substr(begin);
    const size_t end = begin + ByteOfCodePoint(rest, static_cast<size_t>(range.count));
    TextMaker maker(&runtime);
    maker.Append(text, begin, end);
    return maker.Finish();
  }
  if (!runtime.Work(bytes.size() * 8) || !runtime.RoomInMemory(bytes.size() * sizeof(uint32_t))) return {};
  std::vector<uint32_t> begins;  // of every code point; a text is far below 4 GiB
  for (size_t i = 0; i < bytes.size(); NextCodePoint(bytes, &i)) begins.push_back(static_cast<uint32_t>(i));
  TextMaker maker(&runtime);
  for (int64_t i = 0, at = range.first; i < range.count && runtime.ok(); ++i) {
    size_t end = begins[static_cast<size_t>(at)];
    NextCodePoint(bytes, &end);
    maker.Append(text, begins[static_cast<size_t>(at)], end);
    if (i + 1 < range.count) at += range.step;
  }
  return maker.Finish();
}

Value RangeAttribute(Runtime& runtime, const Range& range, std::string_view name) {
  if (name == "start") return range.start;
  if (name == "stop") return range.stop;
  if (name == "step") return range.step;
  if (name == "count" || name == "index")
    return runtime.Unsupported("the method '" + std::string(name) + "' of a range");
  return {};
}

}  // namespace

bool IsHiddenMethod(std::string_view name) {
  return std::find(std::begin(kHidden), std::end(kHidden), name) != std::end(kHidden);
}

Value GetAttribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.IsUndefined()) return UndefinedUse(runtime, value);
  if (const auto* loop = value.If<std::shared_ptr<Loop>>()) {
    return (*loop)->Attribute(runtime, value, name).value_or(Value());
  }
  if (const auto* space = value.If<std::shared_ptr<Namespace>>()) {
    const size_t found = FindTextKey(runtime, (*space)->entries, name);
    return found < (*space)->entries.size() ? (*space)->entries[found].second : Value();
  }
  if (const auto* range = value.If<std::shared_ptr<const Range>>()) return RangeAttribute(runtime, **range, name);
  if (IsHiddenIn(value, name)) return {};
  if (const Builtin* method = FindMethod(value, name)) return std::make_shared<const Method>(Method{value, method});
  if (IsOtherAttribute(value, name)) {
    return runtime.Unsupported("'" + std::string(name) + "' of a " + std::string(TypeName(value)));
  }
  if (const Dict* dict = value.dict()) {
    const size_t found = FindTextKey(runtime, dict->entries, name);
    return found < dict->entries.size() ? dict->entries[found].second : Value();
  }
  return {};
}

Value GetItem(Runtime& runtime, const Value& value, const Value& key) {
  if (value.IsUndefined()) return UndefinedUse(runtime, value);
  if (const Text* text = value.text(); text != nullptr && key.text() == nullptr) return TextItem(runtime, *text, key);
  if (const List* list = value.list(); list != nullptr && key.text() == nullptr) {
    const auto index = Index(key, static_cast<int64_t>(list->items.size()));
    return index ? list->items[static_cast<size_t>(*index)] : Value();
  }
  if (const auto* range = value.If<std::shared_ptr<const Range>>(); range != nullptr && key.text() == nullptr) {
    const auto index = Index(key, (*range)->size);
    return index ? Value(RangeItem(**range, *index)) : Value();
  }
  if (const Dict* dict = value.dict()) {
    if (key.text() != nullptr) {
      const size_t found = FindTextKey(runtime, dict->entries, key.text()->bytes());
      if (found < dict->entries.size()) return dict->entries[found].second;
    } else if (key.dict() == nullptr && (key.list() == nullptr || key.list()->is_tuple)) {
      const size_t found = FindKey(runtime, dict->entries, key);
      return found < dict->entries.size() ? dict->entries[found].second : Value();
    }
  }
  const Text* name = key.text();
  if (name == nullptr) return {};
  Value found = GetAttribute(runtime, value, name->bytes());
  return found;
}

Value GetSlice(Runtime& runtime, const Value& value, const Value* start, const Value* stop, const Value* step) {
  if (value.IsUndefined()) return UndefinedUse(runtime, value);
  const Text* text = value.text();
  const List* list = value.list();
  const auto* range = value.If<std::shared_ptr<const Range>>();
  if (text == nullptr && list == nullptr && range == nullptr) {
    return runtime.Fail("a " + std::string(TypeName(value)) + " has no slices");
  }
  const auto length = Length(runtime, value);
  const SliceRange slice = Indices(runtime, start, stop, step, *length);
  if (!runtime.ok()) return {};
  if (text != nullptr) return TextSlice(runtime, *text, slice);
  if (range != nullptr) return runtime.Unsupported("a slice of a range");
  if (!runtime.Step(slice.count) || !runtime.RoomInMemory(static_cast<size_t>(slice.count) * sizeof(Value))) return {};
  std::vector<Value> items;
  for (int64_t i = 0; i < slice.count; ++i) {
    items.push_back(list->items[static_cast<size_t>(slice.first + i * slice.step)]);
  }
  return list->is_tuple ? runtime.NewTuple(std::move(items)) : runtime.NewList(std::move(items));
}

AttributePath::AttributePath(Runtime& runtime, const Value* attribute) {
  if (attribute == nullptr || attribute->IsNone()) return;
  const Text* path = attribute->text();
  if (path == nullptr) {
    parts_.push_back(*attribute);
    return;
  }
  const std::string_view text = path->bytes();
  if (!runtime.Work(text.size() * 8)) return;
  for (size_t begin = 0; begin <= text.size() && runtime.ok();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const bool is_number =
        !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    int64_t number = 0;
    if (is_number && ParseInteger(part, 10, &number) == NumberFault::kNone) {
      runtime.Step();
      parts_.push_back(number);
    } else {
      parts_.push_back(runtime.NewText(part));
    }
    begin = end + 1;
  }
}

Value AttributePath::Get(Runtime& runtime, Value value, const Value* otherwise) const {
  for (const Value& part : parts_) {
    if (!runtime.Step()) return {};
    value = GetItem(runtime, value, part);
    if (!runtime.ok()) return {};
    if (otherwise != nullptr && !otherwise->IsNone() && value.IsUndefined()) value = *otherwise;
  }
  return value;
}

}  // namespace cascade::jinja
