#include <algorithm>
#include <string>
#include <utility>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/json_writer.h"
#include "engine/text/jinja/letter_case.h"
#include "engine/text/jinja/printing.h"
#include "engine/text/jinja/text_operations.h"

namespace cascade::jinja {
namespace {

// The filters take any value and begin with its str(). Null after a failure; `*holder` keeps it.
const Text* AsText(Runtime& runtime, const Value& value, Value* holder) {
  *holder = ToStr(runtime, value);
  return holder->text();
}

Value ToCase(Runtime& runtime, const Value& self, LetterCase wanted) {
  Value holder;
  const Text* text = AsText(runtime, self, &holder);
  return text == nullptr ? Value() : ChangeCase(runtime, *text, wanted);
}
Value Upper(Runtime& runtime, const Value& self, const Bound&) { return ToCase(runtime, self, LetterCase::kUpper); }
Value Lower(Runtime& runtime, const Value& self, const Bound&) { return ToCase(runtime, self, LetterCase::kLower); }
Value Title(Runtime& runtime, const Value& self, const Bound&) {
  return ToCase(runtime, self, LetterCase::kTitleFilter);
}
Value Capitalize(Runtime& runtime, const Value& self, const Bound&) {
  return ToCase(runtime, self, LetterCase::kCapitalize);
}
Value AsString(Runtime& runtime, const Value& self, const Bound&) { return ToStr(runtime, self); }

Value Trim(Runtime& runtime, const Value& self, const Bound& arguments) {
  Value holder;
  const Text* text = AsText(runtime, self, &holder);
  return text == nullptr ? Value() : StripText(runtime, *text, arguments[0], true, true);
}

Value Replace(Runtime& runtime, const Value& self, const Bound& arguments) {
  Value text_holder, old_holder, new_holder;
  const Text* text = AsText(runtime, self, &text_holder);
  const Text* old = AsText(runtime, *arguments[0], &old_holder);
  const Text* replacement = AsText(runtime, *arguments[1], &new_holder);
  const bool has_count = arguments[2] != nullptr && !arguments[2]->IsNone();
  const int64_t count = has_count ? IntegerArgument(runtime, arguments[2], -1) : -1;
  if (!runtime.ok()) return {};
  return ReplaceText(runtime, *text, *old, *replacement, count);
}

Value Indent(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (self.text() == nullptr) return runtime.Fail("indent takes a str, not " + std::string(TypeName(self)));
  Text indention;
  if (arguments[0] != nullptr && arguments[0]->text() != nullptr) {
    if (!runtime.Work(arguments[0]->text()->footprint())) return {};
    indention = *arguments[0]->text();
  } else {
    const int64_t width = std::max<int64_t>(IntegerArgument(runtime, arguments[0], 4), 0);
    if (!runtime.RoomForText(static_cast<size_t>(width)) || !runtime.Work(static_cast<size_t>(width))) return {};
    indention = Text(std::string(static_cast<size_t>(width), ' '));
  }
  const bool first = FlagArgument(arguments[1], false), blank = FlagArgument(arguments[2], false);
  // As Python's, which adds a line end before it splits, so that an end of the last line stays.
  TextMaker with_end(&runtime);
  with_end.Append(*self.text());
  with_end.Append("\n");
  const std::vector<Value> lines = SplitLines(runtime, with_end.text(), false);
  TextMaker maker(&runtime);
  for (size_t i = 0; i < lines.size() && runtime.ok(); ++i) {
    const Text& line = *lines[i].text();
    if (i > 0) maker.Append("\n");
    if (i == 0 ? first : (blank || !line.empty())) maker.Append(indention);
    maker.Append(line);
  }
  return maker.Finish();
}

Value Escape(Runtime& runtime, const Value& self, const Bound&) {
  Value holder;
  const Text* text = AsText(runtime, self, &holder);
  if (text == nullptr || !runtime.Work(text->size() * 4)) return {};
  static constexpr std::pair<char, std::string_view> kEscapes[] = {
      {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
  TextMaker maker(&runtime);
  size_t done = 0;
  for (size_t i = 0; i < text->size() && runtime.ok(); ++i) {
    const char c = text->bytes()[i];
    const auto escape = std::find_if(std::begin(kEscapes), std::end(kEscapes), [&](auto& e) { return e.first == c; });
    if (escape == std::end(kEscapes)) continue;
    maker.Append(*text, done, i);
    maker.Append(escape->second, text->IsContent(i));
    done = i + 1;
  }
  maker.Append(*text, done, text->size());
  return maker.Finish();
}

// A text of `levels` as the json module makes it of its argument `indent`.
bool ReadIndent(Runtime& runtime, const Value* argument, JsonStyle* style) {
  style->item_separator = Text(", ");
  style->key_separator = Text(": ");
  if (argument == nullptr || argument->IsNone()) return true;
  style->is_indented = true;
  style->item_separator = Text(",");
  if (argument->text() != nullptr) {
    if (!runtime.Work(argument->text()->footprint())) return false;
    style->indent = *argument->text();
    return true;
  }
  const int64_t width = std::max<int64_t>(IntegerArgument(runtime, argument, 0), 0);
  if (!runtime.RoomForText(static_cast<size_t>(width)) || !runtime.Work(static_cast<size_t>(width))) return false;
  style->indent = Text(std::string(static_cast<size_t>(width), ' '));
  return runtime.ok();
}

Value ToJsonFilter(Runtime& runtime, const Value& self, const Bound& arguments) {
  JsonStyle style;
  style.ensure_ascii = FlagArgument(arguments[0], false);
  style.sort_keys = FlagArgument(arguments[3], false);
  if (!ReadIndent(runtime, arguments[1], &style)) return {};
  if (arguments[2] != nullptr && !arguments[2]->IsNone()) {
    const List* pair = arguments[2]->list();
    if (pair == nullptr || pair->items.size() != 2 || pair->items[0].text() == nullptr ||
        pair->items[1].text() == nullptr) {
      return runtime.Fail("tojson takes a pair of texts as separators");
    }
    if (!runtime.Work(pair->items[0].text()->footprint() + pair->items[1].text()->footprint())) return {};
    style.item_separator = *pair->items[0].text();
    style.key_separator = *pair->items[1].text();
  }
  return ToJson(runtime, self, style);
}

constexpr Builtin kFilters[] = {
    {.name = "trim", .parameters = {"chars"}, .run = Trim},
    {.name = "upper", .run = Upper},
    {.name = "lower", .run = Lower},
    {.name = "title", .run = Title},
    {.name = "capitalize", .run = Capitalize},
    {.name = "string", .run = AsString},
    {.name = "safe", .run = AsString},
    {.name = "escape", .run = Escape},
    {.name = "e", .run = Escape},
    {.name = "replace", .required = 2, .parameters = {"old", "new", "count"}, .run = Replace},
    {.name = "indent", .parameters = {"width", "first", "blank"}, .run = Indent},
    {.name = "tojson", .parameters = {"ensure_ascii", "indent", "separators", "sort_keys"}, .run = ToJsonFilter},
};

}  // namespace

std::span<const Builtin> TextFilters() { return kFilters; }

const Builtin* FindFilter(std::string_view name) {
  for (const auto& table : {TextFilters(), NumberFilters(), SequenceFilters()}) {
    if (const Builtin* filter = FindBuiltin(table, name)) return filter;
  }
  return nullptr;
}

}  // namespace cascade::jinja
