// cascade inspect: which parts of its history a session still holds.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "client/command.h"
#include "client/inspect.h"

namespace cascade::client {
namespace {

int Run(const std::string& session_id, const InspectOptions& options, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  std::string picture;
  if (grpc::Status status = DrawSession(*client, session_id, options, &picture); !status.ok()) return Fail(status);
  std::fputs(picture.c_str(), stdout);
  return 0;
}

}  // namespace

void AddInspect(CLI::App& app, Command& chosen) {
  auto session_id = std::make_shared<std::string>();
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "Draw which parts of a session's history are held, thinned and forgotten");
  command->fallthrough();
  command->add_option("id", *session_id, "the session")->required();
  command->add_option("--layer", options->layer, "this layer only");
  command->add_option("--head", options->head, "this key-value head only");
  command->add_flag("--zoom", options->zoom, "begin at the oldest token that is held");
  command->add_flag("--ascii", options->ascii, "draw with 7-bit characters");
  command->callback(
      [=, &chosen] { chosen = [=](const GlobalOptions& global) { return Run(*session_id, *options, global); }; });
}

}  // namespace cascade::client
