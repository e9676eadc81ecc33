// A server over the tiny model on a data folder that outlives it, and clients that write down what was acknowledged.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {

// What the client knows of a session: its ids up to the last acknowledgement, and those of a turn that it asked for and
// whose end it has not seen.
struct Chat {
  std::string id;
  std::vector<int32_t> ids;
  std::vector<int32_t> asked;
  int acknowledged = 0;
  int cut = 0;       // some of them, that the server ended early
  grpc::Status end;  // of the last turn
};

std::vector<Chat> MakeChats(client::Client& client, int count);

struct TalkOptions {
  std::string address;
  uint64_t seed = 1;
  int max_reply = 11;
  bool endless = false;                      // replies that only the server's end ends
  std::function<void()> on_refused = [] {};  // a turn was refused: the server drains
};

// Turns until one fails or, after the one that is under way, `stop`.
void Talk(const TalkOptions& options, Chat& chat, const std::atomic<bool>& stop);

// How much of a turn without an acknowledgement may be there afterwards.
enum class Unseen : uint8_t {
  kNone,   // the server has ended in order
  kWhole,  // it has ended somewhere: the turn is there wholly or not at all
  kCut     // and may have been cut before
};
// What a server says of a session after a restart fits what the client knows; the client learns the rest.
void ExpectAsKnown(client::Client& client, Chat& chat, Unseen unseen);

// A session's next tokens are those of a one-shot turn with all of its ids.
void ExpectSameNext(client::Client& client, Chat& chat);

// With a folder and a model of its own.
class DurableServer {
 public:
  explicit DurableServer(const std::string& name);
  ~DurableServer();

  void Start(const std::vector<std::string>& flags = {});
  // No file but those of these sessions and of the server, which has no turns now.
  void ExpectNoOrphans(const std::vector<Chat>& chats) const;

  ServerProcess& process() { return *process_; }
  client::Client& client() { return *client_; }
  const std::string& address() const { return address_; }

 private:
  const std::string folder_, model_;
  std::unique_ptr<ServerProcess> process_;
  std::string address_;
  std::unique_ptr<client::Client> client_;
};

}  // namespace cascade::test
