// Templates in the manner of published ones, as seeds for tests.
#pragma once

#include <string_view>

namespace cascade::jinja {

inline constexpr std::string_view kSeedTemplates[] = {
    // Marks around every message, a default system prompt.
    R"({% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}
)",
    // The system prompt inside the first instruction; roles must alternate.
    R"({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %})",
    // Dates, tools that are absent, trims.
    R"({{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("one tool call at once") }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
)",
    // Namespaces, macros, reversed loops, splits.
    R"({%- macro show(m, last=false) %}{% filter trim %}<{{ m.role|upper }}>{% endfilter %}{{ m['content'].split('</think>')[-1].lstrip('\n') }}{% if not last %}{{ eos_token or '' }}{% endif %}{% endmacro %}
{%- set ns = namespace(seen=false, last=messages|length - 1, text='') %}
{%- for message in messages[::-1] %}{% set index = (messages|length - 1) - loop.index0 %}
{%- if ns.seen is false and message.role == "user" and message.content is string and not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}{% set ns.seen = true %}{% set ns.last = index %}{% endif %}{% endfor %}
{%- for message in messages if message['role'] in ['system', 'user', 'assistant'] %}
{%- set ns.text = ns.text ~ show(message, last=loop.last) %}
{%- if loop.index0 > ns.last or loop.first %}{{ loop.cycle('[', '(') }}{{ show(message) }}{{ loop.index ~ '/' ~ loop.length }}{% else %}{{ message.content|replace('\n', ' ')|title|indent(2, true) }}{% endif %}
{%- endfor %}{{ ns.text }}{{ {'roles': messages|map(attribute='role')|unique|list}|tojson(indent=2) }}{% for k, v in messages[0]|dictsort %}{{ k }}={{ v|length }}{% endfor %}
{%- generation %}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{% endgeneration %})",
};

}  // namespace cascade::jinja
