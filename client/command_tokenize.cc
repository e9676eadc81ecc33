// cascade tokenize: text to token ids and back.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <map>

#include "client/command.h"
#include "client/table.h"
#include "client/terminal.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

struct TokenizeOptions {
  std::string text;
  bool special = false;
  bool ids_only = false;
  bool decode = false;
};

// Numbers between commas, white space or brackets, so that what --ids prints and JSON arrays both work.
bool ParseIds(const std::string& text, v1::DetokenizeRequest* request) {
  constexpr std::string_view kBetween = ", \t\r\n[]";
  for (size_t place = 0; (place = text.find_first_not_of(kBetween, place)) != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, place), text.size());
    int32_t id = 0;
    const auto [parsed, error] = std::from_chars(text.data() + place, text.data() + end, id);
    if (error != std::errc() || parsed != text.data() + end) {
      PrintError("\"" + WithoutControls(text.substr(place, end - place)) + "\" is no token id");
      return false;
    }
    request->add_token_ids(id);
    place = end;
  }
  return true;
}

int Decode(Client& client, const std::string& text) {
  v1::DetokenizeRequest request;
  if (!ParseIds(text, &request)) return kExitUsage;
  v1::DetokenizeResponse response;
  if (grpc::Status status = client.Detokenize(request, &response); !status.ok()) return Fail(status);
  PrintReply(response.text() + "\n");
  return 0;
}

int PrintPieces(Client& client, const v1::TokenizeResponse& tokens) {
  // One call for each id that is new.
  std::map<int32_t, std::string> pieces;
  Table table({Align::kRight, Align::kLeft});
  for (const int32_t id : tokens.token_ids()) {
    if (!pieces.contains(id)) {
      v1::DetokenizeRequest request;
      request.add_token_ids(id);
      v1::DetokenizeResponse response;
      if (grpc::Status status = client.Detokenize(request, &response); !status.ok()) return Fail(status);
      pieces[id] = Quoted(response.text());
    }
    table.AddRow({std::to_string(id), pieces[id]});
  }
  std::fputs(table.Draw().c_str(), stdout);
  std::fprintf(stderr, "%d tokens\n", tokens.token_ids_size());
  return 0;
}

int Run(const TokenizeOptions& options, const GlobalOptions& global) {
  const std::optional<std::string> text = TextArgument(options.text);
  if (!text) return kExitFailed;
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  if (options.decode) return Decode(*client, *text);

  v1::TokenizeRequest request;
  request.set_text(*text);
  request.set_parse_special(options.special);
  v1::TokenizeResponse tokens;
  if (grpc::Status status = client->Tokenize(request, &tokens); !status.ok()) return Fail(status);
  if (!options.ids_only) return PrintPieces(*client, tokens);
  for (int i = 0; i < tokens.token_ids_size(); ++i) std::printf("%s%d", i == 0 ? "" : " ", tokens.token_ids(i));
  std::printf("\n");
  return 0;
}

}  // namespace

void AddTokenize(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens")->fallthrough();
  command->add_option("text", options->text, "the text, or with --decode the ids; - reads it from standard input")
      ->required();
  CLI::Option* decode = command->add_flag("--decode", options->decode, "the argument is ids: 1,2,3 or \"1 2 3\"");
  command->add_flag("--special", options->special, "control tokens, such as <|im_start|>, are recognised")
      ->excludes(decode);
  command->add_flag("--ids", options->ids_only, "print the ids in one line, without their texts")->excludes(decode);
  command->callback([=, &chosen] { chosen = [=](const GlobalOptions& global) { return Run(*options, global); }; });
}

}  // namespace cascade::client
