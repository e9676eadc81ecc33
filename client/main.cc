// The program `cascade`: talks to a Cascade server from the command line, and reads model files.
//
// Exit codes: 0 done; 1 the server or a file said no; 64 wrong arguments; 69 the server cannot be reached or is
// leaving; 130 interrupted.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "client/command.h"
#include "client/terminal.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

constexpr char kFooter[] =
    "\nFirst steps:\n"
    "  cascade chat                                         talk to the model\n"
    "  cascade generate --chat \"What is a cascade?\"         ask once\n"
    "  cascade score book.txt                               perplexity of a text\n"
    "\"cascade COMMAND --help\" tells more. NO_COLOR in the environment turns colours off.";

int Main(int argc, char** argv) {
  // gRPC's own lines; errors reach the user by their status. Whoever sets the variable sees them.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  CLI::App app("Talks to a Cascade server: language models whose chats never end.", "cascade");
  app.footer(kFooter);
  app.set_version_flag("--version", "cascade " CASCADE_VERSION);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    std::string what = error.what();
    // "A subcommand is required" would hide which word is not one.
    const std::vector<std::string> surplus = failed->remaining(/*recurse=*/true);
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError) && !surplus.empty()) {
      what = "there is no command or option " + surplus.front();
    }
    return "cascade: " + WithoutControls(what) + " (see " + failed->get_name() + " --help)\n";
  });

  GlobalOptions options;
  app.add_option("--address", options.address, "host:port of the server (default 127.0.0.1:50051)")
      ->envname("CASCADE_ADDRESS");
  app.add_option("--timeout", options.timeout_seconds, "seconds that a call may take (default: no limit)")
      ->check([](const std::string& text) {
        const double seconds = std::atof(text.c_str());
        return std::isfinite(seconds) && seconds > 0 && seconds <= 1e6 ? "" : "must be over 0 and at most 1000000";
      });
  Command command;
  AddChat(app, command);
  AddGenerate(app, command);
  AddScore(app, command);
  AddSessions(app, command);
  AddInspect(app, command);
  AddTokenize(app, command);
  AddBench(app, command);
  AddInfo(app, command);
  AddModel(app, command);

  for (int i = 1; i < argc; ++i) {
    if (!FirstInvalidUtf8(argv[i])) continue;
    PrintError("argument " + std::to_string(i) + " is no valid UTF-8");
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" with code 0.
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return command(options);
}

}  // namespace
}  // namespace cascade::client

int main(int argc, char** argv) { return cascade::client::Main(argc, argv); }
