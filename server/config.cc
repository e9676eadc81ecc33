#include "server/config.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/builtin_templates.h"
#include "server/version.h"

namespace cascade {
namespace {

// --cache-tokens is also CASCADE_CACHE_TOKENS.
std::string EnvironmentName(const std::string& flag) {
  std::string name = "CASCADE_";
  for (const char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// Declares flags with the habits that all of them share: an environment name, a shown default, one value.
class Flags {
 public:
  explicit Flags(CLI::App& app) : app_(app) {}

  template <class T>
  CLI::Option* Add(const std::string& flag, T& value, const std::string& help, const std::string& shown_default = "") {
    CLI::Option* option = app_.add_option("--" + flag, value, help)->envname(EnvironmentName(flag));
    if (shown_default.empty()) {
      option->capture_default_str();
    } else {
      option->default_str(shown_default);
    }
    return option->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }

  void Choice(const std::string& flag, std::string& value, const std::vector<std::string>& choices,
              const std::string& help, const std::string& shown_default = "") {
    Add(flag, value, help, shown_default)->check(CLI::IsMember(choices));
  }

  void Switch(const std::string& flag, bool& value, const std::string& help) {
    app_.add_flag("--" + flag, value, help)
        ->envname(EnvironmentName(flag))
        ->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }

  // --FLAG, and --no-FLAG for the contrary.
  void Toggle(const std::string& flag, bool& value, const std::string& help) {
    app_.add_flag("--" + flag + ",!--no-" + flag, value, help + (value ? " [on]" : " [off]"))
        ->envname(EnvironmentName(flag))
        ->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }

 private:
  CLI::App& app_;
};

// "6GiB", "512MiB", "1048576".
CLI::Validator ByteSize() {
  const std::map<std::string, uint64_t> units = {{"B", 1},
                                                 {"KiB", uint64_t{1} << 10},
                                                 {"MiB", uint64_t{1} << 20},
                                                 {"GiB", uint64_t{1} << 30},
                                                 {"TiB", uint64_t{1} << 40}};
  return CLI::Validator(
      [units](std::string& text) -> std::string {
        size_t digits = 0;
        uint64_t value = 0;
        while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) {
          if (value > (uint64_t{1} << 58)) return "too large";
          value = value * 10 + static_cast<uint64_t>(text[digits++] - '0');
        }
        const std::string unit = text.substr(digits);
        const auto found = units.find(unit.empty() ? "B" : unit);
        if (digits == 0 || found == units.end()) return "expected a number of bytes, or one with KiB, MiB, GiB or TiB";
        if (value > (uint64_t{1} << 60) / found->second) return "too large";
        text = std::to_string(value * found->second);
        return "";
      },
      "BYTES");
}

void DeclareModelFlags(Flags& flags, ServerConfig& config) {
  flags
      .Add("model", config.model,
           "The model: a .gguf file, a folder with config.json and safetensors, or random:NAME (noise, for measuring)")
      ->required();
  flags.Add("served-model-name", config.served_model_name, "The name that clients see", "the model's own");
  flags.Choice("device", config.device, {"auto", "cpu", "cuda"}, "Where the model runs; auto: CUDA if it can");
  flags.Choice(
      "dtype", config.dtype, {"auto", "bfloat16", "float16", "int8", "int16", "float32"},
      "Activations of the linear layers. CUDA: bfloat16 (auto) or float16. CPU: int16 (auto), as good as float32; "
      "int8, which reads prompts faster; float32");
  flags.Choice("kv-cache-dtype", config.kv_cache_dtype, {"auto", "bfloat16", "float16", "float32"},
               "Type of cached keys and values. CUDA: bfloat16. CPU: float32 with --dtype float32, else float16");
  flags.Switch("deterministic", config.deterministic,
               "A session's tokens are the same whatever runs beside it; slower on CUDA, always so on the CPU");
  flags.Add("gpu-memory-utilization", config.gpu_memory_utilization,
            "Share of the device's memory for weights, work space and caches together; CUDA only");
  flags.Add("chat-template", config.chat_template,
            absl::StrCat("The chat template: a file of Jinja, a built-in one (", BuiltinTemplateNames(), "), or none"),
            "the model's own");
  flags.Add("threads", config.threads, "Threads for arithmetic on the CPU; 0: one per hardware thread");
}

void DeclareCacheFlags(Flags& flags, ServerConfig& config) {
  GeometryOptions& geometry = config.geometry;
  flags.Choice("cache-policy", geometry.policy, {"cascade", "paper", "window"}, "How a session's cache forgets");
  flags.Add("cache-tokens", geometry.cache_tokens, "Tokens of a session's cache, split equally over --sub-caches",
            "the largest power of two up to 4096 that fits the model");
  flags.Add("sub-caches", geometry.num_sub_caches, "Number of sub-caches", "4, window: 1");
  flags.Add("sub-cache-tokens", geometry.sub_cache_tokens, "An unequal split, newest first: 512,256,128,128", "equal")
      ->delimiter(',');
  flags.Add("sinks", geometry.num_sinks, "First tokens of a session that are never forgotten", "4");
  flags.Add("stride", geometry.stride, "Tokens between two thinnings", "from the sub-caches");
  flags.Choice("selection", geometry.selection, {"both", "attention", "distinctness"},
               "What decides who stays in the cache", "both, paper: attention");
  flags.Add("selection-group", geometry.selection_group, "Of each 2g tokens the g best stay", "from the stride");
  flags.Add("ema-decay", geometry.ema_decay, "Decay of attention scores per token");
  flags.Choice("score-reduction", geometry.score_reduction, {"mean", "max"}, "Of attention over the heads of a group");
  flags.Choice(
      "score-kernel", config.score_kernel, {"auto", "exact", "fast"},
      "How prompts' attention is added up for the cache's choices. fast: in the pass that computes the outputs, "
      "from predicted sums, whose error is known afterwards (CUDA, Hopper); auto: fast where that is quicker");
  flags.Add("score-certificate-limit", config.score_certificate_limit,
            "How far a head's predicted attention may be off, as a share of all of it; beyond, it is added up exactly");
  flags
      .Add("cache-memory-bytes", config.cache_memory_bytes,
           "Memory for all caches at most (MiB and GiB are understood)",
           "what --gpu-memory-utilization leaves, CPU: a quarter of the free memory")
      ->transform(ByteSize());
  flags
      .Add("host-cache-bytes", config.host_cache_bytes,
           "Host memory for sessions that are parked outside the caches; 0: none",
           "CUDA: a quarter of the free memory, CPU: 0")
      ->transform(ByteSize());
}

void DeclareSessionFlags(Flags& flags, ServerConfig& config) {
  flags.Add(
      "max-num-sessions", config.max_num_sessions,
      "Sessions at most, in caches, host memory and the data folder together; fewer when memory ends and there is "
      "no folder");
  flags.Add("session-ttl", config.session_ttl, "Seconds until an unused session expires; 0: never");
  flags.Add("data-dir", config.data_dir, "A folder where sessions outlive the process; made if its parent is there",
            "none");
  flags.Choice("durability", config.durability, {"none", "journal", "image"},
               "What is kept of sessions that do not ask: nothing, their tokens, a cache as well",
               "journal with --data-dir, else none");
  flags.Choice("journal-retain", config.journal_retain, {"all", "images"},
               "Tokens that journals keep: all, or those that follow the older of the two newest images", "all");
  flags.Add("rewind-turns", config.rewind_turns, "Newest turns of a session that can be taken back at constant cost");
}

void DeclareServingFlags(Flags& flags, ServerConfig& config, std::string& reflection) {
  flags.Add("host", config.host, "Address to listen on");
  flags.Add("port", config.port, "Port to listen on; 0: any free one, which is printed");
  flags.Add("http-port", config.http_port, "Port for HTTP: the OpenAI API, metrics, a chat page; 0: none");
  flags.Choice("reflection", reflection, {"on", "off"}, "gRPC server reflection");
  flags.Add("max-num-seqs", config.max_num_seqs, "Turns that run together", "64, CPU: 16");
  flags.Add("max-num-batched-tokens", config.max_num_batched_tokens, "Tokens of one step", "2048, CPU: 64");
  flags.Add("max-num-queued-reqs", config.max_num_queued_reqs, "Turns that wait at most");
  flags.Add("default-max-tokens", config.default_max_tokens, "max_tokens of a request that does not set it");
  flags.Add("max-prompt-bytes", config.max_prompt_bytes, "Bytes of a prompt at most");
  flags.Toggle("enable-prefix-caching", config.enable_prefix_caching,
               "Requests without a session leave their caches to prompts that begin with the same tokens");
  flags.Add("drain-timeout", config.drain_timeout,
            "Seconds after SIGTERM for running turns to end and for sessions to be parked in the data folder");
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// Inside, 0 (sinks: -1) stands for "not given"; a flag that says so asks for what does not exist.
absl::Status CheckGiven(const CLI::App& app, const ServerConfig& config) {
  const GeometryOptions& geometry = config.geometry;
  const struct {
    const char* flag;
    int64_t value, low;
  } flags[] = {{"cache-tokens", geometry.cache_tokens, 1},
               {"sub-caches", geometry.num_sub_caches, 1},
               {"sinks", geometry.num_sinks, 0},
               {"stride", geometry.stride, 1},
               {"selection-group", geometry.selection_group, 1},
               {"max-num-seqs", config.max_num_seqs, 1},
               {"max-num-batched-tokens", config.max_num_batched_tokens, 1},
               {"cache-memory-bytes", config.cache_memory_bytes, 1}};
  for (const auto& [flag, value, low] : flags) {
    if (app.count(absl::StrCat("--", flag)) > 0 && value < low) {
      return FlagError(flag, absl::StrCat(value, " is less than ", low));
    }
  }
  if (app.count("--data-dir") > 0 && config.data_dir.empty()) return FlagError("data-dir", "is empty");
  return absl::OkStatus();
}

// Newer versions of CLI11 pass over a variable whose value they cannot use. "" if there is none.
std::string UnreadVariable(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const char* value = option->get_envname().empty() ? nullptr : std::getenv(option->get_envname().c_str());
    if (value == nullptr || *value == '\0' || option->count() > 0) continue;
    return absl::StrCat(option->get_name(), ": ", option->get_envname(), " has a value that cannot be read");
  }
  return "";
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv) {
  ParsedCommandLine parsed;
  ServerConfig& config = parsed.config;
  std::string reflection = "on";
  CLI::App app(
      "cascade-server: a gRPC server for Llama models whose sessions own a cascading KV cache.\n"
      "Every flag can also be set in the environment; the command line wins.",
      "cascade-server");
  app.set_version_flag("--version", absl::StrCat("cascade-server ", kVersion));
  Flags flags(app);
  DeclareModelFlags(flags, config);
  DeclareCacheFlags(flags, config);
  DeclareSessionFlags(flags, config);
  DeclareServingFlags(flags, config, reflection);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    parsed.exit = ExitCode::kOk;
    parsed.output = app.help();
    return parsed;
  } catch (const CLI::CallForVersion& version) {
    parsed.exit = ExitCode::kOk;
    parsed.output = std::string(version.what()) + "\n";
    return parsed;
  } catch (const CLI::ParseError& error) {
    parsed.exit = ExitCode::kUsage;
    parsed.output = OneLine(error.what());
    return parsed;
  }
  if (const std::string unread = UnreadVariable(app); !unread.empty()) {
    parsed.exit = ExitCode::kUsage;
    parsed.output = unread;
    return parsed;
  }
  config.reflection = reflection == "on";
  config.score_certificate_limit_given = app.count("--score-certificate-limit") > 0;
  config.gpu_memory_utilization_given = app.count("--gpu-memory-utilization") > 0;
  absl::Status status = CheckGiven(app, config);
  if (status.ok()) status = config.Validate();
  if (!status.ok()) {
    parsed.exit = ExitCodeOf(status);
    parsed.output = std::string(status.message());
  }
  return parsed;
}

}  // namespace cascade
