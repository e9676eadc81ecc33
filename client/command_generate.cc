// cascade generate: one prompt, one reply.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "client/command.h"
#include "client/format.h"
#include "client/reply.h"
#include "client/sampling_flags.h"
#include "client/terminal.h"

namespace cascade::client {
namespace {

struct GenerateOptions {
  std::string prompt;
  bool chat = false;
  std::string system;
  std::string session_id;
  bool special = false;
  bool usage = false;
  SamplingFlags sampling;
};

void AddMessage(v1::Messages& messages, const std::string& role, const std::string& content) {
  v1::Message& message = *messages.add_messages();
  message.set_role(role);
  message.set_content(content);
}

int Run(const GenerateOptions& options, const GlobalOptions& global) {
  const std::optional<std::string> text = TextArgument(options.prompt);
  if (!text) return kExitFailed;
  v1::GenerateRequest request;
  request.set_session_id(options.session_id);
  if (options.chat) {
    v1::Messages& messages = *request.mutable_prompt()->mutable_messages();
    if (!options.system.empty()) AddMessage(messages, "system", options.system);
    AddMessage(messages, "user", *text);
  } else {
    request.mutable_prompt()->set_text(*text);
    request.mutable_prompt()->set_parse_special(options.special);
  }
  *request.mutable_sampling() = options.sampling.Sampling();
  *request.mutable_stopping() = options.sampling.Stopping();

  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  const Reply reply = PrintStream(*client->Generate(request));
  if (!reply.status.ok()) return Fail(reply.status);
  if (options.usage) {
    std::fprintf(stderr, "finish: %s\nusage: %s\n", FinishReasonName(reply.finish_reason).c_str(),
                 Describe(reply.usage).c_str());
  }
  return 0;
}

}  // namespace

void AddGenerate(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt, or answer it with --chat")->fallthrough();
  command->add_option("prompt", options->prompt, "the prompt; - reads it from standard input")->required();
  CLI::Option* chat =
      command->add_flag("--chat", options->chat, "the prompt is a user's message; the model's chat template applies");
  command->add_option("--system", options->system, "a system message before it")->needs(chat);
  command->add_option("--session", options->session_id, "a turn of this session")->check(NotEmpty);
  command
      ->add_flag("--special", options->special,
                 "control tokens in the prompt, such as <|im_start|>, are not plain text")
      ->excludes(chat);
  command->add_flag("--usage", options->usage, "tells tokens and times on standard error at the end");
  options->sampling.AddTo(*command);
  command->callback(
      [options, &chosen] { chosen = [options](const GlobalOptions& global) { return Run(*options, global); }; });
}

}  // namespace cascade::client
