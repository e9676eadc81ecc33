// cascade chat: talk to the model.
#include <CLI/CLI.hpp>

#include "client/chat.h"
#include "client/command.h"
#include "client/sampling_flags.h"

namespace cascade::client {

void AddChat(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<ChatOptions>();
  auto flags = std::make_shared<SamplingFlags>();
  CLI::App* command =
      app.add_subcommand("chat", "Talk to the model; without a terminal, one message per line of standard input");
  command->fallthrough();
  command->add_option("--system", options->system, "what the model is told before the chat");
  CLI::Option* session =
      command->add_option("--session", options->session_id, "go on in this session")->check(NotEmpty);
  command->add_flag("--keep", options->keep, "do not delete the session at the end")->excludes(session);
  flags->AddTo(*command);
  command->callback([=, &chosen] {
    chosen = [=](const GlobalOptions& global) {
      if (!flags->SetIn(&options->like)) return kExitFailed;
      const std::unique_ptr<Client> client = ConnectTo(global);
      return client == nullptr ? kExitUnreachable : Chat(*client, *options).Run();
    };
  });
}

}  // namespace cascade::client
