// What a session's bytes depend on, in 32 bytes each: whether a session of one server can go on in another.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/seal.h"
#include "engine/cache/cascade_geometry.h"
#include "engine/model/model_source.h"
#include "kernels/cache_shape.h"

namespace cascade {

// Of model and tokenizer: what token ids mean, and what comes after them. The model's shape, its tensors' names, types
// and shapes, the first and last 4 KiB of each weight, and the vocabulary; not where the file lies or what it is
// called. Cheap: of the weights a few pages are read. `random_weights`: they follow from the rest, and are not asked
// for.
absl::StatusOr<Digest> ModelFingerprint(const ModelSource& source, bool random_weights);

// Of what a cache's bytes mean: shape, geometry and the back end's layout of them (Model::SlotLayout). What the linear
// layers compute with is no part of it.
Digest GeometryFingerprint(const kernels::CacheShape& shape, const CascadeGeometry& geometry,
                           std::string_view slot_layout);
// Its text, one field after the other, numbers exactly.
std::string GeometryText(const kernels::CacheShape& shape, const CascadeGeometry& geometry,
                         std::string_view slot_layout);

}  // namespace cascade
