// cascade model: what is in a model's files. Talks to no server.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "client/command.h"
#include "client/offline/model_report.h"
#include "client/terminal.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

struct Options {
  std::string path;
  GeometryOptions geometry;
  std::string kv_cache_dtype = "auto";
  bool tensors = false;
  bool json = false;
};

int Run(const Options& options) {
  const absl::StatusOr<ModelReport> report =
      ReportModel(options.path, options.geometry, options.kv_cache_dtype == "float32" ? "float32" : "float16");
  if (!report.ok()) {
    PrintError(WithoutControls(std::string(report.status().message())));
    return kExitFailed;
  }
  const std::string text = options.json ? ToJson(*report, options.tensors) : ToText(*report, options.tensors);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    PrintError(std::string("cannot write: ") + std::strerror(errno));
    return kExitFailed;
  }
  return report->usable() ? 0 : kExitFailed;
}

}  // namespace

void AddModel(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("model", "Tell what is in a model's files (no server needed)")->fallthrough();
  command->add_option("FILE", options->path, "a .gguf file (any part of a split one), or a folder with safetensors")
      ->required()
      ->check(NotEmpty);
  GeometryOptions& geometry = options->geometry;
  // Those of the server's flags that decide what a session costs, and whether the geometry is one.
  command->add_option("--cache-policy", geometry.policy, "cascade, paper or window")
      ->check(CLI::IsMember({"cascade", "paper", "window"}));
  command->add_option("--cache-tokens", geometry.cache_tokens, "tokens of a session's cache")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--sub-caches", geometry.num_sub_caches, "number of sub-caches")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command
      ->add_option("--sub-cache-tokens", geometry.sub_cache_tokens, "an unequal split, newest first: 512,256,128,128")
      ->delimiter(',')
      ->excludes("--cache-tokens")
      ->excludes("--sub-caches");
  command->add_option("--sinks", geometry.num_sinks, "first tokens that are never forgotten")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command->add_option("--stride", geometry.stride, "tokens between two thinnings")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--selection-group", geometry.selection_group, "of each 2g tokens the g best stay")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--kv-cache-dtype", options->kv_cache_dtype, "auto (float16), float16 or float32")
      ->check(CLI::IsMember({"auto", "float16", "float32"}));
  command->add_flag("--tensors", options->tensors, "list every tensor");
  command->add_flag("--json", options->json, "as JSON");
  command->callback([options, &chosen] { chosen = [options](const GlobalOptions&) { return Run(*options); }; });
}

}  // namespace cascade::client
