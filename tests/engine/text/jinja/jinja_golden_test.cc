// Snippets rendered by Python's jinja2 (tests/golden/jinja/make_jinja_golden.py).
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/parser.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace cascade::jinja {
namespace {

using Json = nlohmann::ordered_json;

Value FromJson(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return FreeText(Text(json.get<std::string>()));
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(FromJson(item));
    return FreeList(std::move(items));
  }
  if (json.is_object()) {
    std::vector<std::pair<Value, Value>> entries;
    for (const auto& [key, value] : json.items()) entries.emplace_back(FreeText(Text(key)), FromJson(value));
    return FreeDict(std::move(entries));
  }
  return None();
}

absl::StatusOr<Text> RenderSnippet(const std::string& source, const NamedValues& variables, std::time_t now) {
  auto syntax = ParseSyntax(source);
  if (!syntax.ok()) return syntax.status();
  return RenderSyntax(**syntax, variables, now, Limits());
}

TEST(JinjaGoldenTest, SnippetsRenderAsInPython) {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  ASSERT_NE(folder, nullptr);
  std::ifstream file(std::string(folder) + "/jinja/jinja_snippets.json");
  std::stringstream text;
  text << file.rdbuf();
  const Json golden = Json::parse(text.str(), nullptr, false);
  ASSERT_TRUE(golden.is_object());
  NamedValues variables;
  for (const auto& [name, value] : golden["variables"].items()) variables.emplace_back(name, FromJson(value));
  int same = 0, failed_in_both = 0, refused = 0;
  for (const Json& snippet : golden["snippets"]) {
    const std::string source = snippet[0].get<std::string>();
    const absl::StatusOr<Text> text = RenderSnippet(source, variables, golden["now"].get<int64_t>());
    if (snippet[1].is_null()) {
      EXPECT_FALSE(text.ok()) << source << "\nPython fails, we give: " << text->bytes();
      ++failed_in_both;
    } else if (text.ok()) {
      EXPECT_EQ(text->bytes(), snippet[1].get<std::string>()) << source;
      ++same;
    } else {
      // What Python does and we do not is refused by name, never rendered in another way.
      EXPECT_EQ(text.status().code(), absl::StatusCode::kUnimplemented) << source << "\n" << text.status();
      ++refused;
      RecordProperty("refused", source);
      if (std::getenv("CASCADE_SHOW_REFUSED") != nullptr)
        std::printf("REFUSED %s\n   %s\n", source.c_str(), text.status().ToString().c_str());
    }
  }
  EXPECT_GT(same, 850);
  EXPECT_GT(failed_in_both, 450);
  EXPECT_LE(refused, 12);
}

}  // namespace
}  // namespace cascade::jinja
