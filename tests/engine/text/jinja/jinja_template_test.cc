// Marks of clients' texts, refusals and their places.
#include "engine/text/jinja/jinja_template.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cascade::jinja {
namespace {

using ::testing::HasSubstr;

Variables OneMessage(std::string content) {
  Variables variables;
  variables.messages = {{.role = "user", .content = std::move(content), .role_is_content = false}};
  variables.bos_token = "<s>";
  return variables;
}

// The text with a client's bytes between ( and ).
std::string Marked(const std::string& source, const std::string& content) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status().ToString();
  const auto text = (*parsed)->Render(OneMessage(content), Limits());
  if (!text.ok()) return text.status().ToString();
  std::string marked;
  for (size_t begin = 0; begin < text->size(); begin = text->RunEnd(begin)) {
    const std::string run = text->bytes().substr(begin, text->RunEnd(begin) - begin);
    marked += text->IsContent(begin) ? "(" + run + ")" : run;
  }
  return marked;
}

TEST(JinjaMarksTest, FollowAClientsText) {
  const std::string c = "{% set c = messages[0].content %}";
  const std::pair<const char*, const char*> cases[] = {
      {"<{{ c }}>", "<( aB\nc )>"},
      {"<{{ c|trim }}>", "<(aB\nc)>"},
      {"{{ '<' + c.strip() + '>' }}", "<(aB\nc)>"},
      {"{{ '<' ~ c.strip() ~ 1 }}", "<(aB\nc)1"},
      {"{{ c[1:3] }}{{ c[1] }}x", "(aBa)x"},
      {"{{ c.strip()[::-1] }}x", "(c\nBa)x"},
      {"{{ c|upper }}-{{ c|lower|capitalize }}", "( AB\nC )-( ab\nc )"},
      {"{{ c|trim|title }}", "(Ab\nC)"},
      {"{{ c|trim|replace('\n', '<nl>') }}", "(aB)<nl>(c)"},
      {"{{ 'xyx'|replace('y', c|trim) }}", "x(aB\nc)x"},
      {"{{ c.split()|join(', ') }}", "(aB), (c)"},
      {"{{ '-'.join(c.split()) }}", "(aB)-(c)"},
      {"{{ c.splitlines()[1] }}|", "(c )|"},
      {"{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(c|trim) }}", "<(aB\nc)>"},
      {"{% set x %}<{{ c|trim }}>{% endset %}{{ x }}{{ x|length }}", "<(aB\nc)>6"},
      {"{% filter upper %}x{{ c|trim }}y{% endfilter %}", "X(AB\nC)Y"},
      {"{{ c|trim|tojson }}", "\"(aB\\nc)\""},
      {"{{ messages[0]|tojson }}", "{\"role\": \"user\", \"content\": \"( aB\\nc )\"}"},
      {"{{ [c|trim] }}", "['(aB\\nc)']"},
      {"{{ c|trim|e }}{{ '<'|e }}", "(aB\nc)&lt;"},
      {"{{ (c|trim ~ 'x')|indent(2) }}", "(aB)\n  (c)x"},
      {"{{ (c|trim) * 2 }}", "(aB\ncaB\nc)"},
      {"{{ c|trim|list|join('.') }}", "(a).(B).(\n).(c)"},
      {"{% for x in c|trim %}{{ x }}{% endfor %}!", "(aB\nc)!"},
      {"{{ c|first }}{{ c|last }}{{ c|reverse }}", "(   c\nBa )"},
      {"{{ c|default('x') }}{{ nope|default(c|trim) }}", "( aB\nc aB\nc)"},
      {"{{ messages|map(attribute='content')|map('trim')|join }}", "(aB\nc)"},
      {"{{ c|length }}{{ messages[0].role }}{{ bos_token }}{{ 'aB' in c }}", "6user<s>True"},
      {"{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + '<' + m.content|trim %}{% endfor "
       "%}{{ ns.t }}",
       "<(aB\nc)"},
      {"{{ strftime_now(c|trim) }}", "(aB\nc)"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(Marked(c + source, " aB\nc "), expected) << source;
}

TEST(JinjaMarksTest, AContentThatLooksLikeATemplateStaysAText) {
  EXPECT_EQ(Marked("<{{ messages[0].content }}>", "{{ bos_token }}{% raw %}<s>"), "<({{ bos_token }}{% raw %}<s>)>");
  EXPECT_EQ(Marked("{{ bos_token }}{{ messages[0].content }}", "<s>"), "<s>(<s>)");
}

TEST(JinjaMarksTest, ARoleIsAClientsTextUnlessItIsSaidNotToBe) {
  const auto parsed = Template::Parse("<|{{ messages[0].role|upper }}|>");
  ASSERT_TRUE(parsed.ok());
  Variables variables;
  variables.messages = {{.role = "me", .content = ""}};
  const auto text = (*parsed)->Render(variables, Limits());
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->bytes(), "<|ME|>");
  EXPECT_TRUE(text->IsContent(2) && text->IsContent(3) && !text->IsContent(1) && !text->IsContent(4));
}

TEST(JinjaMarksTest, SlicesOfTextsKeepTheirSpans) {
  Text text("ab");
  text.Append("cd", true);
  text.Append("ef", true);
  text.Append("gh");
  EXPECT_EQ(text.content().size(), 1u);
  EXPECT_EQ(text.RunEnd(0), 2u);
  EXPECT_EQ(text.RunEnd(3), 6u);
  EXPECT_EQ(text.RunEnd(7), 8u);
  for (size_t begin = 0; begin <= 8; ++begin) {
    for (size_t end = begin; end <= 8; ++end) {
      const Text slice = text.Slice(begin, end);
      EXPECT_EQ(slice.bytes(), text.bytes().substr(begin, end - begin));
      for (size_t i = begin; i < end; ++i) EXPECT_EQ(slice.IsContent(i - begin), i >= 2 && i < 6);
    }
  }
}

TEST(JinjaTemplateTest, RefusesWhatItDoesNotHaveAndSaysWhere) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n  {% include 'x' %}", "line 2, column 6: {% include %} is not supported"},
      {"{% extends 'x' %}", "line 1, column 4: {% extends %} is not supported"},
      {"{% block x %}", "line 1, column 4: {% block %} is not supported"},
      {"{% import 'x' as y %}", "line 1, column 4: {% import %} is not supported"},
      {"{% autoescape true %}", "line 1, column 4: {% autoescape %} is not supported"},
      {"{{ x|wordwrap }}", "line 1, column 6: the filter 'wordwrap' is not supported"},
      {"\n\n{{ x is filter }}", "line 3, column 9: the test 'filter' is not supported"},
      {"{{ f(1) }}", "line 1, column 4: the function 'f' is not supported"},
      {"{{ x.encode() }}", "line 1, column 6: the method 'encode' is not supported"},
      {"{{ '{}'.format(1) }}", "line 1, column 9: the method 'format' is not supported"},
      {"{{ '%s' % 1 }}", "line 1, column 9: formatting a str with '%' is not supported"},
      {"{{ x|map('nope') }}", "line 1, column 6: the filter 'nope' is not supported"},
      {"{{ x|selectattr('a', 'nope') }}", "line 1, column 6: the test 'nope' is not supported"},
      {"{% for x in y recursive %}{% endfor %}", "line 1, column 15: 'recursive' is not supported"},
      {"{{ cycler(1) }}", "line 1, column 4: the function 'cycler' is not supported"},
      {"{{ f(*x) }}", "line 1, column 6: an argument with '*' is not supported"},
      {"{% macro f() %}{{ varargs }}{% endmacro %}", "line 1, column 4: 'varargs' in a macro is not supported"},
      {"{{ x|e + 'y' }}", "line 1, column 6: adding to the result of the filter 'e' is not supported"},
  };
  for (const auto& [source, message] : cases) {
    const auto parsed = Template::Parse(source);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kUnimplemented) << source;
    EXPECT_EQ(std::string(parsed.status().message()), message) << source;
  }
}

TEST(JinjaTemplateTest, SaysWhereATemplateIsNoJinja) {
  const std::pair<const char*, const char*> cases[] = {
      {"{{ 1 + }}", "line 1, column 8: expected an expression, found '}}'"},
      {"x\n{% if a %}\n",
       "line 2, column 11: the template ends where {% elif %} or {% else %} or {% endif %} is missing"},
      {"{% endfor %}", "line 1, column 4: unexpected tag {% endfor %}"},
      {"{{ 'a }}", "line 1, column 4: a string has no end"},
      {"{{ (1] }}", "line 1, column 6: unexpected ']'"},
      {"{# a", "line 1, column 1: a comment has no end"},
      {"{{ a b }}", "line 1, column 6: expected '}}', found 'b'"},
      {"{% set 1 = 2 %}", "line 1, column 8: only names can be assigned"},
  };
  for (const auto& [source, message] : cases) {
    const auto parsed = Template::Parse(source);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << source;
    EXPECT_EQ(std::string(parsed.status().message()), message) << source;
  }
}

TEST(JinjaTemplateTest, ErrorsWhileRenderingNameThePlaceAndNoClientsText) {
  EXPECT_THAT(Marked("a\n{{ nope.x }}", "secret"), HasSubstr("chat template, line 2, column 9: 'nope' is undefined"));
  EXPECT_THAT(Marked("{{ messages[0].content + 1 }}", "secret"),
              HasSubstr("line 1, column 24: cannot add str and int"));
  EXPECT_THAT(Marked("{{ raise_exception('No ' ~ messages[0].content ~ '!') }}", "secret"),
              HasSubstr("chat template: No ...!"));
  for (const char* source : {"{{ raise_exception(messages[0].content) }}", "{{ {}[messages[0].content].x }}",
                             "{{ {}[messages[0].content]() }}", "{{ 1|map(messages[0].content)|list }}",
                             "{{ [1]|map(messages[0].content)|list }}", "{{ messages[0].content < 1 }}"}) {
    EXPECT_EQ(Marked(source, "secret").find("secret"), std::string::npos) << Marked(source, "secret");
  }
}

TEST(JinjaTemplateTest, TokensThatAModelDoesNotHaveAreUndefined) {
  EXPECT_EQ(
      Marked("{{ bos_token is defined }}{{ eos_token is defined }}{{ tools is none }}{{ documents is none }}", ""),
      "TrueFalseTrueTrue");
}

TEST(JinjaTemplateTest, AContentOfManyMegabytesIsNotCopiedAtEveryStep) {
  const auto parsed = Template::Parse(
      "{% for m in messages %}{% if m.content is string and m.content|length > 3 and '</think>' not in m.content %}"
      "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>' }}{% endif %}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  const auto text = (*parsed)->Render(OneMessage(std::string(8 << 20, 'x')), Limits());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->size(), (8u << 20) + 27);
  EXPECT_EQ(text->content().size(), 1u);
}

}  // namespace
}  // namespace cascade::jinja
