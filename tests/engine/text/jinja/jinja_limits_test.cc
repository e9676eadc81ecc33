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

// `expression` a thousand times: over two texts of `bytes` that differ in their last byte, and one of spaces.
absl::Status RunOften(const std::string& expression, size_t bytes) {
  Variables variables;
  variables.messages = {{.role = "user", .content = std::string(bytes, 'a')},
                        {.role = "assistant", .content = std::string(bytes - 1, 'a') + "b"},
                        {.role = "user", .content = std::string(bytes, ' ')}};
  const auto parsed = Template::Parse(
      "{% set c, d, s = messages[0].content, messages[1].content, messages[2].content %}{% set n = c|length %}"
      "{% for i in range(1000) %}{% set x = " +
      expression + " %}{% endfor %}");
  // A tenth of the steps by default, so that the test is quick.
  return parsed.ok() ? (*parsed)->Render(variables, {.steps = Limits().steps / 10}).status() : parsed.status();
}

TEST(JinjaLimitsTest, WorkOnLongTextsIsCounted) {
  const char* const expressions[] = {
      // Filters.
      "c|trim('a')", "s|trim", "c|upper", "c|lower", "c|title", "c|capitalize", "[c]|string", "[c]|safe", "c|escape",
      "c|e", "c|replace('b', '')", "c|indent", "'a'|indent(n)", "'a'|indent(c)", "c|tojson", "[1]|tojson(indent=n)",
      "[1]|tojson(separators=(c, c))", "{c: 1, d: 2}|tojson(sort_keys=true)", "c|int", "('1' * n)|float", "c|length",
      "c|count", "c|first ~ c", "c|reverse", "c|list", "[c]|join", "c|join", "{c: 1, d: 2}|dictsort",
      "{c: 1, d: 2}|items|list|sort", "[c, d]|sort(case_sensitive=true)", "[c, d]|unique(true)|list", "[c, d]|min",
      "[c, d]|max(case_sensitive=true)", "[c]|map('upper')|list", "[{'a': c}]|map(attribute='a')|join",
      "[[]]|map(attribute=c, default=1)|list", "[c]|select('eq', d)|list", "[c]|reject('eq', d)|list",
      "[{'a': c}]|selectattr('a', 'eq', d)|list", "[{'a': c}]|rejectattr('a', 'eq', d)|list",
      "(c|list, d|list)|sum(start=[])", "[nope|default(c), 1]|string", "[nope|d(c), 1]|string",
      // Methods.
      "c.upper()", "c.lower()", "c.title()", "c.capitalize()", "c.strip('a')", "s.strip()", "c.lstrip('a')",
      "c.rstrip('xyza')", "s.lstrip()", "s.rstrip()", "c.split()", "c.split('b')", "c.rsplit()", "c.rsplit('b')",
      "c.splitlines()", "c.replace('b', '')", "''.join([c])", "c.startswith(d)", "c.startswith((d, d))",
      "c.startswith('a', 1)", "c.endswith(d)", "c.endswith('a', 0, -1)", "c.find('b')", "c.rfind('b')",
      "c.find('a', 1)", "c.rfind('a', 1)", "d.index('b')", "d.rindex('a', 0, -2)", "c.count('b')", "c.count('a')",
      "c.removeprefix(d)", "d.removesuffix(c)", "s.isspace()", "('1' * n).isdigit()", "c.isupper() or c.islower()",
      "c.islower()", "{c: 1}.get(d)", "[c].count(d)", "[c].index(c)", "{c: 1, d: 2}.keys()|list",
      // Tests.
      "c is upper", "c is lower", "c is eq d", "c is equalto d", "c is ne d", "c is lt d", "c is lessthan d",
      "c is gt d", "c is greaterthan d", "c is le d", "c is ge d", "c is in [d]", "'b' is in c",
      // Operators.
      "c == d", "c != d", "c < d", "c <= d", "c > d", "c >= d", "'b' in c", "'b' not in c", "c in [d]", "c in {d: 1}",
      "[c] == [d]", "(c, 1) < (d, 2)", "{c: 1} == {d: 1}", "{c: 1}[d]", "{c: 1, d: 2}", "dict([[c, 1], [d, 2]])",
      "namespace({c: 1, d: 2})", "c + d", "c ~ d", "c * 2", "'a' * n", "c[n - 1]", "c[-n]", "c[1:3]", "c[:-1]",
      "c[::n]", "[messages[0].content] == [d]"};
  for (const std::string expression : expressions) {
    EXPECT_TRUE(RunOften(expression, 3).ok()) << expression << " " << RunOften(expression, 3);
    const absl::Status status = RunOften(expression, 4'000'000);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << expression << " " << status;
  }
  // What does not look at a text costs nothing for its length.
  for (const char* expression : {"c", "[c, d]", "c is string", "c|default('')", "[c]|first", "c[0]", "c|first",
                                 "c.startswith('a')", "c.endswith('a')", "c == ''", "c and d"}) {
    const absl::Status status = RunOften(expression, 100'000);
    EXPECT_TRUE(status.ok()) << expression << " " << status;
  }
}

TEST(JinjaLimitsTest, LoopsOverATextCountItOnlyForItsLength) {
  const std::string loop = "{% for i in range(20000) %}{% for z in messages[0].content %}";
  EXPECT_TRUE(RenderStatus(loop + "{% break %}{% endfor %}{% endfor %}").ok());
  ExpectExhausted(loop + "{% set x = loop.length %}{% break %}{% endfor %}{% endfor %}");
  ExpectExhausted(loop + "{% set x = loop.revindex %}{% break %}{% endfor %}{% endfor %}");
}

TEST(JinjaLimitsTest, WorkOnNamesAndTuplesIsCounted) {
  ExpectExhausted("{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}" +
                  std::string("{{ {ns.x: 1} }}"));
  std::string macros;
  for (int i = 0; i < 5000; ++i) {
    const std::string name = "a" + std::to_string(i);
    macros += "{% macro " + name + "() %}{% endmacro %}";
  }
  ExpectExhausted("{% for i in range(9) %}" + macros + "{% endfor %}");
  const std::string name(100000, 'n');
  ExpectExhausted("{% set ns = namespace([['" + name + "m', 1]]) %}{% for i in range(20000) %}{{ ns." + name +
                  "n }}{% endfor %}");
}

// A long content stays far within the limits of a server.
TEST(JinjaLimitsTest, UsualTemplatesTakeContentsOfMegabytes) {
  const std::string chatml =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']|trim + "
      "'<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  const std::string headers =
      "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
      "message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 "
      "%}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}";
  const std::string thinking =
      "{% for message in messages %}{% set content = message.content %}{% if '</think>' in content %}"
      "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
      "{% if message.content is string and not (content.startswith('<tool>') and content.endswith('</tool>')) %}"
      "{{ content.rstrip('\n').split('<think>')[-1].strip('\n') + '\n' }}{% endif %}{% endfor %}";
  for (const auto& source : {chatml, headers, thinking}) {
    const auto parsed = Template::Parse(source);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    for (const char letter : {'a', '\n', '"'}) {
      Variables variables;
      variables.messages = {{.role = "user", .content = std::string(8 << 20, letter), .role_is_content = false}};
      variables.bos_token = "<s>";
      EXPECT_TRUE((*parsed)->Render(variables, {.steps = Limits().steps / 3}).ok()) << source << letter;
      EXPECT_TRUE((*parsed)->Render(variables, Limits()).ok()) << source << letter;
    }
  }
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
