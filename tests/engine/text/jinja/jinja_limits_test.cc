// What a hostile template can try.
#include <string>

#include "engine/text/jinja/jinja_template.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade::jinja {
namespace {

using ::testing::HasSubstr;

std::string Repeat(std::string_view text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

// Smaller than a server's, so that the tests are quick.
constexpr Limits kLimits = {.steps = 500'000, .output_bytes = 8 << 20, .memory_bytes = 32 << 20};

absl::Status RenderStatus(const std::string& source, const Limits& limits = kLimits) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  Variables variables;
  variables.messages = {{.role = "user", .content = std::string(100000, 'a')}};
  return (*parsed)->Render(variables, limits).status();
}

void ExpectExhausted(const std::string& source, const Limits& limits = kLimits) {
  const absl::Status status = RenderStatus(source, limits);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << source.substr(0, 100) << "\n" << status;
}

TEST(JinjaLimitsTest, SourceOfMoreThanAMebibyteIsRefused) {
  EXPECT_EQ(RenderStatus(std::string((1 << 20) + 1, 'x')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(RenderStatus(std::string(1 << 20, 'x')).ok());
}

TEST(JinjaLimitsTest, DeepSourceIsRefusedWhereItIsTooDeep) {
  for (const char* piece : {"(", "[", "{1:", "-", "not ", "f(", "x[", "1 if 1 else ", "x|join(", "x is in(", "- - +"}) {
    for (size_t count : {1000, 80000}) {
      const absl::Status status = RenderStatus("{{ " + Repeat(piece, count));
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << piece;
      EXPECT_THAT(std::string(status.message()), HasSubstr("line 1, column ")) << piece;
    }
  }
  for (const char* block : {"{% if 1 %}", "{% for x in y %}", "{% set x %}", "{% macro f() %}", "{% filter upper %}",
                            "{% call f() %}", "{% with %}", "{% generation %}"}) {
    EXPECT_THAT(std::string(RenderStatus(Repeat(block, 10000)).message()), HasSubstr("nested in more than")) << block;
  }
}

TEST(JinjaLimitsTest, LongChainsOfOperatorsAreRefused) {
  for (const char* piece :
       {" + 1", " or 1", " and 1", " * 1", ".a", "[0]", "()", "|string", " is defined", " if 1", " ** 1"}) {
    EXPECT_EQ(RenderStatus("{{ 1" + Repeat(piece, 50000) + " }}").code(), absl::StatusCode::kInvalidArgument) << piece;
  }
  EXPECT_TRUE(RenderStatus("{{ 1" + Repeat(" ~ 1", 50000) + " }}").ok());
  EXPECT_TRUE(RenderStatus("{{ 1" + Repeat(" < 2", 1) + Repeat(" == 2 ", 0) + " }}").ok());
  EXPECT_TRUE(RenderStatus("{{ 1" + Repeat(" + 1", 300) + " }}").ok());
  EXPECT_TRUE(RenderStatus("{% if 0 %}" + Repeat("{% elif 0 %}", 20000) + "{% endif %}").ok());
}

TEST(JinjaLimitsTest, TextsDoNotGrowWithoutEnd) {
  ExpectExhausted("{{ 'a' * 1000000000 }}");
  ExpectExhausted("{{ 'a' * 9223372036854775807 }}");
  ExpectExhausted("{{ 1000000000 * 'ab' }}");
  ExpectExhausted("{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  ExpectExhausted("{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}");
  ExpectExhausted(
      "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x|replace('', ns.x) %}{% endfor %}");
  ExpectExhausted(
      "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x|join(ns.x) %}{% endfor %}");
  ExpectExhausted("{{ messages[0].content|replace('a', messages[0].content) }}");
  ExpectExhausted("{{ messages[0].content|join(messages[0].content) }}");
  ExpectExhausted("{{ ('a\n' * 100000)|indent(100000) }}");
  ExpectExhausted("{{ 'a'|indent(9223372036854775807) }}");
  ExpectExhausted("{{ [1]|tojson(indent=9223372036854775807) }}");
  ExpectExhausted("{{ [[[1]]]|tojson(indent='a' * 8000000) }}");
  ExpectExhausted("{% for i in range(100000) %}{{ messages[0].content }}{% endfor %}");
  ExpectExhausted("{% set x %}{% for i in range(100000) %}{{ messages[0].content }}{% endfor %}{% endset %}");
}

TEST(JinjaLimitsTest, ListsDoNotGrowWithoutEnd) {
  ExpectExhausted("{{ range(1000000000) }}");
  ExpectExhausted("{{ range(-9223372036854775807, 9223372036854775807) }}");
  ExpectExhausted("{{ [1] * 9223372036854775807 }}");
  ExpectExhausted("{{ (1, 2) * 1000000000 }}");
  ExpectExhausted("{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  ExpectExhausted("{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}");
  ExpectExhausted("{% set ns = namespace(x={}) %}{% for i in range(99999) %}{% set ns.x = {1: ns.x} %}{% endfor %}");
  // Small to hold, large to print, to compare and to write as JSON.
  const std::string wide =
      "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  ExpectExhausted(wide + "{{ ns.x }}");
  ExpectExhausted(wide + "{{ ns.x|tojson }}");
  ExpectExhausted(wide +
                  "{% set y = ns.x %}{% set ns.x = 1 %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor "
                  "%}{{ ns.x == y }}");
  ExpectExhausted("{{ messages[0].content|list|map('list')|list * 100 }}", {.memory_bytes = 8 << 20});
}

TEST(JinjaLimitsTest, StepsAndCallsAreCounted) {
  ExpectExhausted("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}");
  ExpectExhausted("{% for i in range(99999) %}{{ messages[0].content|upper|length }}{% endfor %}");
  ExpectExhausted("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  ExpectExhausted("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}");
  ExpectExhausted("{% macro f() %}{% call f() %}{% endcall %}{{ caller() }}{% endmacro %}{{ f() }}");
  ExpectExhausted("{% for i in range(9) %}{{ i }}{% endfor %}", {.steps = 10});
  EXPECT_TRUE(RenderStatus("{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}").ok());
}

TEST(JinjaLimitsTest, NamespacesInEachOtherAreLetGo) {
  EXPECT_TRUE(
      RenderStatus("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns] %}{% set ns.d = {'a': ns} %}")
          .ok());
  EXPECT_TRUE(
      RenderStatus(
          "{% set ns = namespace(x=1) %}{% for i in range(20000) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}")
          .ok());
  ExpectExhausted("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}");
  EXPECT_TRUE(
      RenderStatus(
          "{% set ns = namespace() %}{% macro f() %}{{ ns }}{% endmacro %}{% set ns.f = f %}{% for x in [1] %}"
          "{% macro g() %}{{ x }}{% endmacro %}{% set ns.g = g %}{% set ns.l = loop %}{% endfor %}{{ ns.l.index }}")
          .ok());
  EXPECT_TRUE(
      RenderStatus("{% set ns = namespace(l=1) %}{% for i in range(20000) %}{% for y in [ns.l] %}{% set ns.l = loop %}"
                   "{% endfor %}{% endfor %}")
          .ok());
}

TEST(JinjaLimitsTest, IntegersDoNotWrap) {
  for (const char* expression :
       {"9223372036854775807 + 1", "-9223372036854775807 - 2", "9223372036854775807 * 2", "2 ** 63", "10 ** 100",
        "(-9223372036854775807 - 1) // -1", "-(-9223372036854775807 - 1)", "(-9223372036854775807 - 1)|abs", "1e30|int",
        "'9223372036854775808'|int", "9223372036854775808", "[9223372036854775807, 1]|sum"}) {
    const absl::Status status = RenderStatus("{{ " + std::string(expression) + " }}");
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << expression << " " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("more than 64 bits")) << expression;
  }
  EXPECT_TRUE(
      RenderStatus("{{ (-9223372036854775807 - 1) % -1 }}{{ 'abc'[-9223372036854775807 - 1] }}"
                   "{{ 'abc'[-9223372036854775807 - 1:9223372036854775807:9223372036854775807] }}"
                   "{{ 'abc'[::-9223372036854775807 - 1] }}{{ [1, 2][9223372036854775807:-9223372036854775807:-1] }}")
          .ok());
}

}  // namespace
}  // namespace cascade::jinja
