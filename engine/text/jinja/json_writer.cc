#include "engine/text/jinja/json_writer.h"

#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/code_points.h"
#include "engine/text/jinja/comparison.h"
#include "engine/text/jinja/printing.h"
#include "engine/text/jinja/runtime.h"

namespace cascade::jinja {
namespace {

std::string Unicode(unsigned code_unit) {
  char escape[8];
  std::snprintf(escape, sizeof(escape), "\\u%04x", code_unit);
  return escape;
}

bool IsPlain(char byte) { return byte >= ' ' && byte < 0x7F && byte != '"' && byte != '\\'; }

std::string EscapeForJson(char32_t c, bool ensure_ascii) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      break;
  }
  if (c < 0x20) return Unicode(c);
  if (c < 0x7F || !ensure_ascii) return "";
  if (c < 0x10000) return Unicode(c);
  return Unicode(0xD800 + ((c - 0x10000) >> 10)) + Unicode(0xDC00 + ((c - 0x10000) & 0x3FF));
}

class JsonWriter {
 public:
  JsonWriter(Runtime* runtime, const JsonStyle& style) : runtime_(*runtime), style_(style), out_(runtime) {}

  bool Write(const Value& value, int level) {
    if (!runtime_.Step()) return false;
    if (value.IsNone()) return out_.Append("null");
    if (const bool* flag = value.If<bool>()) return out_.Append(*flag ? "true" : "false");
    if (const int64_t* integer = value.If<int64_t>()) return out_.Append(std::to_string(*integer));
    if (const double* number = value.If<double>()) return WriteNumber(*number);
    if (const Text* text = value.text()) return WriteText(*text);
    if (const List* list = value.list()) return WriteList(*list, level);
    if (const Dict* dict = value.dict()) return WriteDict(*dict, level);
    runtime_.Fail("a " + std::string(TypeName(value)) + " cannot be written as JSON");
    return false;
  }

  Value Finish() { return out_.Finish(); }

 private:
  bool WriteNumber(double number) {
    if (std::isnan(number)) return out_.Append("NaN");
    if (std::isinf(number)) return out_.Append(number < 0 ? "-Infinity" : "Infinity");
    return out_.Append(FloatRepr(number));
  }

  bool WriteText(const Text& text) {
    const std::string& bytes = text.bytes();
    if (!runtime_.WorkOnCodePoints(bytes.size())) return false;
    out_.Append("\"");
    size_t done = 0;
    for (size_t i = 0; i < bytes.size() && runtime_.ok();) {
      const size_t begin = i;
      if (IsPlain(bytes[i])) {
        ++i;
        continue;
      }
      const std::string escape = EscapeForJson(NextCodePoint(bytes, &i), style_.ensure_ascii);
      if (escape.empty()) continue;
      runtime_.Work(64);
      out_.Append(text, done, begin);
      out_.Append(escape, text.IsContent(begin));
      done = i;
    }
    out_.Append(text, done, bytes.size());
    return out_.Append("\"");
  }

  bool NewLine(int level) {
    if (!style_.is_indented) return true;
    out_.Append("\n");
    for (int i = 0; i < level && runtime_.ok(); ++i) out_.Append(style_.indent);
    return runtime_.ok();
  }

  bool WriteList(const List& list, int level) {
    if (list.items.empty()) return out_.Append("[]");
    out_.Append("[");
    for (size_t i = 0; i < list.items.size() && runtime_.ok(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(level + 1);
      Write(list.items[i], level + 1);
    }
    NewLine(level);
    return out_.Append("]");
  }

  bool WriteKey(const Value& key) {
    if (key.text() != nullptr) return WriteText(*key.text());
    if (!key.IsNone() && !key.IsNumber()) {
      runtime_.Fail("a " + std::string(TypeName(key)) + " cannot be a key of JSON");
      return false;
    }
    out_.Append("\"");
    Write(key, 0);
    return out_.Append("\"");
  }

  bool WriteDict(const Dict& dict, int level) {
    if (dict.entries.empty()) return out_.Append("{}");
    std::vector<Value> order;
    for (size_t i = 0; i < dict.entries.size(); ++i) order.push_back(static_cast<int64_t>(i));
    if (style_.sort_keys) {
      std::vector<Value> keys;
      for (const auto& entry : dict.entries) keys.push_back(entry.first);
      Sort(runtime_, keys, false, &order);
    }
    out_.Append("{");
    for (size_t i = 0; i < order.size() && runtime_.ok(); ++i) {
      const auto& [key, value] = dict.entries[static_cast<size_t>(*order[i].If<int64_t>())];
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(level + 1);
      WriteKey(key);
      out_.Append(style_.key_separator);
      Write(value, level + 1);
    }
    NewLine(level);
    return out_.Append("}");
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  TextMaker out_;
};

}  // namespace

Value ToJson(Runtime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(&runtime, style);
  writer.Write(value, 0);
  return writer.Finish();
}

}  // namespace cascade::jinja
