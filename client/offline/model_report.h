// What is in a model's files, and what a session of it costs: read from the headers, without loading the weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/cache/cascade_geometry.h"
#include "engine/model/model_config.h"
#include "engine/model/model_source.h"

namespace cascade::client {

// All weights of one type.
struct TypeTotal {
  std::string type;  // "Q4_K"
  int64_t tensors = 0;
  int64_t bytes = 0;
};

// Of something that may be unusable while the rest of the model is fine.
struct Part {
  std::string text;   // what it is
  std::string error;  // why a server would not start with it; "" if it would
};

struct ModelReport {
  ModelConfig config;
  std::string path;
  std::string format;
  std::vector<TypeTotal> types;  // the largest first
  std::vector<TensorSummary> tensors;
  Part tokenizer;
  std::string end_tokens;    // "<|im_end|>, <|endoftext|>"
  std::string start_tokens;  // what a session begins with; "" for nothing
  Part chat_template;
  Part cache;                // the geometry
  int64_t session_bytes = 0;   // on a CPU; 0 with an impossible geometry
  std::string kv_cache_dtype;  // "float16", "float32"

  // A server would start with it.
  bool usable() const { return tokenizer.error.empty() && chat_template.error.empty() && cache.error.empty(); }
};

// Errors as OpenModel's: the file is no model that is known.
absl::StatusOr<ModelReport> ReportModel(const std::string& path, const GeometryOptions& geometry,
                                        const std::string& kv_cache_dtype);

// A sheet for people; `list_tensors` adds a line for each.
std::string ToText(const ModelReport& report, bool list_tensors);
// One JSON object.
std::string ToJson(const ModelReport& report, bool list_tensors);

}  // namespace cascade::client
