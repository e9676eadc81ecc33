#include "engine/text/jinja/jinja_template.h"

#include <utility>

#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/parser.h"

namespace cascade::jinja {
namespace {

class ParsedTemplate final : public Template {
 public:
  explicit ParsedTemplate(std::unique_ptr<Syntax> syntax) : syntax_(std::move(syntax)) {}

  absl::StatusOr<Text> Render(const Variables& variables, const Limits& limits) const override {
    std::vector<Value> messages;
    for (const Message& message : variables.messages) {
      messages.push_back(FreeDict({{FreeText(Text("role")), FreeText(Text(message.role, message.role_is_content))},
                                   {FreeText(Text("content")), FreeText(Text(message.content, true))}}));
    }
    NamedValues values = {{"messages", FreeList(std::move(messages))},
                          {"add_generation_prompt", variables.add_generation_prompt},
                          {"tools", None()},
                          {"documents", None()}};
    const std::pair<const char*, const std::string*> tokens[] = {{"bos_token", &variables.bos_token},
                                                                 {"eos_token", &variables.eos_token},
                                                                 {"unk_token", &variables.unk_token},
                                                                 {"pad_token", &variables.pad_token}};
    for (const auto& [name, text] : tokens) {
      if (!text->empty()) values.emplace_back(name, FreeText(Text(*text)));
    }
    return RenderSyntax(*syntax_, values, variables.now, limits);
  }

 private:
  const std::unique_ptr<const Syntax> syntax_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Template>> Template::Parse(std::string_view source) {
  absl::StatusOr<std::unique_ptr<Syntax>> syntax = ParseSyntax(source);
  if (!syntax.ok()) return syntax.status();
  return std::make_unique<ParsedTemplate>(*std::move(syntax));
}

}  // namespace cascade::jinja
