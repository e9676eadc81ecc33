// Schemas that are refused, and what is said; schemas that mean harm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "engine/grammar/grammar.h"
#include "tests/engine/grammar/schema_maker.h"

namespace cascade {
namespace {

std::string Refusal(const std::string& schema) {
  const auto grammar = Grammar::Compile(schema);
  if (grammar.ok()) return "accepted";
  EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(grammar.status().message());
}

struct Case {
  std::string schema;
  std::string says;  // behind "response_format.json_schema: "
};

TEST(GrammarRefusals, NameThePlace) {
  const Case cases[] = {
      // No schema.
      {"", "not valid JSON at byte"},
      {"{", "not valid JSON at byte"},
      {"{\"a\":1e999}", "not valid JSON at byte"},
      {"\"\xFF\"", "not valid JSON at byte"},
      {"[]", "expected an object"},
      {"1", "expected an object"},
      {"false", "nothing satisfies false"},
      {R"({"type":"string","type":"string"})", "key \"type\" twice in one object"},
      // Keywords that are not supported, wherever they are.
      {R"({"patternProperties":{}})", "/patternProperties: is not supported"},
      {R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}})",
       "/properties/a/uniqueItems: is not supported"},
      {R"({"properties":{"a/b~c":{"items":{"not":{}}}}})", "/properties/a~1b~0c/items/not: is not supported"},
      {R"({"anyOf":[{"type":"null"},{"multipleOf":2}]})", "/anyOf/1/multipleOf: is not supported"},
      {R"({"if":{},"then":{}})", "/if: is not supported"},
      {R"({"contains":{}})", "/contains: is not supported"},
      {R"({"minProperties":1})", "/minProperties: is not supported"},
      {R"({"propertyNames":{}})", "/propertyNames: is not supported"},
      {R"({"dependentRequired":{}})", "/dependentRequired: is not supported"},
      {R"({"tpye":"string"})", "/tpye: is not supported"},
      {R"({"$defs":{"a":{"$id":"x"}},"$ref":"#/$defs/a"})", "/$defs/a/$id: is not supported here"},
      {R"x({"type":"string","pattern":"(?=a)"})x", "/pattern: look-around"},
      {R"({"type":"string","pattern":"[a"})", "/pattern: a [ without its ]"},
      {R"({"type":"string","format":"int32"})", "/format: is not supported; known are date, date-time"},
      {R"({"type":"string","format":"date","pattern":"a"})", "/pattern: more than one pattern or format"},
      {R"({"items":[{}]})", "/items: an array is not supported; its name is prefixItems today"},
      {R"({"enum":["a"],"maxLength":3})", "beside enum or const only type is supported"},
      // Keywords of the wrong form.
      {R"({"type":"text"})", "/type: expected one or several of null, boolean"},
      {R"({"type":[]})", "/type: expected one or several of"},
      {R"({"type":["string",1]})", "/type: expected one or several of"},
      {R"({"minLength":-1})", "/minLength: expected a whole number"},
      {R"({"maxItems":1.5})", "/maxItems: expected a whole number"},
      {R"({"minimum":"1"})", "/minimum: expected a number"},
      {R"({"enum":[]})", "/enum: expected an array of values, not empty"},
      {R"({"enum":"a"})", "/enum: expected an array of values, not empty"},
      {R"({"anyOf":[]})", "/anyOf: expected an array of schemas, not empty"},
      {R"({"allOf":[1]})", "/allOf/0: expected a schema"},
      {R"({"items":1})", "/items: expected a schema"},
      {R"({"properties":[]})", "/properties: expected an object of schemas"},
      {R"({"properties":{"a":null}})", "/properties/a: expected a schema"},
      {R"({"required":"a"})", "/required: expected an array of strings"},
      {R"({"required":[1]})", "/required: expected an array of strings"},
      {R"({"pattern":1})", "/pattern: expected a string"},
      {R"({"format":1})", "/format: expected a string"},
      {R"({"$ref":1})", "/$ref: expected a string"},
      {R"({"$ref":"#/$defs/a"})", "/$ref: refers to nothing in this schema"},
      {R"({"$ref":"other.json"})", "/$ref: only #, #/$defs/NAME and #/definitions/NAME are supported"},
      {R"({"$ref":"#/properties/a"})", "/$ref: only #, #/$defs/NAME"},
      {R"({"$ref":"#/$defs/a","$defs":{"a":3}})", "/$defs/a: expected a schema"},
      // oneOf whose branches are not apart.
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "/oneOf/1: a value may fit an earlier branch of oneOf"},
      {R"({"oneOf":[{"type":"object"},{"type":"object"}]})", "/oneOf/1: a value may fit an earlier branch"},
      {R"({"oneOf":[{"const":1},{"enum":[2,1.0]}]})", "/oneOf/1: a value may fit an earlier branch"},
      {R"({"oneOf":[{"$ref":"#"},{"type":"null"}]})", "/oneOf/1: a value may fit an earlier branch"},
      // Nothing satisfies it.
      {R"({"type":"string","minLength":3,"maxLength":2})", "nothing satisfies it: minLength is more than maxLength"},
      {R"({"type":"object","properties":{"n":{"type":"integer","minimum":2,"maximum":1}},"required":["n"]})",
       "/properties/n: nothing satisfies it: no integer of at most 18 digits is within its bounds"},
      {R"({"type":"integer","minimum":1e18})", "nothing satisfies it: no integer of at most 18 digits"},
      {R"({"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":2})", "nothing satisfies it: no integer"},
      {R"({"type":"number","minimum":1e20})", "nothing satisfies it: no number of at most 15 digits"},
      {R"({"type":"array","minItems":2,"maxItems":1})",
       "nothing satisfies it: it must have more items than it may have"},
      {R"({"type":"array","minItems":3,"prefixItems":[{},{}],"items":false})",
       "nothing satisfies it: it must have more"},
      {R"({"type":"object","required":["a"],"additionalProperties":false})",
       "nothing satisfies it: a property is required that must not be there"},
      {R"({"type":"object","properties":{"a":false},"required":["a"]})",
       "nothing satisfies it: a property is required"},
      {R"({"type":"string","enum":[1,2]})", "nothing satisfies it: none of the values has the type"},
      {R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "nothing satisfies it: its types exclude each other"},
      {R"({"type":"string","pattern":"^a$","minLength":2})",
       "nothing satisfies it: no text has its pattern and length"},
      {R"({"type":"string","pattern":"a^b"})", "nothing satisfies it: no text has its pattern"},
      {R"({"$ref":"#"})", "nothing satisfies it"},
      {R"({"type":"object","properties":{"c":{"$ref":"#/$defs/n"}},"required":["c"],
           "$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["n"]}}})",
       "nothing satisfies it: every value of it would hold another one without end"},
      {R"({"type":"object","properties":{"c":{"anyOf":[false]}},"required":["c"]})",
       "/properties/c: nothing satisfies it"},
      // Too large.
      {"\"" + std::string(65536, 'x') + "\"", "found 65538 bytes, expected at most 65536"},
      {R"({"type":"string","maxLength":1000000000})", "the schema needs more than 131072 states"},
      {R"({"type":"array","items":{"type":"array","items":{"type":"array","maxItems":1000000}}})",
       "/items/items: the schema needs more than 131072 states"},
  };
  for (const Case& test : cases) {
    EXPECT_THAT(Refusal(test.schema), testing::StartsWith("response_format.json_schema: " + test.says)) << test.schema;
  }
}

std::string Repeated(int count, const std::string& open, const std::string& middle, const std::string& close) {
  std::string text;
  for (int i = 0; i < count; ++i) text += open;
  text += middle;
  for (int i = 0; i < count; ++i) text += close;
  return text;
}

// Small texts that mean much: all end soon, in an error or a grammar that works.
TEST(GrammarRefusals, HarmIsBounded) {
  EXPECT_THAT(Refusal(Repeated(30000, "[", "", "]")), testing::HasSubstr("within each other"));
  EXPECT_THAT(Refusal(Repeated(3000, R"({"items":)", "{}", "}")), testing::HasSubstr("within each other"));
  EXPECT_THAT(Refusal(R"({"allOf":[{"$ref":"#"}]})"), testing::HasSubstr("more than 32 of $ref and allOf"));
  EXPECT_THAT(Refusal(R"({"allOf":[{"$ref":"#"},{"$ref":"#"},{"$ref":"#"}]})"), testing::HasSubstr("response_format"));
  EXPECT_THAT(Refusal(R"({"type":"object","anyOf":[{"$ref":"#"},{"$ref":"#"}]})"),
              testing::HasSubstr("response_format"));
  EXPECT_THAT(Refusal(R"({"type":"array","minItems":1,"items":{"$ref":"#"}})"), testing::HasSubstr("without end"));

  // Each refers twice to the next: 2^60 ways.
  std::string doubling = R"({"$ref":"#/$defs/d0","$defs":{)";
  std::string all_of = R"({"$ref":"#/$defs/d0","$defs":{)";
  std::string any_of = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 60; ++i) {
    const std::string next = absl::StrCat(R"({"$ref":"#/$defs/d)", i + 1, "\"}");
    absl::StrAppend(&doubling, "\"d", i, R"(":{"type":"array","prefixItems":[)", next, ",", next, "]},");
    absl::StrAppend(&all_of, "\"d", i, R"(":{"allOf":[)", next, ",", next, "]},");
    absl::StrAppend(&any_of, "\"d", i, R"(":{"type":"object","anyOf":[)", next, ",", next, "]},");
  }
  EXPECT_EQ(Refusal(doubling + R"("d60":{"type":"null"}}})"), "accepted");
  EXPECT_THAT(Refusal(all_of + R"("d60":{"type":"null"}}})"), testing::HasSubstr("response_format.json_schema: "));
  EXPECT_THAT(Refusal(any_of + R"("d60":{"type":"null"}}})"), testing::HasSubstr("response_format.json_schema: "));

  // A static depth that no reply may have.
  std::string chain = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 80; ++i) {
    absl::StrAppend(&chain, "\"d", i, R"(":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/d)", i + 1, "\"}},");
  }
  EXPECT_THAT(Refusal(chain + R"("d80":{"type":"null"}}})"), testing::HasSubstr("more than 64 objects and arrays"));

  // Patterns, each of which is expensive, and all of which are different.
  std::string patterns = R"({"type":"object","properties":{)";
  for (int i = 0; i < 900; ++i)
    absl::StrAppend(&patterns, i ? "," : "", "\"p", i, R"(":{"pattern":"(a|b)*a(a|b){)", i % 30, "}", i, "\"}");
  EXPECT_THAT(Refusal(patterns + "}}"), testing::HasSubstr("too many states"));
}

TEST(GrammarRefusals, LongPointersAreCut) {
  const std::string name(60000, 'n');
  const std::string refusal = Refusal(R"({"properties":{")" + name + R"(":{"properties":{"x":{"not":{}}}}}})");
  EXPECT_THAT(refusal, testing::HasSubstr("is not supported"));
  EXPECT_LT(refusal.size(), 500u);
}

// Changed schemas and plain noise: an error, or a grammar whose first mask is not empty.
TEST(GrammarRefusals, NoiseIsBounded) {
  std::mt19937_64 random(3);
  int accepted = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    SchemaMaker maker(static_cast<uint64_t>(round % 200));
    std::string text = maker.Schema().dump();
    if (round % 10 == 0) {
      text.clear();
      for (size_t i = random() % 60; i > 0; --i) text += "{}[]\":,atype0-1e. \\\n\xC3"[random() % 22];
    }
    for (size_t changes = random() % 4; changes > 0 && !text.empty(); --changes) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 5);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 20));
      }
    }
    const auto grammar = Grammar::Compile(text);
    if (!grammar.ok()) {
      ++refused;
      ASSERT_TRUE(grammar.status().message().find("response_format.json_schema: ") == 0) << text;
      continue;
    }
    ++accepted;
    bool any = false;
    for (int byte = 0; byte < 256; ++byte) {
      GrammarState state(*grammar);
      const char c = static_cast<char>(byte);
      any = state.Accept(std::string_view(&c, 1)) || any;
    }
    ASSERT_TRUE(any) << text;
  }
  EXPECT_GT(accepted, 500);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace cascade
