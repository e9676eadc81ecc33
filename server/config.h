// What the operator chose: one struct, read from the command line and the environment, checked as far as it can be
// without the model.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "engine/cache/cascade_geometry.h"
#include "engine/turn_request.h"
#include "server/exit_code.h"

namespace cascade {

struct ServerConfig {
  std::string model;
  std::string served_model_name;  // "": the model file's own name
  std::string host = "127.0.0.1";
  int64_t port = 50051;      // 0: any free one
  int64_t http_port = 8000;  // 0: none
  std::string device = "auto";
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  bool deterministic = false;
  double gpu_memory_utilization = 0.9;
  bool gpu_memory_utilization_given = false;
  std::string score_kernel = "auto";
  double score_certificate_limit = 0.05;
  bool score_certificate_limit_given = false;
  GeometryOptions geometry;
  int64_t max_num_seqs = 0;  // 0: the device's default
  int64_t max_num_sessions = 1024;
  int64_t max_num_batched_tokens = 0;  // 0: the device's default
  int64_t max_num_queued_reqs = 256;
  int64_t cache_memory_bytes = 0;  // 0: a quarter of the free memory; on CUDA what --gpu-memory-utilization leaves
  std::optional<int64_t> host_cache_bytes;  // unset: the device's default
  int64_t session_ttl = 0;                  // seconds; 0: never
  std::string data_dir;                     // "": none
  std::string durability;                   // "": journal with a data_dir, else none
  std::string journal_retain;               // "": all
  int64_t rewind_turns = 4;
  int64_t default_max_tokens = 1024;
  int64_t max_prompt_bytes = 8 << 20;
  bool enable_prefix_caching = true;
  int64_t drain_timeout = 30;  // seconds
  bool reflection = true;
  std::string chat_template;  // a file, a built-in name, "none"; "": the model's
  int64_t threads = 0;        // 0: one per hardware thread

  // Ranges, and flags against each other and against the device, as far as it is named. An ExitError (kConfig) that
  // names the flag.
  absl::Status Validate() const;

  // Of sessions that do not ask for another.
  Durability SessionDurability() const;
};

// What main does next: serve, or print and leave.
struct ParsedCommandLine {
  ServerConfig config;
  std::optional<ExitCode> exit;  // set: leave with it after `output` to stdout (kOk) or stderr
  std::string output;            // kOk: a text; else one line without its end
};

// Command line over environment (CASCADE_FLAG_NAME) over default. `argv` as in main.
ParsedCommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace cascade
