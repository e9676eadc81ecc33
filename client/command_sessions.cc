// cascade sessions: list, show, create, fork, delete; the others are in command_session_moves.cc.
#include "client/command_sessions.h"

#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>

#include "client/format.h"
#include "client/table.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

std::string Hex(uint64_t number) {
  char buffer[17];
  std::snprintf(buffer, sizeof(buffer), "%016" PRIx64, number);
  return buffer;
}

void Print(const Table& table) { std::fputs(WithoutControls(table.Draw()).c_str(), stdout); }

int List(int page_size, int64_t limit, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  Table table({Align::kLeft, Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kLeft});
  table.AddRow({"session", "label", "state", "turns", "tokens", "held", "last used"});
  v1::ListSessionsRequest request;
  request.set_page_size(page_size);
  int64_t count = 0;
  bool more = true;
  while (more && count < limit) {
    v1::ListSessionsResponse page;
    if (grpc::Status status = client->ListSessions(request, &page); !status.ok()) return Fail(status);
    for (const v1::Session& session : page.sessions()) {
      if (count == limit) break;
      ++count;
      table.AddRow({session.session_id(), session.label(), StateName(session.state()), WithCommas(session.turns()),
                    WithCommas(session.position()), WithCommas(session.tokens_resident()),
                    LocalTime(session.last_used())});
    }
    request.set_page_token(page.next_page_token());
    more = !page.next_page_token().empty();
  }
  if (count > 0) Print(table);
  std::fprintf(stderr, "%s session%s\n", WithCommas(count).c_str(), count == 1 ? "" : "s");
  return 0;
}

int Show(const std::string& id, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  v1::Session session;
  if (grpc::Status status = client->GetSession(id, &session); !status.ok()) return Fail(status);
  Table table({Align::kLeft, Align::kLeft});
  table.AddRow({"session", session.session_id()});
  if (!session.label().empty()) table.AddRow({"label", session.label()});
  table.AddRow({"state", StateName(session.state())});
  table.AddRow({"tokens", WithCommas(session.position()) + " seen, " + WithCommas(session.tokens_resident()) +
                              " held, " + WithCommas(session.tokens_evicted()) + " forgotten"});
  table.AddRow(
      {"turns",
       WithCommas(session.turns()) +
           (session.turns() == 0 ? "" : ", last one ended by " + FinishReasonName(session.last_finish_reason()))});
  table.AddRow({"cache", Describe(session.geometry())});
  table.AddRow({"", Bytes(session.cache_bytes()) + ", whatever its length"});
  table.AddRow(
      {"durability",
       DurabilityName(session.durability()) +
           (session.journal_bytes() == 0 ? "" : ", " + Bytes(session.journal_bytes()) + " of journal on the disk")});
  table.AddRow({"digest", Hex(session.digest())});
  table.AddRow({"created", LocalTime(session.created())});
  table.AddRow({"last used", LocalTime(session.last_used())});
  if (session.has_expires()) table.AddRow({"expires", LocalTime(session.expires())});
  Print(table);
  return 0;
}

int Create(const std::string& label, const std::string& durability, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  v1::CreateSessionRequest request;
  request.set_label(label);
  request.set_durability(ParseDurability(durability));
  v1::Session session;
  if (grpc::Status status = client->CreateSession(request, &session); !status.ok()) return Fail(status);
  std::printf("%s\n", session.session_id().c_str());
  return 0;
}

int Fork(const std::string& id, const std::string& label, std::optional<int64_t> expected_position,
         const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  v1::ForkSessionRequest request;
  request.set_session_id(id);
  request.set_label(label);
  if (expected_position) request.set_expected_position(*expected_position);
  v1::Session session;
  if (grpc::Status status = client->ForkSession(request, &session); !status.ok()) return Fail(status);
  std::printf("%s\n", session.session_id().c_str());
  return 0;
}

// All that exist are deleted, also behind one that does not.
int Delete(const std::vector<std::string>& ids, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  int code = 0;
  for (const std::string& id : ids) {
    if (grpc::Status status = client->DeleteSession(id); !status.ok()) code = Fail(status);
  }
  return code;
}

}  // namespace

void AddDurability(CLI::App& command, std::string& value) {
  command
      .add_option("--durability", value,
                  "what outlives the server's process: none, journal (the tokens) or image (a cache as well)")
      ->check(CLI::IsMember({"none", "journal", "image"}));
}

v1::Durability ParseDurability(const std::string& name) {
  if (name == "none") return v1::DURABILITY_NONE;
  if (name == "journal") return v1::DURABILITY_JOURNAL;
  return name == "image" ? v1::DURABILITY_IMAGE : v1::DURABILITY_UNSPECIFIED;
}

void AddSessions(CLI::App& app, Command& chosen) {
  struct Options {
    int page_size = 100;
    int64_t limit = 1'000'000;
    std::string id;
    std::vector<std::string> ids;
    std::string label;
    std::string durability;
    std::optional<int64_t> expected_position;
  };
  auto options = std::make_shared<Options>();
  CLI::App* sessions =
      app.add_subcommand("sessions", "List, show, create, fork, park, rewind, export, import and delete sessions")
          ->fallthrough();
  sessions->require_subcommand(1);

  CLI::App* list = sessions->add_subcommand("list", "All sessions, oldest first")->fallthrough();
  list->add_option("--limit", options->limit, "show so many at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}));
  list->add_option("--page-size", options->page_size, "ask for so many at once (1 to 1000, default 100)");
  list->callback([=, &chosen] {
    chosen = [=](const GlobalOptions& global) { return List(options->page_size, options->limit, global); };
  });

  CLI::App* show = sessions->add_subcommand("show", "All about one session")->fallthrough();
  show->add_option("id", options->id, "the session")->required();
  show->callback([=, &chosen] { chosen = [=](const GlobalOptions& global) { return Show(options->id, global); }; });

  CLI::App* create = sessions->add_subcommand("create", "Make a session and print its id")->fallthrough();
  create->add_option("--label", options->label, "a name for people: letters, digits, _ and -, 64 at most");
  AddDurability(*create, options->durability);
  create->callback([=, &chosen] {
    chosen = [=](const GlobalOptions& global) { return Create(options->label, options->durability, global); };
  });

  CLI::App* fork =
      sessions->add_subcommand("fork", "Make a session that goes on from where another one is; print its id")
          ->fallthrough();
  fork->add_option("id", options->id, "the session to begin from")->required();
  fork->add_option("--label", options->label, "a name for people: letters, digits, _ and -, 64 at most");
  fork->add_option("--expected-position", options->expected_position, "refuse unless the session has so many tokens");
  fork->callback([=, &chosen] {
    chosen = [=](const GlobalOptions& global) {
      return Fork(options->id, options->label, options->expected_position, global);
    };
  });

  AddSessionMoves(*sessions, chosen);

  CLI::App* remove = sessions->add_subcommand("delete", "Delete sessions; a running turn is cancelled")->fallthrough();
  remove->add_option("id", options->ids, "the sessions")->required();
  remove->callback(
      [=, &chosen] { chosen = [=](const GlobalOptions& global) { return Delete(options->ids, global); }; });
}

}  // namespace cascade::client
