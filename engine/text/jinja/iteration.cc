#include "engine/text/jinja/iteration.h"

#include <string>
#include <utility>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {

int64_t RangeItem(const Range& range, int64_t index) { return range.start + index * range.step; }

bool IsIterable(const Value& value) {
  return value.IsUndefined() || value.text() != nullptr || value.list() != nullptr || value.dict() != nullptr ||
         value.Is<std::shared_ptr<const DictView>>() || value.Is<std::shared_ptr<const Range>>() ||
         value.Is<std::shared_ptr<Stream>>();
}

std::optional<int64_t> Length(Runtime& runtime, const Value& value) {
  if (value.IsUndefined()) return 0;
  if (const Text* text = value.text()) {
    return runtime.WorkOnCodePoints(text->size()) ? static_cast<int64_t>(CountCodePoints(text->bytes())) : 0;
  }
  if (const List* list = value.list()) return list->items.size();
  if (const Dict* dict = value.dict()) return dict->entries.size();
  if (const auto* view = value.If<std::shared_ptr<const DictView>>()) return (*view)->dict->entries.size();
  if (const auto* range = value.If<std::shared_ptr<const Range>>()) return (*range)->size;
  return std::nullopt;
}

ValueIterator::ValueIterator(Runtime& runtime, Value source) : runtime_(runtime), source_(std::move(source)) {
  if (!IsIterable(source_)) runtime_.Fail("a " + std::string(TypeName(source_)) + " is not iterable");
}

bool ValueIterator::NextOfText(const Text& text, Value* item) {
  if (next_ == text.size()) return false;
  const size_t begin = next_;
  NextCodePoint(text.bytes(), &next_);
  *item = runtime_.NewText(text.Slice(begin, next_));
  return runtime_.ok();
}

bool ValueIterator::Next(Value* item) {
  if (!runtime_.Step()) return false;
  if (const Text* text = source_.text()) return NextOfText(*text, item);
  const size_t index = next_++;
  if (const List* list = source_.list()) {
    if (index >= list->items.size()) return false;
    *item = list->items[index];
    return true;
  }
  if (const Dict* dict = source_.dict()) {
    if (index >= dict->entries.size()) return false;
    *item = dict->entries[index].first;
    return true;
  }
  if (const auto* view = source_.If<std::shared_ptr<const DictView>>()) {
    const auto& entries = (*view)->dict->entries;
    if (index >= entries.size()) return false;
    switch ((*view)->part) {
      case DictView::Part::kKeys:
        *item = entries[index].first;
        break;
      case DictView::Part::kValues:
        *item = entries[index].second;
        break;
      case DictView::Part::kItems:
        *item = runtime_.NewTuple({entries[index].first, entries[index].second});
        break;
    }
    return runtime_.ok();
  }
  if (const auto* range = source_.If<std::shared_ptr<const Range>>()) {
    if (static_cast<int64_t>(index) >= (*range)->size) return false;
    *item = RangeItem(**range, static_cast<int64_t>(index));
    return true;
  }
  if (const auto* stream = source_.If<std::shared_ptr<Stream>>()) {
    if ((*stream)->next == (*stream)->items.size()) return false;
    *item = std::move((*stream)->items[(*stream)->next++]);
    return true;
  }
  return false;
}

std::vector<Value> ToVector(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  ValueIterator iterator(runtime, value);
  for (Value item; iterator.Next(&item);) items.push_back(std::move(item));
  if (!runtime.ok()) items.clear();
  return items;
}

}  // namespace cascade::jinja
