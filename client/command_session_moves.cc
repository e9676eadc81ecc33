// cascade sessions: park, rewind, export, import.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "client/command_sessions.h"
#include "client/format.h"
#include "client/interrupts.h"
#include "client/new_file.h"
#include "client/progress_bar.h"
#include "client/terminal.h"

namespace cascade::client {
namespace {

constexpr int kExitInterrupted = 130;
// Of an import: far below the limit of a message, far above what a message costs.
constexpr size_t kPieceBytes = 1 << 20;

struct MoveOptions {
  std::string id;
  std::string target;
  std::optional<int64_t> turns;
  std::optional<int64_t> to_turn;
  std::optional<int64_t> expected_position;
  bool allow_replay = false;
  std::string file;
  bool with_history = false;
  v1::ImportOptions import;
  std::string durability;
};

int Park(const MoveOptions& options, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  v1::ParkSessionRequest request;
  request.set_session_id(options.id);
  if (options.target == "host") request.set_target(v1::PARK_TARGET_HOST);
  if (options.target == "disk") request.set_target(v1::PARK_TARGET_DISK);
  v1::Session session;
  if (grpc::Status status = client->ParkSession(request, &session); !status.ok()) return Fail(status);
  std::printf("%s\n", StateName(session.state()).c_str());
  return 0;
}

int Rewind(const MoveOptions& options, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  v1::RewindSessionRequest request;
  request.set_session_id(options.id);
  if (options.turns) request.set_take_back(*options.turns);
  if (options.to_turn) request.set_to_turn(*options.to_turn);
  if (options.expected_position) request.set_expected_position(*options.expected_position);
  request.set_allow_replay(options.allow_replay);
  v1::Session session;
  if (grpc::Status status = client->RewindSession(request, &session); !status.ok()) return Fail(status);
  std::printf("%s turn%s, %s tokens\n", WithCommas(session.turns()).c_str(), session.turns() == 1 ? "" : "s",
              WithCommas(session.position()).c_str());
  return 0;
}

int Export(const MoveOptions& options, const GlobalOptions& global) {
  if (options.file == "-" && IsTerminal(STDOUT_FILENO)) {
    PrintError("a session is no text for a terminal; name a file");
    return kExitUsage;
  }
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  const std::unique_ptr<NewFile> file = NewFile::Open(options.file);
  if (file == nullptr) return kExitFailed;
  v1::ExportSessionRequest request;
  request.set_session_id(options.id);
  request.set_with_history(options.with_history);
  Interrupts interrupts;
  bool interrupted = false;
  int64_t bytes = 0, total = 0;
  ProgressBar bar;
  const std::unique_ptr<ExportStream> stream = client->ExportSession(request);
  {
    Interrupts::Handler handler(interrupts, [&] {
      interrupted = true;
      stream->Cancel();
    });
    for (v1::ExportSessionResponse part; stream->Next(&part);) {
      if (!file->Write(part.data())) return kExitFailed;
      bytes += static_cast<int64_t>(part.data().size());
      total = part.total_bytes();
      bar.Update(bytes, total, Bytes(bytes));
    }
  }
  bar.Clear();
  const grpc::Status status = stream->Finish();
  if (interrupted) return kExitInterrupted;
  if (!status.ok()) return Fail(status);
  if (bytes != total) {
    PrintError("the server sent " + std::to_string(bytes) + " of " + std::to_string(total) + " bytes");
    return kExitFailed;
  }
  return file->Commit() ? 0 : kExitFailed;
}

// "": read well, or the server wants no more.
std::string SendFile(std::FILE* file, ImportStream& stream) {
  for (;;) {
    std::string piece(kPieceBytes, '\0');
    piece.resize(std::fread(piece.data(), 1, piece.size(), file));
    if (std::ferror(file) != 0) return std::strerror(errno);
    if (piece.empty() || !stream.Send(std::move(piece))) return "";
  }
}

int Import(const MoveOptions& options, const GlobalOptions& global) {
  const bool standard_input = options.file == "-";
  const std::string name = standard_input ? "standard input" : options.file;
  const auto close = [&](std::FILE* file) { return standard_input ? 0 : std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(
      standard_input ? stdin : std::fopen(options.file.c_str(), "rb"), close);
  if (file == nullptr) {
    PrintError("cannot open " + name + ": " + std::strerror(errno));
    return kExitFailed;
  }
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  const std::unique_ptr<ImportStream> stream = client->ImportSession(options.import);
  if (const std::string error = SendFile(file.get(), *stream); !error.empty()) {
    PrintError("cannot read " + name + ": " + error);
    return kExitFailed;
  }
  v1::Session session;
  if (grpc::Status status = stream->Finish(&session); !status.ok()) return Fail(status);
  std::printf("%s\n", session.session_id().c_str());
  return 0;
}

using Move = int (*)(const MoveOptions&, const GlobalOptions&);

CLI::App* Add(CLI::App& sessions, const std::string& name, const std::string& help, Move move,
              const std::shared_ptr<MoveOptions>& options, Command& chosen) {
  CLI::App* command = sessions.add_subcommand(name, help)->fallthrough();
  command->callback([=, &chosen] { chosen = [=](const GlobalOptions& global) { return move(*options, global); }; });
  return command;
}

}  // namespace

void AddSessionMoves(CLI::App& sessions, Command& chosen) {
  auto options = std::make_shared<MoveOptions>();

  CLI::App* park = Add(sessions, "park", "Move an idle session out of its cache slot", Park, options, chosen);
  park->add_option("id", options->id, "the session")->required()->check(NotEmpty);
  park->add_option("--to", options->target, "host (memory) or disk; without it, where there is room")
      ->check(CLI::IsMember({"host", "disk"}));

  CLI::App* rewind = Add(sessions, "rewind", "Take a session's newest turns back, the last one unless told otherwise",
                         Rewind, options, chosen);
  rewind->add_option("id", options->id, "the session")->required()->check(NotEmpty);
  CLI::Option* turns = rewind->add_option("--turns", options->turns, "take so many turns back");
  rewind->add_option("--to-turn", options->to_turn, "leave so many turns")->excludes(turns);
  rewind->add_option("--expected-position", options->expected_position, "refuse unless the session has so many tokens");
  rewind->add_flag("--allow-replay", options->allow_replay,
                   "for turns further back: the server may read all tokens again, however long that takes");

  CLI::App* out = Add(sessions, "export", "Write a session into a file, for import into this or another server", Export,
                      options, chosen);
  out->add_option("id", options->id, "the session")->required()->check(NotEmpty);
  out->add_option("file", options->file, "the file; - is standard output")->required()->check(NotEmpty);
  out->add_flag("--with-history", options->with_history,
                "with all of its tokens, which a server with another cache geometry needs");

  CLI::App* in = Add(
      sessions, "import", "Make a session from an exported one and print its id",
      [](const MoveOptions& given, const GlobalOptions& global) {
        MoveOptions all = given;
        all.import.set_durability(ParseDurability(given.durability));
        return Import(all, global);
      },
      options, chosen);
  in->add_option("file", options->file, "the file; - is standard input")->required()->check(NotEmpty);
  in->add_option("--label", *options->import.mutable_label(),
                 "a name for people: letters, digits, _ and -, 64 at most");
  AddDurability(*in, options->durability);
  in->add_flag_callback(
      "--replay", [=] { options->import.set_replay(true); },
      "where the cache geometries differ, read an export --with-history again from its first token");
}

}  // namespace cascade::client
