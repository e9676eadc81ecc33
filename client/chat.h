// The interactive chat: lines in, replies out, one session behind it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/interrupts.h"
#include "client/reply.h"
#include "client/session.h"

namespace cascade::client {

struct ChatOptions {
  // Go on in this session; empty: a new one, deleted at the end unless `keep`.
  std::string session_id;
  bool keep = false;
  // A system message before the first message; may be empty.
  std::string system;
  // What each turn says beside its messages.
  v1::GenerateRequest like;
};

// One thread. With a terminal on standard input it shows a prompt, and an error ends the turn only; otherwise each line
// is a message, and an error ends the program. Replies go to standard output, everything about them to standard error.
class Chat {
 public:
  Chat(Client& client, ChatOptions options);
  // Until the input ends; gives the exit code.
  int Run();

 private:
  enum class Next { kGoOn, kLeave };

  grpc::Status OpenSession();
  void CloseSession();
  void Greet();
  Next HandleLine(const std::string& line);
  Next HandleCommand(const std::string& command);
  Next Say(const std::string& message);
  Reply Turn(const std::vector<v1::Message>& messages);
  void TellEnd(const Reply& reply);
  Next NewSession();
  Next Stats();
  Next Picture();
  // Prints the error; leaves, with its exit code, unless someone sits there who can do something about it.
  Next Failed(const grpc::Status& status);
  void Note(const std::string& text);

  Client& client_;
  const ChatOptions options_;
  const bool interactive_;
  Interrupts interrupts_;
  std::unique_ptr<Session> session_;
  bool delete_at_end_ = false;
  bool system_sent_ = false;
  // The last turn was cancelled here: the server may still be busy ending it.
  bool cancelled_ = false;
  Reply last_reply_;
  int exit_code_ = 0;
};

}  // namespace cascade::client
