#include "engine/text/jinja/printing.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/macro.h"
#include "engine/text/jinja/runtime.h"
#include "engine/text/jinja/syntax.h"

namespace cascade::jinja {
namespace {

std::string EscapeForRepr(char32_t c, char quote) {
  if (c == static_cast<unsigned char>(quote) || c == '\\') return {'\\', static_cast<char>(c)};
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  if (IsPrintable(c)) return "";
  char escape[16];
  std::snprintf(escape, sizeof(escape),
                c < 0x100     ? "\\x%02x"
                : c < 0x10000 ? "\\u%04x"
                              : "\\U%08x",
                static_cast<unsigned>(c));
  return escape;
}

bool AppendTextRepr(Runtime& runtime, const Text& text, TextMaker* out) {
  const std::string& bytes = text.bytes();
  if (!runtime.Work(bytes.size() * 8)) return false;
  const bool has_single = bytes.find('\'') != std::string::npos;
  const char quote = has_single && bytes.find('"') == std::string::npos ? '"' : '\'';
  out->Append(std::string_view(&quote, 1));
  size_t done = 0;
  for (size_t i = 0; i < bytes.size() && runtime.ok();) {
    const size_t begin = i;
    const std::string escape = EscapeForRepr(NextCodePoint(bytes, &i), quote);
    if (escape.empty()) continue;
    runtime.Work(64);
    out->Append(text, done, begin);
    out->Append(escape, text.IsContent(begin));
    done = i;
  }
  out->Append(text, done, bytes.size());
  return out->Append(std::string_view(&quote, 1));
}

bool AppendItems(Runtime& runtime, const std::vector<Value>& items, std::string_view open, std::string_view close,
                 TextMaker* out) {
  out->Append(open);
  for (size_t i = 0; i < items.size() && runtime.ok(); ++i) {
    if (i > 0) out->Append(", ");
    AppendRepr(runtime, items[i], out);
  }
  return out->Append(close);
}

bool AppendEntries(Runtime& runtime, const std::vector<std::pair<Value, Value>>& entries, TextMaker* out) {
  out->Append("{");
  for (size_t i = 0; i < entries.size() && runtime.ok(); ++i) {
    if (i > 0) out->Append(", ");
    AppendRepr(runtime, entries[i].first, out);
    out->Append(": ");
    AppendRepr(runtime, entries[i].second, out);
  }
  return out->Append("}");
}

bool AppendView(Runtime& runtime, const DictView& view, TextMaker* out) {
  const bool keys = view.part == DictView::Part::kKeys, values = view.part == DictView::Part::kValues;
  out->Append(keys ? "dict_keys([" : values ? "dict_values([" : "dict_items([");
  const auto& entries = view.dict->entries;
  for (size_t i = 0; i < entries.size() && runtime.ok(); ++i) {
    if (i > 0) out->Append(", ");
    if (!keys && !values) out->Append("(");
    if (!values) AppendRepr(runtime, entries[i].first, out);
    if (!keys && !values) out->Append(", ");
    if (!keys) AppendRepr(runtime, entries[i].second, out);
    if (!keys && !values) out->Append(")");
  }
  return out->Append("])");
}

bool AppendRange(const Range& range, TextMaker* out) {
  out->Append("range(" + std::to_string(range.start) + ", " + std::to_string(range.stop));
  if (range.step != 1) out->Append(", " + std::to_string(range.step));
  return out->Append(")");
}

bool AppendNamespace(Runtime& runtime, const Namespace& space, TextMaker* out) {
  out->Append("<Namespace ");
  AppendEntries(runtime, space.entries, out);
  return out->Append(">");
}

bool AppendContainer(Runtime& runtime, const Value& value, TextMaker* out) {
  if (const List* list = value.list()) {
    if (!list->is_tuple) return AppendItems(runtime, list->items, "[", "]", out);
    return AppendItems(runtime, list->items, "(", list->items.size() == 1 ? ",)" : ")", out);
  }
  if (const Dict* dict = value.dict()) return AppendEntries(runtime, dict->entries, out);
  if (const auto* view = value.If<std::shared_ptr<const DictView>>()) return AppendView(runtime, **view, out);
  if (const auto* space = value.If<std::shared_ptr<Namespace>>()) return AppendNamespace(runtime, **space, out);
  // Python prints an address here.
  runtime.Unsupported("printing a " + std::string(TypeName(value)));
  return false;
}

}  // namespace

std::string FloatRepr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const size_t e = shortest.find('e');
  int exponent = 0;
  // from_chars takes no plus sign.
  const char* first = buffer + e + (buffer[e + 1] == '+' ? 2 : 1);
  std::from_chars(first, end, exponent);
  const std::string sign = number < 0 || std::signbit(number) ? "-" : "";
  std::string digits;
  for (char c : shortest.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    std::string mantissa = digits.substr(0, 1);
    if (count > 1) mantissa += "." + digits.substr(1);
    const std::string power = std::to_string(std::abs(exponent));
    return sign + mantissa + (exponent < 0 ? "e-" : "e+") + (power.size() < 2 ? "0" : "") + power;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (exponent + 1 >= count) return sign + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  return sign + digits.substr(0, static_cast<size_t>(exponent) + 1) + "." +
         digits.substr(static_cast<size_t>(exponent) + 1);
}

bool AppendRepr(Runtime& runtime, const Value& value, TextMaker* out) {
  if (!runtime.Step()) return false;
  if (value.IsUndefined()) return out->Append("Undefined");
  if (value.IsNone()) return out->Append("None");
  if (const bool* flag = value.If<bool>()) return out->Append(*flag ? "True" : "False");
  if (const int64_t* integer = value.If<int64_t>()) return out->Append(std::to_string(*integer));
  if (const double* number = value.If<double>()) return out->Append(FloatRepr(*number));
  if (const Text* text = value.text()) return AppendTextRepr(runtime, *text, out);
  if (const auto* range = value.If<std::shared_ptr<const Range>>()) return AppendRange(**range, out);
  if (const auto* macro = value.If<std::shared_ptr<const Macro>>()) {
    return out->Append("<Macro '" + *(*macro)->statement->name + "'>");
  }
  if (!runtime.Enter()) return false;  // a namespace may hold itself
  const bool done = AppendContainer(runtime, value, out);
  runtime.Leave();
  return done;
}

bool AppendStr(Runtime& runtime, const Value& value, TextMaker* out) {
  if (const Text* text = value.text()) return out->Append(*text);
  if (value.IsUndefined()) return true;
  return AppendRepr(runtime, value, out);
}

Value ToStr(Runtime& runtime, const Value& value) {
  if (value.text() != nullptr) return value;
  TextMaker maker(&runtime);
  AppendStr(runtime, value, &maker);
  return maker.Finish();
}

}  // namespace cascade::jinja
