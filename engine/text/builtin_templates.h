#pragma once

#include <string>
#include <string_view>

namespace cascade {

// The Jinja text of a built-in chat template (chatml, llama2, llama3, mistral, zephyr); "" for another name.
std::string_view BuiltinTemplate(std::string_view name);
// "chatml, llama2, ..": for help and errors.
std::string BuiltinTemplateNames();

}  // namespace cascade
