#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/letter_case.h"
#include "engine/text/jinja/methods.h"
#include "engine/text/jinja/text_operations.h"

namespace cascade::jinja {
namespace {

Value Upper(Runtime& runtime, const Value& self, const Bound&) {
  return ChangeCase(runtime, *self.text(), LetterCase::kUpper);
}
Value Lower(Runtime& runtime, const Value& self, const Bound&) {
  return ChangeCase(runtime, *self.text(), LetterCase::kLower);
}
Value Title(Runtime& runtime, const Value& self, const Bound&) {
  return ChangeCase(runtime, *self.text(), LetterCase::kTitle);
}
Value Capitalize(Runtime& runtime, const Value& self, const Bound&) {
  return ChangeCase(runtime, *self.text(), LetterCase::kCapitalize);
}

Value StripBoth(Runtime& runtime, const Value& self, const Bound& arguments) {
  return StripText(runtime, *self.text(), arguments[0], true, true);
}
Value StripLeft(Runtime& runtime, const Value& self, const Bound& arguments) {
  return StripText(runtime, *self.text(), arguments[0], true, false);
}
Value StripRight(Runtime& runtime, const Value& self, const Bound& arguments) {
  return StripText(runtime, *self.text(), arguments[0], false, true);
}

Value Split(Runtime& runtime, const Value& self, const Bound& arguments) {
  return SplitText(runtime, *self.text(), arguments[0], IntegerArgument(runtime, arguments[1], -1), false);
}
Value SplitRight(Runtime& runtime, const Value& self, const Bound& arguments) {
  return SplitText(runtime, *self.text(), arguments[0], IntegerArgument(runtime, arguments[1], -1), true);
}
Value Lines(Runtime& runtime, const Value& self, const Bound& arguments) {
  return runtime.NewList(SplitLines(runtime, *self.text(), FlagArgument(arguments[0], false)));
}

// A text argument; fails when it is something else.
const Text* TextArgument(Runtime& runtime, const char* method, const Value& argument) {
  if (argument.text() == nullptr) {
    runtime.Fail(std::string(method) + " takes a str, not " + std::string(TypeName(argument)));
  }
  return argument.text();
}

Value Replace(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Text* old = TextArgument(runtime, "replace", *arguments[0]);
  const Text* replacement = TextArgument(runtime, "replace", *arguments[1]);
  const int64_t count = IntegerArgument(runtime, arguments[2], -1);
  if (!runtime.ok()) return {};
  return ReplaceText(runtime, *self.text(), *old, *replacement, count);
}

Value Join(Runtime& runtime, const Value& self, const Bound& arguments) {
  return JoinTexts(runtime, *self.text(), *arguments[0], false);
}

// The bytes of the code points [start, end) that the arguments `at` and `at + 1` name.
struct Window {
  size_t begin = 0, end = 0;
  bool is_valid = false;  // false where Python's start lies behind the end
};
Window WindowOf(Runtime& runtime, const Text& text, const Bound& arguments, size_t at) {
  Window window{0, text.size(), runtime.ok()};
  const bool has_start = arguments[at] != nullptr && !arguments[at]->IsNone();
  const bool has_end = arguments[at + 1] != nullptr && !arguments[at + 1]->IsNone();
  if (!has_start && !has_end) return window;
  window.is_valid = runtime.WorkOnCodePoints(text.size() * 3);
  if (!window.is_valid) return window;
  const int64_t size = static_cast<int64_t>(CountCodePoints(text.bytes()));
  std::array<int64_t, 2> bounds = {has_start ? IntegerArgument(runtime, arguments[at], 0) : 0,
                                   has_end ? IntegerArgument(runtime, arguments[at + 1], size) : size};
  for (int64_t& bound : bounds) bound = bound < 0 ? std::max<int64_t>(bound + size, 0) : bound;
  bounds[1] = std::min(bounds[1], size);
  window.is_valid = runtime.ok() && bounds[0] <= bounds[1];
  if (!window.is_valid) return window;
  window.begin = ByteOfCodePoint(text.bytes(), static_cast<size_t>(bounds[0]));
  window.end = ByteOfCodePoint(text.bytes(), static_cast<size_t>(bounds[1]));
  return window;
}

Value HasAffix(Runtime& runtime, const Value& self, const Bound& arguments, bool at_start) {
  const Window window = WindowOf(runtime, *self.text(), arguments, 1);
  const List* list = arguments[0]->list();
  const bool is_tuple = list != nullptr && list->is_tuple;
  const size_t count = is_tuple ? list->items.size() : 1;
  const std::string_view text = std::string_view(self.text()->bytes()).substr(window.begin, window.end - window.begin);
  for (size_t i = 0; i < count; ++i) {
    const Text* affix =
        TextArgument(runtime, at_start ? "startswith" : "endswith", is_tuple ? list->items[i] : *arguments[0]);
    if (affix == nullptr || !runtime.Work(std::min(affix->size(), text.size()))) return {};
    if (!window.is_valid || affix->size() > text.size()) continue;
    const size_t at = at_start ? 0 : text.size() - affix->size();
    if (text.substr(at, affix->size()) == affix->bytes()) return true;
  }
  return false;
}
Value StartsWith(Runtime& runtime, const Value& self, const Bound& arguments) {
  return HasAffix(runtime, self, arguments, true);
}
Value EndsWith(Runtime& runtime, const Value& self, const Bound& arguments) {
  return HasAffix(runtime, self, arguments, false);
}

// The code point at which the argument is found, or -1.
Value FindIn(Runtime& runtime, const Value& self, const Bound& arguments, bool from_right) {
  const Text* needle = TextArgument(runtime, "find", *arguments[0]);
  const Window window = WindowOf(runtime, *self.text(), arguments, 1);
  if (!runtime.ok() || !window.is_valid) return int64_t{-1};
  const std::string_view text = std::string_view(self.text()->bytes()).substr(window.begin, window.end - window.begin);
  const size_t work = from_right ? WorkOfFindFromRight(text, needle->bytes()) : WorkOfFind(text, needle->bytes());
  if (!runtime.Work(work)) return {};
  const size_t found = from_right ? text.rfind(needle->bytes()) : Find(text, needle->bytes(), 0);
  if (found == std::string_view::npos) return int64_t{-1};
  if (!runtime.WorkOnCodePoints(window.begin + found)) return {};
  return static_cast<int64_t>(CountCodePoints(std::string_view(self.text()->bytes()).substr(0, window.begin + found)));
}
Value FindLeft(Runtime& runtime, const Value& self, const Bound& arguments) {
  return FindIn(runtime, self, arguments, false);
}
Value FindRight(Runtime& runtime, const Value& self, const Bound& arguments) {
  return FindIn(runtime, self, arguments, true);
}
Value IndexLeft(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value found = FindIn(runtime, self, arguments, false);
  return runtime.ok() && *found.If<int64_t>() < 0 ? runtime.Fail("index: the text is not found") : found;
}
Value IndexRight(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value found = FindIn(runtime, self, arguments, true);
  return runtime.ok() && *found.If<int64_t>() < 0 ? runtime.Fail("rindex: the text is not found") : found;
}

Value Count(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Text* needle = TextArgument(runtime, "count", *arguments[0]);
  const Window window = WindowOf(runtime, *self.text(), arguments, 1);
  if (!runtime.ok() || !window.is_valid) return int64_t{0};
  const std::string_view text = std::string_view(self.text()->bytes()).substr(window.begin, window.end - window.begin);
  if (!runtime.Work(WorkOfFind(text, needle->bytes()))) return {};
  if (needle->empty()) return static_cast<int64_t>(CountCodePoints(text)) + 1;
  int64_t count = 0;
  for (size_t i = Find(text, needle->bytes(), 0); i != std::string_view::npos && runtime.Work(0);
       i = Find(text, needle->bytes(), i + needle->size())) {
    ++count;
  }
  return count;
}

Value RemoveAffix(Runtime& runtime, const Value& self, const Bound& arguments, bool at_start) {
  const Text& text = *self.text();
  const Text* affix = TextArgument(runtime, at_start ? "removeprefix" : "removesuffix", *arguments[0]);
  if (affix == nullptr || !runtime.Work(std::min(affix->size(), text.size()))) return {};
  const size_t at = at_start ? 0 : text.size() - std::min(text.size(), affix->size());
  if (affix->size() > text.size() || text.bytes().compare(at, affix->size(), affix->bytes()) != 0) return self;
  TextMaker maker(&runtime);
  maker.Append(text, at_start ? affix->size() : 0, at_start ? text.size() : at);
  return maker.Finish();
}
Value RemovePrefix(Runtime& runtime, const Value& self, const Bound& arguments) {
  return RemoveAffix(runtime, self, arguments, true);
}
Value RemoveSuffix(Runtime& runtime, const Value& self, const Bound& arguments) {
  return RemoveAffix(runtime, self, arguments, false);
}

// Whether all code points are as wanted, and there is one.
template <typename Wanted>
Value All(Runtime& runtime, const Value& self, const Wanted& wanted) {
  const std::string& bytes = self.text()->bytes();
  if (!runtime.WorkOnCodePoints(bytes.size())) return {};
  for (size_t i = 0; i < bytes.size();) {
    const char32_t c = NextCodePoint(bytes, &i);
    if (!wanted(c)) return false;
  }
  return !bytes.empty();
}
Value IsSpaceMethod(Runtime& runtime, const Value& self, const Bound&) { return All(runtime, self, IsSpace); }
Value IsDigitMethod(Runtime& runtime, const Value& self, const Bound&) {
  return All(runtime, self, [&](char32_t c) {
    if (c >= 0x80) runtime.Unsupported("isdigit of a text that is not ASCII");
    return c >= '0' && c <= '9';
  });
}

Value IsCase(Runtime& runtime, const Value& self, bool upper) {
  const std::string& bytes = self.text()->bytes();
  if (!WorkOnLetters(runtime, bytes)) return {};
  bool is_any = false;
  for (size_t i = 0; i < bytes.size();) {
    const char32_t c = NextCodePoint(bytes, &i);
    if (upper ? IsLowerLetter(c) : IsUpperLetter(c)) return false;
    is_any = is_any || (upper ? IsUpperLetter(c) : IsLowerLetter(c));
  }
  return is_any;
}
Value IsUpper(Runtime& runtime, const Value& self, const Bound&) { return IsCase(runtime, self, true); }
Value IsLower(Runtime& runtime, const Value& self, const Bound&) { return IsCase(runtime, self, false); }

#define CASCADE_WINDOWED(text, code) \
  { .name = text, .required = 1, .parameters = {"sub", "start", "end"}, .run = code, .positional_only = true }
#define CASCADE_STRIP(text, code) \
  { .name = text, .parameters = {"chars"}, .run = code, .positional_only = true }

constexpr Builtin kMethods[] = {
    {.name = "upper", .run = Upper},
    {.name = "lower", .run = Lower},
    {.name = "title", .run = Title},
    {.name = "capitalize", .run = Capitalize},
    CASCADE_STRIP("strip", StripBoth),
    CASCADE_STRIP("lstrip", StripLeft),
    CASCADE_STRIP("rstrip", StripRight),
    {.name = "split", .parameters = {"sep", "maxsplit"}, .run = Split},
    {.name = "rsplit", .parameters = {"sep", "maxsplit"}, .run = SplitRight},
    {.name = "splitlines", .parameters = {"keepends"}, .run = Lines},
    {.name = "replace", .required = 2, .parameters = {"old", "new", "count"}, .run = Replace, .positional_only = true},
    {.name = "join", .required = 1, .parameters = {"iterable"}, .run = Join, .positional_only = true},
    CASCADE_WINDOWED("startswith", StartsWith),
    CASCADE_WINDOWED("endswith", EndsWith),
    CASCADE_WINDOWED("find", FindLeft),
    CASCADE_WINDOWED("rfind", FindRight),
    CASCADE_WINDOWED("index", IndexLeft),
    CASCADE_WINDOWED("rindex", IndexRight),
    CASCADE_WINDOWED("count", Count),
    {.name = "removeprefix", .required = 1, .parameters = {"prefix"}, .run = RemovePrefix, .positional_only = true},
    {.name = "removesuffix", .required = 1, .parameters = {"suffix"}, .run = RemoveSuffix, .positional_only = true},
    {.name = "isspace", .run = IsSpaceMethod},
    {.name = "isdigit", .run = IsDigitMethod},
    {.name = "isupper", .run = IsUpper},
    {.name = "islower", .run = IsLower},
};

#undef CASCADE_WINDOWED
#undef CASCADE_STRIP

}  // namespace

std::span<const Builtin> TextMethods() { return kMethods; }

}  // namespace cascade::jinja
