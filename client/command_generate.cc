// cascade generate: one prompt, one reply.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <vector>

#include "client/command.h"
#include "client/format.h"
#include "client/logprob_table.h"
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
  bool echo = false;
  std::optional<int32_t> replies;
  std::optional<int32_t> logprobs;
  std::optional<int32_t> prompt_logprobs;
  SamplingFlags sampling;
};

void AddMessage(v1::Messages& messages, const std::string& role, const std::string& content) {
  v1::Message& message = *messages.add_messages();
  message.set_role(role);
  message.set_content(content);
}

// What was asked for beside the text, on standard error.
void Tell(const GenerateOptions& options, Client& client, const Reply& reply) {
  if (!reply.prompt_logprobs.empty()) {
    std::fprintf(stderr, "prompt:\n%s", DrawLogprobs(client, reply.prompt_logprobs).c_str());
  }
  if (!reply.logprobs.empty()) {
    std::fprintf(stderr, "reply:\n%s", DrawLogprobs(client, reply.logprobs).c_str());
  }
  if (options.usage && reply.status.ok()) {
    std::fprintf(stderr, "finish: %s\nusage: %s\n", FinishReasonName(reply.finish_reason).c_str(),
                 Describe(reply.usage).c_str());
  }
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
  if (!options.sampling.SetIn(&request)) return kExitFailed;
  request.set_echo(options.echo);
  if (options.replies) request.set_n(*options.replies);
  if (options.logprobs) request.set_logprobs(*options.logprobs);
  if (options.prompt_logprobs) request.set_prompt_logprobs(*options.prompt_logprobs);

  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  const std::unique_ptr<GenerateStream> stream = client->Generate(request);
  const int count = options.replies.value_or(1);
  const std::vector<Reply> replies =
      count > 1 ? PrintReplies(*stream, count) : std::vector<Reply>{PrintStream(*stream)};
  for (const Reply& reply : replies) Tell(options, *client, reply);
  return replies.front().status.ok() ? 0 : Fail(replies.front().status);
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
  command->add_flag("--echo", options->echo, "print the prompt before the reply")->excludes(chat);
  command->add_option("-n,--replies", options->replies, "so many replies, printed one after the other (default 1)")
      ->check(CLI::Range(1, 16));
  command->add_option(
      "--logprobs", options->logprobs,
      "tells each token's probability on standard error at the end, with so many of the best (0 to 20)");
  command->add_option("--prompt-logprobs", options->prompt_logprobs, "the same of the prompt's tokens");
  command->add_flag("--usage", options->usage, "tells tokens and times on standard error at the end");
  options->sampling.AddTo(*command);
  command->callback(
      [options, &chosen] { chosen = [options](const GlobalOptions& global) { return Run(*options, global); }; });
}

}  // namespace cascade::client
