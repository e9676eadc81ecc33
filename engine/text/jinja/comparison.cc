#include "engine/text/jinja/comparison.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

// Numbers as Python compares them: exactly, whatever their kinds. long double holds every int64 and every double.
static_assert(sizeof(long double) > sizeof(double));
long double Number(const Value& value) {
  if (const bool* flag = value.If<bool>()) return *flag ? 1 : 0;
  if (const int64_t* integer = value.If<int64_t>()) return static_cast<long double>(*integer);
  return *value.If<double>();
}

// False also after a failure.
bool IsHashable(Runtime& runtime, const Value& value) {
  if (value.dict() != nullptr) return false;
  const List* list = value.list();
  if (list == nullptr) return true;
  if (!list->is_tuple) return false;
  return std::all_of(list->items.begin(), list->items.end(),
                     [&](const Value& item) { return runtime.Step() && IsHashable(runtime, item); });
}

template <typename T>
bool SamePointer(const Value& left, const Value& right) {
  const T* a = left.If<T>();
  const T* b = right.If<T>();
  return a != nullptr && b != nullptr && *a == *b;
}

bool IsSameObject(const Value& left, const Value& right) {
  return SamePointer<std::shared_ptr<Stream>>(left, right) || SamePointer<std::shared_ptr<Namespace>>(left, right) ||
         SamePointer<std::shared_ptr<const Macro>>(left, right) || SamePointer<std::shared_ptr<Loop>>(left, right) ||
         SamePointer<const Builtin*>(left, right) || SamePointer<std::shared_ptr<const List>>(left, right) ||
         SamePointer<std::shared_ptr<const Dict>>(left, right) ||
         SamePointer<std::shared_ptr<const Range>>(left, right);
}

bool EqualDicts(Runtime& runtime, const Dict& left, const Dict& right) {
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    const size_t i = FindKey(runtime, right.entries, key);
    if (i == right.entries.size() || !Equal(runtime, value, right.entries[i].second)) return false;
  }
  return true;
}

bool EqualRanges(const Range& left, const Range& right) {
  if (left.size != right.size) return false;
  return left.size == 0 || (left.start == right.start && (left.size == 1 || left.step == right.step));
}

// Fails with the operator's message, or compares with `or_equal`.
bool Ordered(Runtime& runtime, const Value& left, const Value& right, bool or_equal) {
  if (!runtime.Step()) return false;
  if (left.IsNumber() && right.IsNumber()) {
    return or_equal ? Number(left) <= Number(right) : Number(left) < Number(right);
  }
  const Text *a = left.text(), *b = right.text();
  if (a != nullptr && b != nullptr) {
    if (!runtime.Work(std::min(a->size(), b->size()))) return false;
    // The order of UTF-8 bytes is that of code points.
    return or_equal ? a->bytes() <= b->bytes() : a->bytes() < b->bytes();
  }
  const List *c = left.list(), *d = right.list();
  if (c != nullptr && d != nullptr && c->is_tuple == d->is_tuple) {
    const size_t common = std::min(c->items.size(), d->items.size());
    for (size_t i = 0; i < common; ++i) {
      if (!Equal(runtime, c->items[i], d->items[i])) return Ordered(runtime, c->items[i], d->items[i], or_equal);
    }
    return or_equal ? c->items.size() <= d->items.size() : c->items.size() < d->items.size();
  }
  if (left.Is<std::shared_ptr<const DictView>>() && right.Is<std::shared_ptr<const DictView>>()) {
    runtime.Unsupported("comparing a dict view");
    return false;
  }
  runtime.Fail("there is no order between " + std::string(TypeName(left)) + " and " + std::string(TypeName(right)));
  return false;
}

}  // namespace

bool Equal(Runtime& runtime, const Value& left, const Value& right) {
  if (!runtime.Step()) return false;
  if (left.IsNumber() && right.IsNumber()) return Number(left) == Number(right);
  if (left.IsUndefined() || left.IsNone()) {
    return left.IsUndefined() ? right.IsUndefined() : right.IsNone();
  }
  const Text *a = left.text(), *b = right.text();
  if (a != nullptr && b != nullptr) {
    if (a->size() != b->size() || !runtime.Work(a->size())) return false;
    return a->bytes() == b->bytes();
  }
  const List *c = left.list(), *d = right.list();
  if (c != nullptr && d != nullptr) {
    if (c->is_tuple != d->is_tuple || c->items.size() != d->items.size()) return false;
    for (size_t i = 0; i < c->items.size(); ++i) {
      if (!Equal(runtime, c->items[i], d->items[i])) return false;
    }
    return true;
  }
  if (left.dict() != nullptr && right.dict() != nullptr) return EqualDicts(runtime, *left.dict(), *right.dict());
  const auto *e = left.If<std::shared_ptr<const Range>>(), *f = right.If<std::shared_ptr<const Range>>();
  if (e != nullptr && f != nullptr) return EqualRanges(**e, **f);
  using View = std::shared_ptr<const DictView>;
  using Bound = std::shared_ptr<const Method>;
  if ((left.Is<View>() && right.Is<View>()) || (left.Is<Bound>() && right.Is<Bound>())) {
    runtime.Unsupported("comparing a " + std::string(TypeName(left)));
    return false;
  }
  return IsSameObject(left, right);
}

bool Less(Runtime& runtime, const Value& left, const Value& right) { return Ordered(runtime, left, right, false); }

bool LessOrEqual(Runtime& runtime, const Value& left, const Value& right) {
  return Ordered(runtime, left, right, true);
}

bool Contains(Runtime& runtime, const Value& container, const Value& item) {
  if (const Text* text = container.text()) {
    const Text* part = item.text();
    if (part == nullptr) {
      runtime.Fail("'in' looks for a str in a str, not for " + std::string(TypeName(item)));
      return false;
    }
    return runtime.Work(WorkOfFind(text->bytes(), part->bytes())) &&
           Find(text->bytes(), part->bytes(), 0) != std::string_view::npos;
  }
  if (const Dict* dict = container.dict()) return FindKey(runtime, dict->entries, item) < dict->entries.size();
  ValueIterator items(runtime, container);
  for (Value other; items.Next(&other);) {
    if (Equal(runtime, item, other)) return true;
  }
  return false;
}

bool Same(Runtime& runtime, const Value& left, const Value& right) {
  if (left.IsNone() || right.IsNone()) return left.IsNone() && right.IsNone();
  const bool *a = left.If<bool>(), *b = right.If<bool>();
  if (a != nullptr || b != nullptr) return a != nullptr && b != nullptr && *a == *b;
  if (TypeName(left) != TypeName(right)) return false;
  if (left.IsNumber() || left.IsUndefined() || left.text() != nullptr) {
    runtime.Unsupported("'sameas' of a " + std::string(TypeName(left)));
    return false;
  }
  return IsSameObject(left, right);
}

size_t FindKey(Runtime& runtime, const std::vector<std::pair<Value, Value>>& entries, const Value& key) {
  if (!IsHashable(runtime, key)) {
    runtime.Fail("a " + std::string(TypeName(key)) + " cannot be a key");
    return entries.size();
  }
  size_t i = 0;
  while (i < entries.size() && runtime.ok() && !Equal(runtime, entries[i].first, key)) ++i;
  return i;
}

size_t FindTextKey(Runtime& runtime, const std::vector<std::pair<Value, Value>>& entries, std::string_view key) {
  if (!runtime.WorkOnNames(entries.size())) return entries.size();
  for (size_t i = 0; i < entries.size(); ++i) {
    const Text* text = entries[i].first.text();
    if (text == nullptr || text->size() != key.size()) continue;
    if (!runtime.Work(key.size())) break;
    if (text->bytes() == key) return i;
  }
  return entries.size();
}

// A merge sort of our own: it stays inside its arrays whatever the comparison answers, also after a failure in it.
void Sort(Runtime& runtime, const std::vector<Value>& keys, bool reverse, std::vector<Value>* items) {
  const size_t size = keys.size();
  std::vector<size_t> order(size), merged(size);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t width = 1; width < size && runtime.ok(); width *= 2) {
    for (size_t begin = 0; begin < size; begin += 2 * width) {
      const size_t middle = std::min(begin + width, size), end = std::min(begin + 2 * width, size);
      size_t left = begin, right = middle;
      for (size_t i = begin; i < end; ++i) {
        bool take_right = left == middle;
        if (!take_right && right < end) {
          const Value &a = keys[order[left]], &b = keys[order[right]];
          take_right = reverse ? Less(runtime, a, b) : Less(runtime, b, a);
        }
        merged[i] = take_right ? order[right++] : order[left++];
      }
    }
    std::swap(order, merged);
  }
  std::vector<Value> sorted;
  sorted.reserve(size);
  for (size_t i : order) sorted.push_back((*items)[i]);
  *items = std::move(sorted);
}

}  // namespace cascade::jinja
