// Functions that every template can call.
#include <algorithm>
#include <ctime>
#include <string>
#include <utility>

#include "engine/text/jinja/builtin.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/iteration.h"
#include "engine/text/jinja/printing.h"

namespace cascade::jinja {
namespace {

// As the sandbox of jinja2 bounds it.
constexpr int64_t kMaxRange = 100000;

Value MakeRange(Runtime& runtime, const Value&, const Bound& arguments) {
  const bool has_stop = arguments[1] != nullptr;
  Range range;
  range.start = has_stop ? IntegerArgument(runtime, arguments[0], 0) : 0;
  range.stop = IntegerArgument(runtime, has_stop ? arguments[1] : arguments[0], 0);
  range.step = IntegerArgument(runtime, arguments[2], 1);
  if (runtime.ok() && range.step == 0) return runtime.Fail("range with a step of zero");
  if (!runtime.ok()) return {};
  using Wide = __int128;
  const Wide distance = range.step > 0 ? Wide{range.stop} - range.start : Wide{range.start} - range.stop;
  const Wide step = range.step > 0 ? Wide{range.step} : -Wide{range.step};
  const Wide size = distance <= 0 ? Wide{0} : (distance - 1) / step + 1;
  if (size > kMaxRange) return runtime.OverLimit("a range of more than " + std::to_string(kMaxRange) + " items");
  range.size = static_cast<int64_t>(size);
  return std::make_shared<const Range>(range);
}

// What Python's dict(..) is given: a dict or pairs, and names.
std::vector<std::pair<Value, Value>> Entries(Runtime& runtime, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) runtime.Fail("dict and namespace take one argument without a name");
  if (arguments.positional.size() == 1) {
    const Value& source = arguments.positional[0];
    if (const Dict* dict = source.dict()) {
      entries = dict->entries;
    } else {
      for (const Value& item : ToVector(runtime, source)) {
        std::vector<Value> pair = ToVector(runtime, item);
        if (runtime.ok() && pair.size() != 2) runtime.Fail("dict takes pairs");
        if (!runtime.ok()) break;
        entries.emplace_back(std::move(pair[0]), std::move(pair[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.keywords) entries.emplace_back(runtime.NewText(name), value);
  return entries;
}

Value MakeDict(Runtime& runtime, const Value&, const Arguments& arguments) {
  return runtime.NewDict(Entries(runtime, arguments));
}

Value MakeNamespace(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Value dict = runtime.NewDict(Entries(runtime, arguments));
  if (!runtime.ok()) return {};
  for (const auto& [key, value] : dict.dict()->entries) {
    const Text* name = key.text();
    if (name != nullptr && !name->empty() && name->bytes()[0] == '_') {
      return runtime.Fail("a namespace takes no names that begin with '_'");
    }
  }
  return runtime.NewNamespace(dict.dict()->entries);
}

// A client's text does not go into an error.
Value RaiseException(Runtime& runtime, const Value&, const Bound& arguments) {
  const Value message = ToStr(runtime, *arguments[0]);
  if (!runtime.ok()) return {};
  const Text& text = *message.text();
  std::string words;
  for (size_t begin = 0; begin < text.size() && words.size() < 1000;) {
    const size_t end = text.RunEnd(begin);
    words += text.IsContent(begin) ? "..." : text.bytes().substr(begin, std::min<size_t>(end - begin, 1000));
    begin = end;
  }
  return runtime.Raise(words);
}

// `format` as strftime in C takes it and Python would: no zone, no microseconds.
std::string WithoutZone(std::string_view format) {
  std::string plain;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      plain += format[i];
      continue;
    }
    const char directive = format[++i];
    if (directive == 'f') plain += "000000";
    if (directive != 'f' && directive != 'z' && directive != 'Z') plain += {'%', directive};
  }
  return plain;
}

// "%-d" and "%^a" are fine; "%1000000d" is not.
bool HasWidth(std::string_view format) {
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    ++i;
    while (i < format.size() && std::string_view("-_^#").find(format[i]) != std::string_view::npos) ++i;
    if (i < format.size() && ((format[i] >= '0' && format[i] <= '9') || format[i] == '+')) return true;
  }
  return false;
}

Value StrftimeNow(Runtime& runtime, const Value&, const Bound& arguments) {
  const Text* format = arguments[0]->text();
  if (format == nullptr) return runtime.Fail("strftime_now takes a str, not " + std::string(TypeName(*arguments[0])));
  constexpr size_t kMaxFormat = 256;
  if (format->size() > kMaxFormat) return runtime.OverLimit("a format of more than 256 bytes");
  if (!runtime.Step(static_cast<int64_t>(format->size()))) return {};
  if (HasWidth(format->bytes())) return runtime.Unsupported("a width in strftime_now");
  const std::string plain = WithoutZone(format->bytes()) + " ";  // a result of no bytes would read as an error
  const std::time_t now = runtime.now();
  std::tm time = {};
  char buffer[64 * kMaxFormat];
  if (gmtime_r(&now, &time) == nullptr) return runtime.Fail("the time cannot be told");
  const size_t size = std::strftime(buffer, sizeof(buffer), plain.c_str(), &time);
  if (size == 0) return runtime.Fail("strftime_now cannot use its format");
  return runtime.NewText(Text(std::string_view(buffer, size - 1), !format->content().empty()));
}

constexpr Builtin kFunctions[] = {
    {.name = "range",
     .required = 1,
     .parameters = {"start", "stop", "step"},
     .run = MakeRange,
     .positional_only = true},
    {.name = "dict", .run_any = MakeDict},
    {.name = "namespace", .run_any = MakeNamespace},
    {.name = "raise_exception", .required = 1, .parameters = {"message"}, .run = RaiseException},
    {.name = "strftime_now", .required = 1, .parameters = {"format"}, .run = StrftimeNow},
};

}  // namespace

const Builtin* FindFunction(std::string_view name) { return FindBuiltin(kFunctions, name); }

}  // namespace cascade::jinja
