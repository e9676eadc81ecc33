#pragma once

#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

class Runtime;

// As transformers' filter `tojson`: Python's json.dumps, without the HTML escapes of jinja2's own.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool is_indented = false;
  Text indent;  // of one level
  Text item_separator, key_separator;
};

Value ToJson(Runtime& runtime, const Value& value, const JsonStyle& style);

}  // namespace cascade::jinja
