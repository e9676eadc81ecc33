#include "engine/text/jinja/methods.h"

#include <algorithm>
#include <string>

#include "engine/text/jinja/attributes.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

Value DictGet(Runtime& runtime, const Value& self, const Bound& arguments) {
  const auto& entries = self.dict()->entries;
  const size_t found = FindKey(runtime, entries, *arguments[0]);
  if (found < entries.size()) return entries[found].second;
  return arguments[1] != nullptr ? *arguments[1] : Value(None());
}

Value View(const Value& self, DictView::Part part) {
  return std::make_shared<const DictView>(DictView{*self.If<std::shared_ptr<const Dict>>(), part});
}
Value DictKeys(Runtime&, const Value& self, const Bound&) { return View(self, DictView::Part::kKeys); }
Value DictValues(Runtime&, const Value& self, const Bound&) { return View(self, DictView::Part::kValues); }
Value DictItems(Runtime&, const Value& self, const Bound&) { return View(self, DictView::Part::kItems); }
// Nothing can change either of the two.
Value Copy(Runtime&, const Value& self, const Bound&) { return self; }

Value ListCount(Runtime& runtime, const Value& self, const Bound& arguments) {
  int64_t count = 0;
  for (const Value& item : self.list()->items) count += Equal(runtime, item, *arguments[0]) ? 1 : 0;
  return count;
}

Value ListIndex(Runtime& runtime, const Value& self, const Bound& arguments) {
  const auto& items = self.list()->items;
  for (size_t i = 0; i < items.size() && runtime.ok(); ++i) {
    if (Equal(runtime, items[i], *arguments[0])) return static_cast<int64_t>(i);
  }
  return runtime.Fail("list.index: the value is not in the list");
}

constexpr Builtin kDictMethods[] = {
    {.name = "get", .required = 1, .parameters = {"key", "default"}, .run = DictGet, .positional_only = true},
    {.name = "keys", .run = DictKeys},
    {.name = "values", .run = DictValues},
    {.name = "items", .run = DictItems},
    {.name = "copy", .run = Copy}};

constexpr Builtin kListMethods[] = {
    {.name = "count", .required = 1, .parameters = {"value"}, .run = ListCount, .positional_only = true},
    {.name = "index", .required = 1, .parameters = {"value"}, .run = ListIndex, .positional_only = true},
    {.name = "copy", .run = Copy}};

constexpr std::string_view kOtherOfText[] = {
    "casefold",     "center",    "encode",      "expandtabs", "format",  "format_map", "isascii",   "isdecimal",
    "isidentifier", "isnumeric", "isprintable", "istitle",    "ljust",   "maketrans",  "partition", "rjust",
    "rpartition",   "swapcase",  "translate",   "zfill",      "isalnum", "isalpha"};
constexpr std::string_view kOtherOfNumbers[] = {
    "real",       "imag",       "numerator", "denominator",      "conjugate",
    "bit_length", "is_integer", "hex",       "as_integer_ratio", "to_bytes",
    "bit_count",  "from_bytes", "fromhex"};
constexpr std::string_view kOtherOfMacros[] = {"name",          "arguments", "catch_kwargs",
                                               "catch_varargs", "caller",    "explicit_caller"};

bool Has(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const Builtin* FindMethod(const Value& value, std::string_view name) {
  if (value.text() != nullptr) return FindBuiltin(TextMethods(), name);
  if (value.dict() != nullptr) return FindBuiltin(kDictMethods, name);
  const List* list = value.list();
  if (list == nullptr || (list->is_tuple && name == "copy")) return nullptr;
  return FindBuiltin(kListMethods, name);
}

bool IsOtherAttribute(const Value& value, std::string_view name) {
  if (value.text() != nullptr) return Has(kOtherOfText, name);
  if (value.dict() != nullptr) return name == "fromkeys";
  if (value.IsNumber()) return Has(kOtherOfNumbers, name);
  if (value.Is<std::shared_ptr<const Macro>>()) return Has(kOtherOfMacros, name);
  if (value.Is<std::shared_ptr<const DictView>>()) return name == "mapping" || name == "isdisjoint";
  if (value.Is<std::shared_ptr<Stream>>()) return name == "send" || name == "close" || name == "throw";
  return value.Is<const Builtin*>() && name == "fromkeys";
}

bool IsMethodName(std::string_view name) {
  return FindBuiltin(TextMethods(), name) != nullptr || FindBuiltin(kDictMethods, name) != nullptr ||
         FindBuiltin(kListMethods, name) != nullptr || IsHiddenMethod(name) || name == "cycle" || name == "changed";
}

}  // namespace cascade::jinja
