// cascade score: how well the model predicts a text.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "client/command.h"
#include "client/format.h"
#include "client/interrupts.h"
#include "client/progress_bar.h"
#include "client/score_log.h"
#include "client/session.h"
#include "client/terminal.h"

namespace cascade::client {
namespace {

struct ScoreOptions {
  std::string file;
  int64_t tokens = 0;
  std::string session_id;
  bool keep = false;
  std::string json;
};

// What was read so far.
struct Progress {
  int64_t tokens = 0;
  double loss = 0;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  double Seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
  double Perplexity() const { return std::exp(loss / static_cast<double>(tokens)); }
  double Speed() const { return static_cast<double>(tokens) / std::max(Seconds(), 1e-9); }
};

// The file as text or, with a limit, as its first ids.
grpc::Status MakePrompt(Client& client, const ScoreOptions& options, const std::string& text, v1::Prompt* prompt) {
  if (options.tokens == 0) {
    prompt->set_text(text);
    return grpc::Status::OK;
  }
  v1::TokenizeRequest request;
  request.set_text(text);
  v1::TokenizeResponse response;
  if (grpc::Status status = client.Tokenize(request, &response); !status.ok()) return status;
  const int count = static_cast<int>(std::min<int64_t>(options.tokens, response.token_ids_size()));
  auto& ids = *prompt->mutable_token_ids()->mutable_ids();
  ids.Add(response.token_ids().begin(), response.token_ids().begin() + count);
  return grpc::Status::OK;
}

void PrintResult(const Progress& progress, const v1::Usage& usage, const std::string& session_id) {
  std::printf("tokens      %s\n", WithCommas(progress.tokens).c_str());
  std::printf("loss        %.4f nats a token\n", progress.loss / static_cast<double>(progress.tokens));
  std::printf("perplexity  %.3f\n", progress.Perplexity());
  std::printf("speed       %.1f tokens/s, %s\n", progress.Speed(), Seconds(progress.Seconds()).c_str());
  if (usage.position() > 0) {  // a call that was cut may not have told
    std::printf("cache       %s held, %s forgotten, %s\n", WithCommas(usage.tokens_resident()).c_str(),
                WithCommas(usage.tokens_evicted()).c_str(), Bytes(usage.cache_bytes()).c_str());
  }
  if (!session_id.empty()) std::printf("session     %s\n", session_id.c_str());
}

int Score(Client& client, const ScoreOptions& options, const std::string& text) {
  v1::ScoreRequest request;
  if (grpc::Status status = MakePrompt(client, options, text, request.mutable_prompt()); !status.ok()) {
    return Fail(status);
  }
  request.set_session_id(options.session_id);
  if (options.keep) {
    std::unique_ptr<Session> session;
    if (grpc::Status status = Session::Create(client, "", &session); !status.ok()) return Fail(status);
    request.set_session_id(session->id());
    // At once, so that it is known also when the call does not end well.
    std::fprintf(stderr, "session %s\n", session->id().c_str());
  }
  std::unique_ptr<ScoreLog> log;
  if (!options.json.empty() && (log = ScoreLog::Open(options.json)) == nullptr) return kExitFailed;

  Interrupts interrupts;
  bool interrupted = false;
  Progress progress;
  ProgressBar bar;
  const std::unique_ptr<ScoreStream> stream = client.Score(request);
  v1::Usage usage;
  {
    Interrupts::Handler handler(interrupts, [&] {
      interrupted = true;
      stream->Cancel();
    });
    for (v1::ScoreResponse part; stream->Next(&part);) {
      for (const float logprob : part.logprobs()) progress.loss -= logprob;
      progress.tokens += part.logprobs_size();
      if (part.has_usage()) usage = part.usage();
      if (log) log->Add(part);
      if (progress.tokens == 0) continue;
      bar.Update(progress.tokens, part.tokens_total(),
                 WithCommas(progress.tokens) + " tokens, perplexity " + Fixed(progress.Perplexity(), 2) + ", " +
                     Fixed(progress.Speed(), 0) + " tokens/s");
    }
  }
  bar.Clear();
  const grpc::Status status = stream->Finish();
  if (log && !log->Close()) return kExitFailed;
  if (progress.tokens > 0) {
    if (!status.ok()) std::printf("of the part that was scored:\n");
    PrintResult(progress, usage, request.session_id());
  }
  if (interrupted) return 130;
  return status.ok() ? 0 : Fail(status);
}

int Run(const ScoreOptions& options, const GlobalOptions& global) {
  const std::unique_ptr<Client> client = ConnectTo(global);
  if (client == nullptr) return kExitUnreachable;
  v1::ServerInfo info;
  if (grpc::Status status = client->GetServerInfo(&info); !status.ok()) return Fail(status);
  bool cut = false;
  const std::optional<std::string> text = ReadText(options.file, info.max_prompt_bytes(), &cut);
  if (!text) return kExitFailed;
  // With a limit the rest is not needed, unless a token has hundreds of bytes.
  if (cut && options.tokens == 0) {
    PrintError(options.file + " is longer than the " + Bytes(info.max_prompt_bytes()) +
               " that the server takes at once; --tokens N scores its beginning");
    return kExitFailed;
  }
  return Score(*client, options, *text);
}

}  // namespace

void AddScore(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = app.add_subcommand("score", "Perplexity of a text, token by token")->fallthrough();
  command->add_option("file", options->file, "a text file in UTF-8; - reads standard input")->required();
  command->add_option("--tokens", options->tokens, "only its first N tokens")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  CLI::Option* session = command->add_option("--session", options->session_id, "go on in this session")->check(NotEmpty);
  command->add_flag("--keep", options->keep, "score in a new session, and keep it: \"cascade inspect\" draws it")
      ->excludes(session);
  command->add_option("--json", options->json, "write ids and logarithms of probability of all tokens to this file");
  command->callback([=, &chosen] { chosen = [=](const GlobalOptions& global) { return Run(*options, global); }; });
}

}  // namespace cascade::client
