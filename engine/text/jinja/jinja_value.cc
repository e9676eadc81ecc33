#include "engine/text/jinja/jinja_value.h"

#include <algorithm>

#include "engine/text/jinja/builtin.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/macro.h"

namespace cascade::jinja {

const Text* Value::text() const {
  const auto* string = If<std::shared_ptr<const String>>();
  return string == nullptr ? nullptr : &(*string)->text;
}

const List* Value::list() const {
  const auto* list = If<std::shared_ptr<const List>>();
  return list == nullptr ? nullptr : list->get();
}

const Dict* Value::dict() const {
  const auto* dict = If<std::shared_ptr<const Dict>>();
  return dict == nullptr ? nullptr : dict->get();
}

std::string_view TypeName(const Value& value) {
  if (value.IsUndefined()) return "undefined";
  if (value.IsNone()) return "NoneType";
  if (value.Is<bool>()) return "bool";
  if (value.Is<int64_t>()) return "int";
  if (value.Is<double>()) return "float";
  if (value.text() != nullptr) return "str";
  if (const List* list = value.list()) return list->is_tuple ? "tuple" : "list";
  if (value.dict() != nullptr) return "dict";
  if (value.Is<std::shared_ptr<const DictView>>()) return "dict view";
  if (value.Is<std::shared_ptr<const Range>>()) return "range";
  if (value.Is<std::shared_ptr<Stream>>()) return "generator";
  if (value.Is<std::shared_ptr<Namespace>>()) return "namespace";
  if (value.Is<std::shared_ptr<const Macro>>()) return "macro";
  if (value.Is<std::shared_ptr<Loop>>()) return "loop";
  return "function";
}

bool IsTrue(const Value& value) {
  if (value.IsUndefined() || value.IsNone()) return false;
  if (const bool* flag = value.If<bool>()) return *flag;
  if (const int64_t* integer = value.If<int64_t>()) return *integer != 0;
  if (const double* number = value.If<double>()) return *number != 0;
  if (const Text* text = value.text()) return !text->empty();
  if (const List* list = value.list()) return !list->items.empty();
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  if (const auto* view = value.If<std::shared_ptr<const DictView>>()) return !(*view)->dict->entries.empty();
  if (const auto* range = value.If<std::shared_ptr<const Range>>()) return (*range)->size != 0;
  return true;
}

int DepthOf(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  if (const auto* view = value.If<std::shared_ptr<const DictView>>()) return (*view)->dict->depth + 1;
  if (const auto* stream = value.If<std::shared_ptr<Stream>>()) return (*stream)->depth;
  if (const auto* method = value.If<std::shared_ptr<const Method>>()) return DepthOf((*method)->self) + 1;
  return 0;
}

Value FreeText(Text text) {
  auto string = std::make_shared<String>();
  string->text = std::move(text);
  return std::shared_ptr<const String>(std::move(string));
}

Value FreeList(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = std::max(list->depth, DepthOf(item) + 1);
  list->items = std::move(items);
  return std::shared_ptr<const List>(std::move(list));
}

Value FreeDict(std::vector<std::pair<Value, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) dict->depth = std::max({dict->depth, DepthOf(key) + 1, DepthOf(value) + 1});
  dict->entries = std::move(entries);
  return std::shared_ptr<const Dict>(std::move(dict));
}

}  // namespace cascade::jinja
