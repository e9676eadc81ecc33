"""The templates of make_jinja_golden.py."""
import pathlib
import re

SNIPPETS = r'''
plain text
{{ s }}
{{ i }} {{ f }} {{ t }} {{ no }} {{ nil }} {{ missing }} {{ e }}|
{{ l }} {{ d }} {{ m }} {{ (1,) }} {{ (1, 2) }} {{ () }} {{ 1, 2 }} {{ [none, true, 1.0, 'x'] }}
{{ {'a': [1, {'b': none}], 2: 'x', 1.5: true, none: 1, (1,2): 3} }}
{{ "it's" }} {{ ["it's", 'say "hi"', "it's \"x\"", 'a\nb\t\\'] }} {{ ['é', '\x00\x7f\u200b\u00a0😀'] }}
{{ [u, missing] }}
{{ 'a' 'b' "c" }}
{{ '\n\t\\\'\"\x41\u00e9\U0001F600\101\a|\q|\
next' }}
{{ "\ud800" }}
{{ "\u12" }}
{{ 'abc
def' }}
{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 00 }} {{ 1.5e3 }} {{ 1e2 }} {{ 1_0.5_0 }} {{ 0XfF }} {{ 1E-7 }}
{{ 012 }}
{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345680.0 }} {{ 1e-4 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 1/3 }} {{ 1e300*1e10 }} {{ -0.0 }} {{ 1.5e-10 }} {{ 100.0 }} {{ 1e22 }} {{ 5e-324 }}
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1e20 // 1 }} {{ 2.5 ** 2 }} {{ 4 ** 0.5 }} {{ 6.0 // 3 }} {{ -0.5 // 1 }} {{ 0.0 % 3 }} {{ -6.0 % 3 }}
{{ 1 // 0 }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1.0 // 0.0 }}
{{ 0 ** -1 }}
{{ 1e308 ** 2 }}
{{ true + true }} {{ true * 3 }} {{ -true }} {{ +true }} {{ true / 2 }} {{ not true }} {{ - - 3 }} {{ +-+3 }}
{{ 'a' + 'b' }} {{ 'a' * 3 }} {{ 3 * 'ab' }} {{ 'a' * -1 }}| {{ [1] + [2] }} {{ [1] * 2 }} {{ (1,) + (2,) }} {{ 'a' * true }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ 'a' - 'b' }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ missing + 1 }}
{{ 'a' + missing }}
{{ -'a' }}
{{ -missing }}
{{ 'a' ~ 1 ~ none ~ missing ~ 2.5 ~ [1] ~ true }}
{{ 1 ~ 2 + 3 }} {{ 'a' ~ 'b' * 2 }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ none == none }} {{ [1, 2] == [1, 2] }} {{ [1] == (1,) }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ missing == missing2 }} {{ missing == none }} {{ missing != 1 }} {{ 1 != 2 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ 'a' < 'b' }} {{ 'a' < 'B' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 2) }} {{ 1 < 1.5 }} {{ true < 2 }} {{ 1 == 1 == true }} {{ 2 >= 2 }} {{ [1, 2] <= [1, 2] }}
{{ 'a' < 1 }}
{{ none < 1 }}
{{ missing < 1 }}
{{ {} < {} }}
{{ [1] < (1,) }}
{{ 1 in [1, 2] }} {{ 3 not in [1, 2] }} {{ 'ell' in s }} {{ '' in 'a' }} {{ 'a' in d }} {{ 1 in d }} {{ 1 in (1, 2) }} {{ 2 in range(3) }} {{ 'x' in missing }} {{ missing in [missing2] }} {{ 1.0 in [1] }} {{ not 1 in [1] }}
{{ 1 in 'abc' }}
{{ 1 in 5 }}
{{ [] in {} }}
{{ 'a' in none }}
{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none or [] }} {{ not '' }} {{ not [] and not {} }} {{ true and false or 3 }} {{ not not 1 }} {{ missing or 'dflt' }} {{ missing and 1 }}|
{{ 'y' if t else 'n' }} {{ 'y' if no else 'n' }} {{ 'y' if no }}| {{ 1 if no else 2 if no else 3 }} {{ ('y' if no) is defined }} {{ 'a' if t else 'b' if t else 'c' }} {{ 'x' if 1 if 1 else 0 else 'q' }}
{{ ('y' if no).foo }}
{{ s[0] }} {{ s[-1] }} {{ s[100] }}| {{ s[1:3] }} {{ s[:-1] }} {{ s[::-1] }} {{ s[::2] }} {{ s[-3:] }} {{ s[5:2] }}| {{ s[100:] }}| {{ s[-100:2] }} {{ s[8:2:-2] }} {{ s[:] }} {{ s[none:3] }} {{ s[true] }}
{{ u[0] }} {{ u[-2] }} {{ u[5:11] }} {{ u[::-1] }} {{ u[12] }} {{ u|length }} {{ u[-8:-1:3] }} {{ u[:5] }} {{ u[13:] }}
{{ l[0] }} {{ l[-1] }} {{ l[5] }}| {{ l[1:] }} {{ l[::-1] }} {{ l[:-1] }} {{ l[-2:] }} {{ (1,2,3)[1:] }} {{ (1,2,3)[-1] }} {{ l['a'] }}| {{ l[1.0] }}| {{ l[true] }} {{ l.0 }} {{ l.5 }}|
{{ s['a'] }}| {{ s[none] }}| {{ s[[1]] }}|
{{ s[::0] }}
{{ s['a':] }}
{{ nil[1:] }}
{{ d[1:] }}
{{ i[1:] }}
{{ missing[1:] }}
{{ range(5)[1] }} {{ range(5)[-1] }} {{ range(5)[9] }}|
{{ d.a }} {{ d['a'] }} {{ d.zz }}| {{ d['zz'] }}| {{ d[none] }}| {{ d[[1]] }}| {{ n.x.y[1] }} {{ n['x']['y'][0] }} {{ n.x.y.0 }} {{ {1: 'one', true: 'two'}[1] }} {{ {1: 'a'}[1.0] }}
{{ missing.foo }}
{{ missing['foo'] }}
{{ d.zz.foo }}
{{ nil.foo }}| {{ nil['foo'] }}| {{ nil[0] }}| {{ i.foo }}| {{ s.foo }}| {{ l.foo }}|
{{ nil.foo.bar }}
{{ messages[0].role }} {{ messages[0]['content'] }} {{ messages[-1].content }} {{ messages[1:]|length }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ 'é ß ﬁ'.upper() }} {{ 'ÉÀΣ ΑΣ'.lower() }} {{ "they're ß ǆ x1y".title() }} {{ 'ßA'.capitalize() }} {{ 'ǆA'.capitalize() }} {{ 'İ'.lower() }} {{ 'აბ'.title() }}
{{ '  x '.strip() }}|{{ '  x '.lstrip() }}|{{ '  x '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'éaé'.rstrip('é') }}|{{ ' \u00a0\u3000x\x1c'.strip() }}|{{ 'x'.strip('') }}|{{ ' x '.strip(none) }}|
{{ 'x'.strip(1) }}
{{ 'x'.strip(chars='x') }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'abc'.split('x') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a--b--c'.split('--') }} {{ 'a b c'.split(maxsplit=1) }} {{ 'a,b'.split(sep=',') }} {{ 'a,b,c'.split(',', 0) }} {{ ' a b '.split(none, 0) }} {{ long.split() }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b  c '.rsplit(none, 1) }} {{ 'aaa'.rsplit('aa') }} {{ 'a b'.rsplit() }} {{ 'a,b,c'.rsplit(',', 0) }} {{ ' a b '.rsplit(none, 0) }} {{ '  '.rsplit() }} {{ 'aaaa'.split('aa') }}
{{ 'a'.split('') }}
{{ 'a'.split(1) }}
{{ long.splitlines() }} {{ 'a\n'.splitlines() }} {{ ''.splitlines() }} {{ '\n\n'.splitlines() }} {{ 'a\r\nb\rc'.splitlines(true) }} {{ 'a\u2028b\x85c\x1cd'.splitlines() }}
{{ s.startswith('he') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'h')) }} {{ s.endswith(()) }} {{ s.startswith('') }} {{ s.startswith('ello', 1) }} {{ s.endswith('hell', 0, 4) }} {{ s.startswith('x', 99) }} {{ s.startswith('', 99) }} {{ s.startswith('ld', -2) }}
{{ s.startswith(['h']) }}
{{ s.startswith(1) }}
{{ s.startswith() }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'aaa'.replace('aa', 'b') }} {{ 'ab'.replace('', '-') }} {{ 'ab'.replace('', '-', 2) }} {{ ''.replace('', 'x') }} {{ 'é'.replace('', '-') }} {{ 'abc'.replace('b', '') }} {{ 'ab'.replace('', '-', 0) }}
{{ s.replace('l', 1) }}
{{ s.find('l') }} {{ s.find('zz') }} {{ s.rfind('l') }} {{ s.index('o') }} {{ s.find('l', 4) }} {{ u.find('你') }} {{ s.count('l') }} {{ s.count('') }} {{ 'aaa'.count('aa') }} {{ s.find('') }} {{ s.find('', 99) }} {{ s.find('o', 5, 7) }} {{ s.rindex('o') }} {{ s.find('h', -100, -5) }} {{ u.rfind('😀') }}
{{ s.index('zz') }}
{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join(d) }} {{ '-'.join([]) }}|
{{ ','.join([1]) }}
{{ 'prefix_x'.removeprefix('prefix_') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removeprefix('yy') }} {{ 'ab'.removesuffix('') }}
{{ 'abc'.isupper() }} {{ 'ABC1'.isupper() }} {{ 'a1'.islower() }} {{ '12'.isdigit() }} {{ ''.isdigit() }} {{ '1a'.isdigit() }} {{ ' \n'.isspace() }} {{ ''.isspace() }}
{{ d.items() }} {{ d.keys() }} {{ d.values() }} {{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.items()|list }} {{ d.keys()|length }} {{ 'a' in d.keys() }} {{ 2 in d.values() }} {{ ('a', 2) in d.items() }} {{ d.items()|first }} {{ d.values()|sum }} {{ d.items()[0] }}|
{{ d.get([1]) }}
{{ d.get() }}
{{ d.copy() }} {{ l.copy() }} {{ l.count(1) }} {{ l.index(2) }} {{ (1, 1).count(1) }}
{{ l.index(99) }}
{{ l.append(1) }}
{{ l.append }}| {{ d.update is defined }} {{ l.append is defined }} {{ d.get is defined }} {{ l.foo is defined }} {{ d.pop }}| {{ s.upper is callable }}
{{ d.update({'x': 1}) }}
{{ d.pop('a') }}
{% set _ = l.append(4) %}{{ l }}
{{ s.upper }}
{{ s.nosuch() }}
{{ missing() }}
{{ nil() }}
{{ i() }}
{{ d.a() }}
{{ {'items': 1}.items }}
{{ {'items': 1}['items'] }} {{ {'x': 1}['get'] is callable }}
{{ 'a'.__class__ }}| {{ d.__len__ }}|
{{ range(3) }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(0)|list }} {{ range(3)|length }} {{ range(1, 10, 3) }} {{ range(3) == range(0, 3) }} {{ range(true)|list }} {{ range(3)|last }} {{ range(3)|reverse|list }} {{ range(5).stop }}
{{ range() }}
{{ range(1.5) }}
{{ range(1, 2, 0) }}
{{ range(1000000) }}
{{ range('a') }}
{{ dict(a=1, b='x') }} {{ dict() }} {{ dict({'a': 1}, b=2) }} {{ dict([('a', 1), ['b', 2]]) }} {{ dict(pairs) }} {{ dict({'a': 1}, a=2) }}
{{ dict(1) }}
{{ dict([(1,)]) }}
{{ dict({}, {}) }}
{{ {[]: 1} }}
{{ {'a': 1, 'a': 2} }} {{ {1: 'a', true: 'b', 1.0: 'c'} }}
{% set ns = namespace(a=1) %}{{ ns.a }}{% set ns.a = 2 %}{{ ns.a }}{% set ns.b = 'x' %}{{ ns.b }}{{ ns.c is defined }}{{ ns }}{{ ns['a'] }}{{ ns.c }}|
{% set ns = namespace({'k': 1}, b=2) %}{{ ns.k + ns.b }}
{% set ns = namespace() %}{% set ns._x = 1 %}
{{ namespace(_x=1) }}
{% set x = 1 %}{% set x.y = 2 %}
{% set nope.y = 2 %}
{% set ns = namespace(n=0) %}{% for x in l %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}
{% set ns = namespace() %}{% set ns.me = ns %}{{ ns.me.me.me is defined }}
{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me|length }}
{{ namespace() == namespace() }} {% set ns = namespace() %}{{ ns == ns }} {{ ns is sameas ns }} {{ ns|length if false }}
{% set ns = namespace(a=1) %}{% for k in ns %}{{ k }}{% endfor %}
{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set (a, b) = (b, a) %}{{ a }}{{ b }} {% set a, (b, c) = 1, (2, 3) %}{{ c }} {% set a, b = 'xy' %}{{ b }} {% set a, = [9] %}{{ a }}
{% set a, b = [1] %}
{% set a, b = [1, 2, 3] %}
{% set a, b = 5 %}
{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}
{% set x = 1, 2 %}{{ x }}
{% set true = 1 %}
{% set 'a' = 1 %}
{% set a.b.c = 1 %}
{% set x %}hello {{ s }}{% endset %}{{ x }}|{{ x|length }}
{% set x | upper | replace('L', '1') %}hello{% endset %}{{ x }}
{% set x %}{% set y = 5 %}{{ y }}{% endset %}{{ x }}{{ y }}|
{% for x in l %}{{ x }}{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}
{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{{ loop.nosuch }}{% endfor %}
{% for x in [1,1,2,2] %}{{ loop.changed(x) }}{% endfor %}
{% for x in l %}{{ loop.cycle() }}{% endfor %}
{% for x in l %}{{ loop }}{% endfor %}
{% for x in l %}{{ loop|length }}{{ loop is iterable }}{{ loop is callable }}{{ loop is sequence }}{% endfor %}
{% for x in el %}{{ x }}{% else %}empty{% endfor %} {% for x in l %}{{ x }}{% else %}empty{% endfor %}
{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %} {% for x in l if x > 9 %}{% else %}none{% endfor %}
{% set ns = namespace(stop=false) %}{% for x in [1,2,3,4] if not ns.stop %}{{ x }}{% if x == 2 %}{% set ns.stop = true %}{% endif %}{% endfor %}
{% set ns = namespace(stop=false) %}{% for x in [1,2,3,4] if not ns.stop %}{{ x }}{{ loop.last }}{% if x == 2 %}{% set ns.stop = true %}{% endif %}{% endfor %}
{% set ns = namespace(stop=false) %}{% for x in [1,2,3,4] if not ns.stop %}{{ x }}{{ loop.length }}{% if x == 2 %}{% set ns.stop = true %}{% endif %}{% endfor %}
{% for x in l %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% endfor %}|{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in [1] %}{% continue %}{% else %}else{% endfor %}|{% for x in [1] %}{% break %}{% else %}else{% endfor %}|{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}else{% endfor %}
{% for a, b in pairs %}{{ a }}={{ b }};{% endfor %} {% for k, v in d.items() %}{{ k }}{{ v }}{{ loop.last }}{% endfor %} {% for k in d %}{{ k }}{% endfor %} {% for (a, b) in pairs %}{{ a }}{% endfor %} {% for a, (b, c) in [(1, (2, 3))] %}{{ c }}{% endfor %}
{% for a, b in [[1]] %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for c in 'aé😀' %}[{{ c }}]{{ loop.length }}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in missing %}{{ x }}{% else %}nothing{% endfor %}
{% for x in missing.foo %}{% endfor %}
{% for x in l %}{% for y in m %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% for x in l %}{% set y = x %}{% endfor %}{{ y }}|{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }} {% endfor %}{{ y }}
{% for x in l %}{{ q }}{% set q = x %}{{ q }}{% endfor %}{{ q }}|
{% for x in l %}{% if loop.first %}{% set q = x %}{% endif %}{{ q }}{% endfor %}|
{% if t %}{% set q = 1 %}{% endif %}{{ q }} {% if no %}{% set r = 1 %}{% endif %}{{ r is defined }}
{% set x = 9 %}{% for x in l %}{{ x }}{% endfor %}{{ x }}
{% for x in l %}{% set i = x %}{{ i }}{% endfor %}{{ i }}
{% for x in [1] %}{{ i }}{% endfor %}{% set i = 5 %}{{ i }}
{% for x in [1] %}{{ i }}{% endfor %}{% if t %}{% set i = 5 %}{% endif %}{{ i }}
{{ i }}{% for x in [1] %}{{ i }}{% endfor %}{% set i = 5 %}{{ i }}
{% macro mm() %}{{ i }}{% endmacro %}{{ mm() }}{% set i = 5 %}{{ mm() }}
{% macro mm() %}{{ w }}{% endmacro %}{{ mm() }}|{% set w = 5 %}{{ mm() }}
{% for x in [1] %}{% for y in [1] %}{{ i }}{% endfor %}{% set i = 3 %}{{ i }}{% endfor %}{{ i }}
{% set q = 1 %}{% for x in [1] %}{% for y in [1] %}{{ q }}{% endfor %}{% set q = 3 %}{{ q }}{% endfor %}{{ q }}
{% for loop in l %}{% endfor %}
{% for x in l %}{% set loop = 1 %}{% endfor %}
{% for true in l %}{% endfor %}
{% for x in l recursive %}{{ x }}{% endfor %}
{% for x in l, m %}{{ x }}{% endfor %} {% for x in 1, 2 %}{{ x }}{% endfor %} {% for x in (l if t else m) %}{{ x }}{% endfor %}
{% for x in l: %}{{ x }}{% endfor %} {% if t: %}y{% else: %}n{% endif %}
{% break %}
{% macro x() %}{% break %}{% endmacro %}
{% if t %}a{% elif no %}b{% else %}c{% endif %} {% if no %}a{% elif t %}b{% else %}c{% endif %} {% if no %}a{% elif no %}b{% else %}c{% endif %} {% if no %}a{% endif %}|
{% if missing %}a{% else %}b{% endif %} {% if l %}a{% endif %} {% if el %}a{% else %}b{% endif %} {% if 0.0 %}a{% else %}b{% endif %} {% if none %}{% else %}b{% endif %} {% if ' ' %}a{% endif %} {% if l|map('string') %}gen{% endif %} {% if el|map('string') %}gen{% endif %} {% if range(0) %}a{% else %}b{% endif %} {% if d.items() %}a{% endif %} {% if {}.items() %}a{% else %}b{% endif %}
{% if t, no %}a{% endif %}
{% if t if t else no %}a{% endif %}
{% macro f(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(1, c=9) }}{{ f(b=5, a=4) }}{{ f() }}
{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }} {{ f() }}|{{ f(1, 2) }} {{ f(b=3) }}
{% macro f(a=b, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ f() }} {{ f(b=2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(zz=2) }}
{% macro f(a, a) %}{% endmacro %}
{% macro f(a=1, b) %}{% endmacro %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f() %}x{% endmacro %}{{ f }} {{ f is callable }} {{ f() ~ 'y' }} {{ f()|upper }} {{ f() == 'x' }}
{% macro f() %}{% set q = 1 %}{{ q }}{{ s }}{% endmacro %}{{ f() }}{{ q }}|
{% set a = 1 %}{% macro f() %}{{ a }}{% set a = 2 %}{{ a }}{% endmacro %}{{ f() }}{{ a }}
{% macro outer() %}{% macro inner(x) %}<{{ x }}>{% endmacro %}{{ inner(1) }}{{ inner(2) }}{% endmacro %}{{ outer() }}
{% set ns = namespace() %}{% macro f() %}{{ s }}{% endmacro %}{% set ns.f = f %}{{ ns.f() }}
{% macro f() %}{{ loop.index }}{% endmacro %}{% for x in l %}{{ f() }}{% endfor %}
{% macro f() %}{{ x }}{% endmacro %}{% for x in l %}{{ f() }}{% endfor %}|
{% for x in l %}{% macro f() %}{{ x }}{{ loop.index }}{% endmacro %}{{ f() }}{% endfor %}
{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}body {{ s }}{% endcall %}
{% macro f(a) %}[{{ caller(a, 2) }}]{% endmacro %}{% call(x, y=3) f(1) %}{{ x }}-{{ y }}{% endcall %}
{% macro f() %}x{% endmacro %}{% call f() %}body{% endcall %}
{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}{% call f() %}{% endcall %}
{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}
{% call range(3) %}{% endcall %}
{% call 5 %}{% endcall %}
{% filter upper %}abc {{ s }}{% endfilter %} {% filter replace('a', 'b')|trim %} aaa {% endfilter %}|
{% filter nosuch %}{% endfilter %}
{% filter upper %}{% set q = 1 %}{% endfilter %}{{ q }}|
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}| {% with %}{% set zz = 1 %}{{ zz }}{% endwith %}{{ zz }}| {% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}
{% print 1, 'a' %} {% print s %}
{% generation %}gen {{ s }}{% set q = 1 %}{% endgeneration %}{{ q }}|
{% raw %}{{ not }} {% if %}{# c #}{% endraw %}| {%- raw -%}  x  {%- endraw -%}  y
  {% raw %}
  x
  {% endraw %}
z
{# comment #}a{#- b -#} c {#+ d +#}
{# unclosed
{% raw %} unclosed
{{ unclosed
{% if t %}
{% endif %}
{% endfor %}
{% if t %}a{% endfor %}
{% for x in l %}a
{% nosuch %}
{% %}
{{ }}
{{ 1 2 }}
{{ (1 }}
{{ 1) }}
{{ [1 }}
{{ {1} }}
{{ 'abc }}
{{ a b }}
{{ 1 + }}
{{ * 2 }}
{{ a..b }}
{{ a.'b' }}
{{ @ }}
{{ a ? b }}
{{ a & b }}
{{ ! a }}
{{ a = 1 }}
{{ f(a=1, 2) }}
{{ s|nosuch }}
{{ s is nosuch }}
{{ s| }}
{{ s is }}
{{ {'a':{'b':{}}} }} {{ {} }} {{ {'a': 1,} }} {{ [1,] }} {{ (1,) }} {{ [[[]]] }}
{{ (((1))) }} {{ ((1, 2), 3) }} {{ [1, 2][0] }} {{ {'a': 1}.a }} {{ 'abc'[1] }} {{ (1, 2)[0] }} {{ 'a'.upper() }} {{ [1,2]|length }} {{ -l[0] }} {{ -5|abs }} {{ (-5)|abs }} {{ not t is none }} {{ 1 if t else 2|string }}
{{ s|upper|lower|title }} {{ s | upper }} {{ s|replace('o', '0')|replace('l', '1', 1) }} {{ 'a-b (c) [d] {e} <f> g\'h ÉCOLE'|title }} {{ 'ß x'|title }}
{{ l|join }} {{ l|join(', ') }} {{ l|join(d='-') }} {{ users|join(',', attribute='name') }} {{ users|join(',', 'age') }} {{ 'abc'|join('.') }} {{ d|join(',') }} {{ [none, missing, true]|join('|') }} {{ l|join(1) }}
{{ 5|join }}
{{ l|first }} {{ l|last }} {{ el|first }}| {{ el|last }}| {{ s|first }}{{ s|last }} {{ e|first }}| {{ d|first }} {{ d|last }} {{ (el|first) is defined }} {{ l|map('string')|first }}
{{ l|map('string')|last }}
{{ 5|first }}
{{ l|length }} {{ s|count }} {{ d|length }} {{ missing|length }} {{ e|length }} {{ (1,2)|length }}
{{ 5|length }}
{{ none|length }}
{{ l|map('string')|length }}
{{ l|sort }} {{ l|sort(reverse=true) }} {{ m|sort }} {{ m|sort(case_sensitive=true) }} {{ users|sort(attribute='age')|map(attribute='name')|join(',') }} {{ users|sort(attribute='age', reverse=true)|map(attribute='name')|join(',') }} {{ d|sort }} {{ 'hello'|sort }} {{ [true, 0, 2, 1.5]|sort }} {{ users|sort(true, false, 'name')|map(attribute='name')|list }}
{{ [1, 'a']|sort }}
{{ [none, 1]|sort }}
{{ l|reverse|list }} {{ s|reverse }} {{ u|reverse }} {{ (1,2)|reverse|list }} {{ d|reverse|list }} {{ e|reverse }}|
{{ l|reverse }}
{{ 5|reverse }}
{{ [1, 1, 2, '1', 1.0]|unique|list }} {{ ['a', 'A', 'b']|unique|list }} {{ ['a', 'A']|unique(case_sensitive=true)|list }} {{ users|unique(attribute='age')|map(attribute='name')|list }}
{{ [[1]]|unique|list }}
{{ l|min }} {{ l|max }} {{ m|min }} {{ m|max }} {{ el|min }}| {{ users|max(attribute='age') }} {{ l|sum }} {{ users|sum(attribute='age') }} {{ [1.5, 2]|sum }} {{ el|sum }} {{ l|sum(start=10) }} {{ [[1], [2]]|sum(start=[]) }} {{ m|max(case_sensitive=true) }}
{{ ['a']|sum }}
{{ l|list }} {{ 'aé'|list }} {{ d|list }} {{ missing|list }} {{ (1,2)|list }}
{{ 5|list }}
{{ d|items|list }} {{ missing|items|list }} {% for k, v in d|items %}{{ k }}{{ v }}{% endfor %} {{ d|dictsort }} {{ d|dictsort(true) }} {{ d|dictsort(by='value') }} {{ d|dictsort(reverse=true) }} {{ d|dictsort(false, 'value', true) }}
{{ l|items|list }}
{{ l|dictsort }}
{{ d|dictsort(by='x') }}
{{ missing|dictsort }}
{{ l|map('string')|list }} {{ m|map('upper')|join }} {{ users|map(attribute='name')|list }} {{ users|map(attribute='on', default='?')|list }} {{ users|map(attribute='on')|list }} {{ [n]|map(attribute='x.y.1')|list }} {{ pairs|map(attribute=0)|list }} {{ pairs|map('first')|list }} {{ m|map('replace', 'b', 'z')|list }} {{ none|map('upper')|list }} {{ [l, m]|map('join', '-')|list }} {{ ['x', missing]|map('default', 'dd')|list }} {{ l|map('round', precision=1)|list }}
{{ l|map|list }}
{{ l|map('nosuch')|list }}
{{ l|map(foo='x')|list }}
{{ 5|map('upper')|list }}
{{ [1,2,3,4]|select('odd')|list }} {{ [1,2,3,4]|reject('odd')|list }} {{ [0, 1, '', 'a', none]|select|list }} {{ [0, 1]|reject|list }} {{ l|select('greaterthan', 1)|list }} {{ l|select('in', [1, 2])|list }} {{ l|select('>', 1)|list }} {{ l|select('divisibleby', 3)|list }} {{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list }} {{ messages|rejectattr('role', '==', 'user')|list|length }} {{ users|selectattr('on')|list|length }} {{ users|selectattr('on', 'defined')|list|length }} {{ users|rejectattr('on')|map(attribute='name')|list }} {{ users|selectattr('age', 'ge', 30)|map(attribute='name')|list }} {{ [n]|selectattr('x.y')|list }}
{{ l|select('nosuch')|list }}
{{ users|selectattr|list }}
{{ 5|select|list }}
{% set g = l|map('string') %}{{ g|list }}{{ g|list }} {% set g = l|select %}{% for x in g %}{{ x }}{% break %}{% endfor %}{{ g|list }} {% set g = m|map('upper') %}{{ 'A' in g }}{{ g|list }}
{{ l|map('string') == l|map('string') }}
{{ 3.7|int }} {{ '42'|int }} {{ ' 42 '|int }} {{ '42.7'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ '0x1F'|int(base=16) }} {{ 'ff'|int(0, 16) }} {{ none|int }} {{ true|int }} {{ '1e3'|int }} {{ -3.7|int }} {{ (-3.7)|int }} {{ '1_000'|int }} {{ '-5'|int }} {{ l|int(7) }} {{ ''|int }} {{ 'inf'|int }} {{ '0b11'|int(0, 0) }} {{ '+7'|int }} {{ '--7'|int }} {{ '1__0'|int }} {{ '_1'|int }} {{ '012'|int }} {{ '012'|int(9, 0) }}
{{ missing|int }}
{{ (1e308 * 10)|int }}
{{ '3.5'|float }} {{ 3|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ none|float }} {{ true|float }} {{ ' 1e3 '|float }} {{ 'inf'|float }} {{ '-Infinity'|float }} {{ 'nan'|float }} {{ '1_0.5'|float }} {{ '.5'|float }} {{ '5.'|float }} {{ '0x10'|float }} {{ '1e400'|float }} {{ '1e-400'|float }} {{ '1._5'|float }} {{ 'e5'|float }} {{ '.'|float }} {{ '+.5e-3'|float }}
{{ missing|float }}
{{ 42.55|round }} {{ 42.55|round(1) }} {{ 42.55|round(1, 'floor') }} {{ 42.55|round(1, 'ceil') }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 5|round }} {{ 5|round(2) }} {{ -1.5|round }} {{ 1.1|round(0, 'ceil') }} {{ 7|round(0, 'floor') }} {{ 0.5|round|int }} {{ true|round }} {{ 1e300|round(5) }}
{{ 'a'|round }}
{{ 1.5|round(1, 'x') }}
{{ -5|abs }} {{ 5.5|abs }} {{ (-5.5)|abs }} {{ true|abs }}
{{ 'a'|abs }}
{{ '  x '|trim }}|{{ 'xax'|trim('x') }}|{{ 5|trim }}|{{ none|trim }}|{{ missing|trim }}|{{ '\n x \t'|trim }}|{{ l|trim }}|{{ 'xax'|trim(chars='x') }}|
{{ 'a\nb\n\nc'|indent }} {{ 'a\nb'|indent(2) }} {{ 'a\nb'|indent(2, true) }} {{ 'a\n\nb'|indent(1, blank=true) }} {{ 'a\nb'|indent('>> ') }} {{ 'a\n'|indent }}| {{ ''|indent(2, true) }}| {{ 'a\nb'|indent(width=1, first=true) }} {{ 'a\r\nb'|indent }} {{ 'a\n\n'|indent(1, true, true) }}|
{{ none|indent }}
{{ missing|indent }}
{{ '<a href="x">\'&</a>'|e }} {{ '<'|escape }} {{ '<'|safe }} {{ 5|e }} {{ 'é'|e }} {{ '<'|e ~ '<' }}
{{ missing|default('x') }} {{ none|default('x') }} {{ none|default('x', true) }} {{ ''|d('x', true) }} {{ missing|default }}| {{ d.zz|default('q') }} {{ 0|default(5, boolean=true) }} {{ 'v'|default('x') }} {{ missing|default(none) }} {{ missing|default(default_value=3) }}
{{ missing.x|default('q') }}
{{ 5|string }} {{ none|string }} {{ l|string }} {{ missing|string }}| {{ 1.0|string ~ 'x' }} {{ (5|string)|length }}
{{ l|tojson }} {{ d|tojson }} {{ s|tojson }} {{ none|tojson }} {{ true|tojson }} {{ 1.0|tojson }} {{ 'é😀\n\t"\\/<>&\u0001\x7f\b\f\r'|tojson }} {{ 'é😀\x7f'|tojson(ensure_ascii=true) }} {{ {'a': [1, {'b': none}], 'c': {}, 'd': []}|tojson(indent=2) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ [1, 2]|tojson(separators=(',', ':')) }} {{ {'a': 1}|tojson(separators=(',', ':'), indent=1) }} {{ (1, 'a')|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ [1]|tojson(indent='--') }} {{ [1]|tojson(indent=0) }} {{ messages|tojson }} {{ e|tojson }} {{ users[0]|tojson(indent=4) }}
{{ missing|tojson }}
{{ range(3)|tojson }}
{{ l|map('string')|tojson }}
{{ {(1,2): 3}|tojson }}
{{ [missing]|tojson }}
{{ {1: 2, 'a': 3}|tojson(sort_keys=true) }}
{{ namespace(a=1)|tojson }}
{{ (1e308*10)|tojson }} {{ ('nan'|float)|tojson }} {{ -0.0|tojson }} {{ 1e16|tojson }}
{{ s is defined }} {{ missing is defined }} {{ missing is undefined }} {{ nil is none }} {{ missing is none }} {{ s is string }} {{ 5 is string }} {{ d is mapping }} {{ l is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ 5 is sequence }} {{ missing is sequence }} {{ d.items() is sequence }} {{ l is iterable }} {{ 5 is iterable }} {{ missing is iterable }} {{ none is iterable }} {{ range(2) is sequence }} {{ l|map('string') is iterable }} {{ l|map('string') is sequence }}
{{ 5 is number }} {{ true is number }} {{ 5.5 is number }} {{ '5' is number }} {{ 5 is integer }} {{ true is integer }} {{ 5.0 is integer }} {{ 5.0 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ none is false }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1.5 is odd }} {{ true is odd }} {{ -3 is odd }}
{{ 'a' is odd }}
{{ none is even }}
{{ 9 is divisibleby 0 }}
{{ 5 is eq 5 }} {{ 5 is equalto(5.0) }} {{ 5 is ne 4 }} {{ 5 is gt 4 }} {{ 5 is lt 4 }} {{ 5 is ge 5 }} {{ 5 is le 4 }} {{ 5 is lessthan 6 }} {{ 5 is greaterthan 6 }} {{ 5 is in [5] }} {{ 5 is not in [5] }} {{ 'a' is in 'abc' }} {{ none is sameas none }} {{ true is sameas true }} {{ 1 is sameas true }} {{ l is sameas l }} {{ [1] is sameas [1] }}
{{ 'a' is lt 5 }}
{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'Abc' is lower }} {{ '1' is lower }} {{ 5 is upper }}
{{ s is not defined }} {{ not s is defined }} {{ s is defined and s is string }} {{ s is string or 1 }} {{ s is not string and 1 }} {{ (s is string) == true }} {{ s is defined == true }}
{{ s is string is defined }}
{{ s is divisibleby }}
{{ s is defined(1) }}
{{ range is callable }} {{ s is callable }} {{ missing is callable }} {{ dict is defined }} {{ raise_exception is defined }} {{ strftime_now is callable }}
{{ raise_exception('bad ' ~ s) }}
{{ raise_exception() }}
{% if no %}{{ raise_exception('x') }}{% endif %}fine
{{ strftime_now('%Y-%m-%d %H:%M:%S') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%A %B %-d %j %%') }} {{ strftime_now('') }}| {{ strftime_now('%z%Z|%f') }} {{ strftime_now('é %y') }} {{ strftime_now("%I %p %U %w") }}
{{ strftime_now() }}
{{ strftime_now(5) }}
{% include 'x' %}
{% import 'x' as y %}
{% extends 'x' %}
{{ messages|map(attribute='role')|join(',') }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content']|trim + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}{% endfor %}
{%- for m in messages -%}{{ m.role }}: {{ m.content }}{{ eos_token if not loop.last }}{%- endfor -%}
{{ messages|selectattr('role', 'in', ['user', 'system'])|list|length }} {{ (messages|first).role }} {{ messages|length > 2 and messages[2].role == 'assistant' }} {{ 'x' if messages[0]['content'] is string else 'y' }} {{ messages[0].get('tool_calls') }} {{ 'tool_calls' in messages[0] }} {{ messages[0].tool_calls is defined }} {{ messages[::-1][0].role }}
{{ (l + [4])[-1] }} {{ l[0] + l[1] * l[2] }} {{ "%s" }} {{ '%' }} {{ s.split(' ')[0] }} {{ s.split(' ')|last }} {{ (s|upper)[0:2] }} {{ s[0]|upper ~ s[1:] }} {{ d['a'] if 'a' in d else 0 }} {{ s.split('o')[-1].strip() }} {{ '</think>' in s }} {{ ('a</think>b'.split('</think>')|first).strip('\n') }}
{{ 9223372036854775807 }} {{ -9223372036854775807 }} {{ 9223372036854775807 // 2 }} {{ 9007199254740993 == 9007199254740992.0 }} {{ 9223372036854775806 < 9223372036854775807.0 }} {{ 9223372036854775807 / 3 }} {{ 2 ** 62 }}
{{ 1 .real }}|{{ 1.5.foo }}|
{{ [1,2,3].0 }} {{ 'abc'.1 }} {{ pairs.0.0 }}
{{ s is defined if t else 1 }}
{{ [x for x in l] }}
{{ lambda }}|
{{ and }}
{{ not }}
{{ in }}
{{ loop }}|{{ self_ }}|
{{ i.__class__ }}| {{ (i).bit_length_ }}|
{{ caller }}|{{ varargs }}|
{{ {'a': missing}['a'] }}| {{ [missing]|length }} {{ [missing] }}
{{ (missing,) }} {{ missing ~ '' }}| {{ missing|upper }}| {{ missing|join }}| {{ missing|first }}| {{ missing|last }}| {{ missing|sort }} {{ missing|sum }} {{ missing|reverse|list }} {{ missing|unique|list }} {{ missing|map('upper')|list }} {{ missing|select|list }} {{ missing|replace('a', 'b') }}| {{ missing|title }}| {{ missing|e }}| {{ missing|min }}|
'''.strip("\n").split("\n")

MULTI = ["{{ '\\\nnext' }}", "{{ 'abc\ndef' }}", "  {% raw %}\n  x\n  {% endraw %}\nz", "a\r\nb\rc\n", "a\n\n", "\n", "",
         "{{ s }}\n", "{{ s }}\n\n", "x\r\n", "{% if t %}\r\nx\r\n{% endif %}\r\ny",
         "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend", "{%- for x in l -%}\n  {{ x }}\n{%- endfor -%}\nend",
         "  {%+ if t %}\n  a\n  {%+ endif +%}\n  b", "  {%+ if t -%}\n  a\n  {%- endif %}\n  b",
         "a  {# c #}  \n  b\n  {# d #}\n  {#- e -#}\n c", "{{ s }}  {% if t %}x{% endif %}  \n y",
         "   {{ s }}\n   {% if t %}\n   x {% endif %}\n   {# c #}\n   z\n",
         "{{- s -}}\n\n  x  {{- s }}", "a {{- s -}} b", "a\n{{- s -}}\nb", "a \u00a0{%- if t -%}\u2003 b{% endif %}",
         "\t{% set x = 1 %}\n\t{{ x }}\n", "{% set x = 1 %}{# c #}\n{% set y = 2 %}\n\n{{ y }}",
         "{% if t %} {% endif %}\n{% if t %}\t{% endif %}|", "x {% if t %}\n\n\ny{% endif %}",
         "{{ '{{' }} {{ '%}' }} {{ '#}' }} {% set x = '%}' %}{{ x }} { { % } #}", "{ {{ s }} } {%", "{", "{{", "{#", "a {",
         "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {}} }}", "{% set x = {'a': {'b': [1]}} %}{{ x }}", "#}{{ s }}%}}}",
         "{{ s -}}   {{- s }}", "{#- a -#}\n  x\n{#+ b +#}\n y", "  {#+ b #}\n y", " \u3000{% if t %}x{% endif %}",
         "line {{ 1 }}\n{# multi\nline #}\n{{ 2 }}\n{%- set x = 5 %}\n{{- x }}", "{%if t%}a{%endif%}{{s}}{%-if t-%} b {%-endif-%}",
         "{% raw -%}\n  x {%- endraw %}\n y", "{% raw %}{% endraw %}", "{%-raw-%} a {%-endraw-%} b", "{% raw +%}x{% endraw %}",
         "  {%- raw %} a {% endraw +%}\n b", "{%   raw   %}x{%   endraw   %}y", "{% raw %}{% raw %}{% endraw %}",
         "{%\nif t\n%}\nx\n{%\nendif\n%}\ny", "{{\ns\n}}", "{{ s|\nupper\n}}", "{% if t %}a\n{% elif no %}\nb\n{% else %}\nc\n{% endif %}\nd"]
SNIPPETS += MULTI


def letters():
    """All letters that have another case; polytonic Greek, whose titles we do not have, apart."""
    known = [chr(c) for c in range(0x80, 0x1F000) if not 0xD800 <= c < 0xE000]
    known = [c for c in known if c.upper() != c or c.lower() != c]
    greek = [c for c in known if "\u1f00" <= c <= "\u1fff"]
    rest = [c for c in known if c not in greek]
    for text in (rest[:700], rest[700:1400], rest[1400:2100], rest[2100:]):
        yield "{{ '%s'.upper() }}" % "".join(text)
        yield "{{ '%s'.lower() }}" % "".join(text)
        yield "{{ '%s'|title }}" % " ".join(text[::5])
        yield "{{ '%s'.title() }}" % "x ".join(text[::7])
    yield "{{ '%s'.upper() }}{{ '%s'.lower() }}" % ("".join(greek), "".join(greek))


def published_like():
    """The templates that the C++ tests break, taken from there."""
    header = pathlib.Path(__file__).parent / "../../engine/text/jinja/published_like_templates.h"
    return re.findall(r'R"\((.*?)\)",', header.read_text(), re.DOTALL)


def generated():
    """White space control in all combinations, and every filter and test on every kind of value."""
    yield from letters()
    yield from published_like()
    for a in ("", "-", "+"):
        for b in ("", "-", "+"):
            yield "x \n  {%%%s if t %s%%}  \n  y  \n  {%%%s endif %s%%}\n  z" % (a, b, b, a)
            yield "x \n  {#%s c %s#}  \n  y" % (a, b)
            yield "x  {%%%s set q = 1 %s%%}\n\n  {{%s q %s}}\n  y" % (a, b, a, b.replace("+", ""))
            yield "{%%%s raw %s%%}  \n a \n  {%%%s endraw %s%%} \n b" % (a, b.replace("+", ""), b, a)
    values = ["none", "true", "0", "-7", "2.5", "''", "' aB c '", "[]", "[3, 1, 2]", "['b', 'A']", "(1, 2)", "{}", "d", "missing",
              "range(3)", "d.items()", "users", "namespace(a=1)", "u"]
    for name in ("trim", "upper", "lower", "title", "capitalize", "string", "e", "replace('a', 'b')", "indent", "tojson", "abs", "int",
                 "float", "round", "length", "default('D')", "default('D', true)", "first", "last", "reverse|list", "list", "join('-')",
                 "items|list", "dictsort", "sort", "unique|list", "min", "max", "sum", "map('string')|list", "select|list",
                 "reject|list", "selectattr('a')|list", "map(attribute='name')|list", "safe"):
        for value in values:
            yield "{{ (%s)|%s }}" % (value, name)
    tests = ("defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping", "sequence",
             "iterable", "callable", "odd", "even", "divisibleby(2)", "upper", "lower", "eq(0)", "lt(1)", "in([0, none])")
    for value in values:
        yield "{{ [%s] }}" % ", ".join("(%s) is %s" % (value, test) for test in tests if test not in ("odd", "even", "divisibleby(2)", "lt(1)"))
        for test in ("odd", "even", "divisibleby(2)", "lt(1)"):
            yield "{{ (%s) is %s }}" % (value, test)
        yield "{{ (%s)[0] }}|" % value
        yield "{{ (%s)[-1] }}|" % value
        yield "{{ (%s)['a'] }}|" % value
        yield "{{ (%s).a }}|" % value
        yield "{%% set v = %s %%}{{ v[1:] }}|" % value
        yield "{{ (%s) ~ '' }}{{ not (%s) }}{{ (%s) or 1 }}" % (value, value, value)
        yield "{%% for x in (%s) %%}{{ x }},{%% endfor %%}" % value
        yield "{{ (%s) + 1 }}" % value
        yield "{{ (%s) * 2 }}" % value
        yield "{{ (%s) in (%s) }}" % (value, value)
        yield "{{ (%s) < (%s) }}" % (value, value)
        yield "{{ (%s) == (%s) }}" % (value, value)
