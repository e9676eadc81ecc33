// cascade info: what the server is and runs.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <thread>

#include "client/command.h"
#include "client/format.h"
#include "client/table.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

std::string Sheet(const v1::ServerInfo& info, const std::string& address) {
  Table table({Align::kLeft, Align::kLeft});
  table.AddRow({"server", "cascade-server " + info.version() + " at " + address});
  table.AddRow({"model", info.model() + " (" + info.architecture() + ", " + WithCommas(info.parameters()) +
                             " parameters, " + Bytes(info.model_bytes()) + ")"});
  table.AddRow({"", WithCommas(info.num_layers()) + " layers, " + WithCommas(info.num_kv_heads()) +
                        " key-value heads, vocabulary " + WithCommas(info.vocabulary_size()) + ", trained on " +
                        WithCommas(info.max_position_embeddings()) + " positions" +
                        (info.has_chat_template() ? "" : ", no chat template")});
  table.AddRow({"device", info.device() + ", " + info.kv_cache_dtype() + " keys and values"});
  table.AddRow({"cache", Describe(info.geometry())});
  table.AddRow({"sessions", WithCommas(info.sessions_free()) + " of " + WithCommas(info.max_num_sessions()) +
                                " free, " + Bytes(info.session_bytes()) + " each"});
  if (info.has_data_dir()) {
    table.AddRow({"durability", DurabilityName(info.default_durability()) + " unless told otherwise, images of " +
                                    Bytes(info.image_bytes())});
  } else {
    table.AddRow({"durability", "none: the server has no data folder"});
  }
  table.AddRow({"batch", WithCommas(info.max_num_seqs()) + " sessions, " + WithCommas(info.max_num_batched_tokens()) +
                             " tokens a step"});
  table.AddRow({"limits", "prompts of " + Bytes(info.max_prompt_bytes()) + ", replies of " +
                              WithCommas(info.default_max_tokens()) + " tokens unless told otherwise"});
  return WithoutControls(table.Draw());
}

int Run(double wait_seconds, const GlobalOptions& global) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(wait_seconds);
  const std::unique_ptr<Client> client = ConnectTo(global, wait_seconds);
  if (client == nullptr) return kExitUnreachable;
  v1::ServerInfo info;
  grpc::Status status = client->GetServerInfo(&info);
  // It listens, and is not ready yet.
  while (status.error_code() == grpc::StatusCode::UNAVAILABLE && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    status = client->GetServerInfo(&info);
  }
  if (!status.ok()) return Fail(status);
  std::fputs(Sheet(info, client->address()).c_str(), stdout);
  return 0;
}

}  // namespace

void AddInfo(CLI::App& app, Command& chosen) {
  auto wait = std::make_shared<double>(0);
  CLI::App* command = app.add_subcommand("info", "Tell what the server is and which model it runs")->fallthrough();
  command->add_option("--wait", *wait, "seconds to wait until the server is ready")->check(CLI::Range(0.0, 86400.0));
  command->callback([wait, &chosen] { chosen = [wait](const GlobalOptions& global) { return Run(*wait, global); }; });
}

}  // namespace cascade::client
