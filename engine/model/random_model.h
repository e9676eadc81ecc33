// Models of published shapes with random weights: to measure where no weights of that size are. They answer noise.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/model/model_source.h"

namespace cascade {

// Whether a model's path is the name of one: "random:llama-3.1-8b", "random:llama-3.2-1b:Q8_0".
bool IsRandomModel(std::string_view path);

// random:SHAPE or random:SHAPE:TYPE; matrices are of type BF16 (default), F16, F32 or Q8_0, vectors all ones in F32.
// The vocabulary is the 256 bytes, and words without meaning up to the shape's size; replies have no end. kInHost: at
// most 2 GiB of weights (RESOURCE_EXHAUSTED from FindWeight). INVALID_ARGUMENT names the shapes or types there are.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenRandomModel(const std::string& path, RandomWeights random);

}  // namespace cascade
