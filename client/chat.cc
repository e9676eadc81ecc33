#include "client/chat.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "client/command.h"
#include "client/format.h"
#include "client/inspect.h"
#include "client/line_reader.h"
#include "client/status_text.h"
#include "client/terminal.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

constexpr char kHelp[] =
    "  /new     forget everything: a new session\n"
    "  /stats   what the session and the last reply took\n"
    "  /cache   draw which parts of the chat the session still holds\n"
    "  /help    this text\n"
    "  /quit    leave (also Ctrl-D)\n"
    "Ctrl-C stops the reply. A line that ends with \\ goes on in the next. //text sends /text.\n";

constexpr char kPrompt[] = "> ";
constexpr char kMorePrompt[] = "| ";

v1::Message MakeMessage(const std::string& role, const std::string& content) {
  v1::Message message;
  message.set_role(role);
  message.set_content(content);
  return message;
}

}  // namespace

Chat::Chat(Client& client, ChatOptions options)
    : client_(client), options_(std::move(options)), interactive_(IsTerminal(STDIN_FILENO)) {}

int Chat::Run() {
  if (grpc::Status status = OpenSession(); !status.ok()) return Fail(status);
  Greet();
  LineReader reader(STDIN_FILENO, interrupts_);
  std::string message;
  bool warned = false;
  for (Next next = Next::kGoOn; next == Next::kGoOn && !interrupts_.leaving();) {
    if (interactive_) {
      const bool colour = WantsColour(STDOUT_FILENO);
      std::printf("%s%s%s", colour ? "\033[1;36m" : "", message.empty() ? kPrompt : kMorePrompt,
                  colour ? "\033[0m" : "");
      std::fflush(stdout);
    }
    std::string line;
    switch (reader.Read(&line)) {
      case LineReader::Event::kLine:
        warned = false;
        if (interactive_ && !line.empty() && line.back() == '\\') {
          message += line.substr(0, line.size() - 1) + "\n";
          break;
        }
        next = HandleLine(message + line);
        message.clear();
        break;
      case LineReader::Event::kInterrupt:
        message.clear();
        if (interactive_) std::printf("\n");
        next = interactive_ && !warned ? Next::kGoOn : Next::kLeave;
        if (next == Next::kGoOn) Note("Ctrl-C again, or Ctrl-D, leaves.");
        if (!interactive_) exit_code_ = 130;
        warned = true;
        break;
      case LineReader::Event::kTooLong:
        PrintError("a line is longer than " + Bytes(LineReader::kMaxLineBytes));
        exit_code_ = kExitFailed;
        next = Next::kLeave;
        break;
      case LineReader::Event::kEnd:
        if (interactive_) std::printf("\n");
        next = Next::kLeave;
        break;
    }
  }
  CloseSession();
  return exit_code_;
}

grpc::Status Chat::OpenSession() {
  system_sent_ = options_.system.empty();
  delete_at_end_ = options_.session_id.empty() && !options_.keep;
  if (!options_.session_id.empty()) return Session::Attach(client_, options_.session_id, &session_);
  return Session::Create(client_, "chat", &session_);
}

void Chat::CloseSession() {
  if (session_ == nullptr) return;
  if (!delete_at_end_) {
    Note("kept: cascade chat --session " + session_->id());
    return;
  }
  const grpc::Status status = session_->Delete();
  // Gone already, or with its server: nothing is left to do.
  if (!status.ok() && status.error_code() != grpc::StatusCode::NOT_FOUND &&
      status.error_code() != grpc::StatusCode::UNAVAILABLE) {
    PrintError("the session could not be deleted: " + StatusText(status));
  }
}

void Chat::Greet() {
  v1::ServerInfo info;
  if (!interactive_ || !client_.GetServerInfo(&info).ok()) return;
  Note(WithoutControls(info.model()) + " on " + WithoutControls(info.device()) +
       ". /help lists the commands, Ctrl-D leaves.");
}

Chat::Next Chat::HandleLine(const std::string& line) {
  if (line.find_first_not_of(" \t\n") == std::string::npos) return Next::kGoOn;
  if (const std::optional<size_t> wrong = FirstInvalidUtf8(line)) {
    return Failed(
        {grpc::StatusCode::INVALID_ARGUMENT, "the message is no valid UTF-8 (at byte " + std::to_string(*wrong) + ")"});
  }
  if (line.substr(0, 2) == "//") return Say(line.substr(1));
  return line[0] == '/' ? HandleCommand(line.substr(0, line.find_last_not_of(" \t") + 1)) : Say(line);
}

Chat::Next Chat::HandleCommand(const std::string& command) {
  if (command == "/quit" || command == "/exit") return Next::kLeave;
  if (command == "/new") return NewSession();
  if (command == "/stats") return Stats();
  if (command == "/cache") return Picture();
  if (command == "/help") {
    std::fputs(kHelp, stdout);
    return Next::kGoOn;
  }
  return Failed({grpc::StatusCode::INVALID_ARGUMENT,
                 "there is no command " + WithoutControls(command) + "; /help lists them, //text sends /text"});
}

Chat::Next Chat::Say(const std::string& message) {
  std::vector<v1::Message> messages;
  if (!system_sent_) messages.push_back(MakeMessage("system", options_.system));
  messages.push_back(MakeMessage("user", message));
  last_reply_ = Turn(messages);
  const grpc::StatusCode code = last_reply_.status.error_code();
  if (code == grpc::StatusCode::OK || code == grpc::StatusCode::CANCELLED ||
      code == grpc::StatusCode::DEADLINE_EXCEEDED) {
    system_sent_ = true;
  }
  if (!last_reply_.status.ok() && !cancelled_) return Failed(last_reply_.status);
  TellEnd(last_reply_);
  return Next::kGoOn;
}

Reply Chat::Turn(const std::vector<v1::Message>& messages) {
  constexpr auto kPause = std::chrono::milliseconds(50);
  constexpr int kAttempts = 100;
  std::atomic<bool> interrupted = false;
  Reply reply;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::unique_ptr<GenerateStream> stream = session_->Send(messages, options_.like);
    {
      Interrupts::Handler handler(interrupts_, [&] {
        interrupted = true;
        stream->Cancel();
      });
      reply = PrintStream(*stream);
    }
    // A cancelled turn ends a few steps after the client has gone; until then its session is busy.
    if (!cancelled_ || interrupted || reply.status.error_code() != grpc::StatusCode::ABORTED) break;
    std::this_thread::sleep_for(kPause);
  }
  // The server, too, may cut a turn: when it stops, or somebody deletes the session. That is an error.
  cancelled_ = interrupted && reply.status.error_code() == grpc::StatusCode::CANCELLED;
  return reply;
}

void Chat::TellEnd(const Reply& reply) {
  if (cancelled_) return Note("[stopped]");
  if (reply.finish_reason == v1::FINISH_REASON_LENGTH) return Note("[cut: --max-tokens]");
  if (reply.finish_reason == v1::FINISH_REASON_STOP || reply.finish_reason == v1::FINISH_REASON_STOP_SEQUENCE) return;
  Note("[ended: " + FinishReasonName(reply.finish_reason) + "]");
}

Chat::Next Chat::NewSession() {
  if (delete_at_end_) CloseSession();
  // One that was named on the command line, or is kept, stays; the new one is like any other.
  else
    Note("kept: cascade chat --session " + session_->id());
  if (grpc::Status status = Session::Create(client_, "chat", &session_); !status.ok()) return Failed(status);
  delete_at_end_ = !options_.keep;
  system_sent_ = options_.system.empty();
  cancelled_ = false;
  last_reply_ = Reply();
  if (interactive_) Note("A new session; nothing is remembered.");
  return Next::kGoOn;
}

Chat::Next Chat::Stats() {
  v1::Session state;
  if (grpc::Status status = session_->Get(&state); !status.ok()) return Failed(status);
  std::printf("session     %s, %s turns\n", state.session_id().c_str(), WithCommas(state.turns()).c_str());
  std::printf("tokens      %s seen: %s held, %s forgotten\n", WithCommas(state.position()).c_str(),
              WithCommas(state.tokens_resident()).c_str(), WithCommas(state.tokens_evicted()).c_str());
  std::printf("cache       %s, whatever the chat's length\n", Bytes(state.cache_bytes()).c_str());
  if (last_reply_.tokens > 0) {
    std::printf("last reply  %s tokens in %s, the first after %s\n", WithCommas(last_reply_.tokens).c_str(),
                Seconds(last_reply_.seconds).c_str(), Seconds(last_reply_.first_token_seconds).c_str());
  }
  if (last_reply_.usage.position() > 0) std::printf("            %s\n", Describe(last_reply_.usage).c_str());
  std::fflush(stdout);
  return Next::kGoOn;
}

Chat::Next Chat::Picture() {
  std::string picture;
  if (grpc::Status status = DrawSession(client_, session_->id(), {}, &picture); !status.ok()) return Failed(status);
  std::fputs(picture.c_str(), stdout);
  std::fflush(stdout);
  return Next::kGoOn;
}

Chat::Next Chat::Failed(const grpc::Status& status) {
  const int code = Fail(status);
  if (interactive_) {
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) Note("/new starts a new session.");
    return Next::kGoOn;
  }
  exit_code_ = code;
  return Next::kLeave;
}

void Chat::Note(const std::string& text) {
  std::fflush(stdout);
  const bool colour = WantsColour(STDERR_FILENO);
  std::fprintf(stderr, "%s%s%s\n", colour ? "\033[2m" : "", text.c_str(), colour ? "\033[0m" : "");
}

}  // namespace cascade::client
