#include "server/http/json_text.h"

#include <array>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

// What makes a text too costly to parse, whether it is JSON or not: members of an object are looked up one by one. ""
// if nothing does.
std::string TooLarge(std::string_view text) {
  std::array<int, kMaxJsonDepth + 1> members = {};  // of the objects that are open
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return absl::StrCat("nested at most ", kMaxJsonDepth, " deep");
      members[static_cast<size_t>(depth)] = 0;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    } else if (c == ':' && ++members[static_cast<size_t>(depth)] > kMaxJsonMembers) {
      return absl::StrCat("of objects with at most ", kMaxJsonMembers, " members");
    }
  }
  return "";
}

// Only finds where a text stops being JSON.
class PlaceOfError final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    position_ = position;
    return false;
  }
  std::size_t position() const { return position_; }

 private:
  std::size_t position_ = 0;
};

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  if (FindInvalidUtf8(text) != std::string_view::npos) {
    std::string valid;
    AppendValidUtf8(text, &valid);
    return AppendJsonString(valid, out);
  }
  static constexpr char kHex[] = "0123456789abcdef";
  out->reserve(out->size() + text.size() + 2);
  *out += '"';
  size_t plain = 0;  // begin of what needs no escape
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) continue;
    out->append(text, plain, i - plain);
    plain = i + 1;
    switch (c) {
      case '"':
        *out += "\\\"";
        break;
      case '\\':
        *out += "\\\\";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '\r':
        *out += "\\r";
        break;
      default:
        *out += "\\u00";
        *out += kHex[c >> 4];
        *out += kHex[c & 15];
    }
  }
  out->append(text, plain, text.size() - plain);
  *out += '"';
}

void AppendJsonNumber(double value, std::string* out) {
  char text[40];
  const int size = std::snprintf(text, sizeof(text), "%.9g", value);
  out->append(text, static_cast<size_t>(size));
}

absl::StatusOr<Json> ParseJson(std::string_view text) {
  if (const std::string limit = TooLarge(text); !limit.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the body must be ", limit));
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_discarded()) return json;
  PlaceOfError place;
  Json::sax_parse(text, &place);
  return absl::InvalidArgumentError(
      absl::StrCat("the body must be JSON in UTF-8; it is not, at byte ", place.position()));
}

std::string DumpJson(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace cascade
