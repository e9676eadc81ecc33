// A model with its caches, as the server opens it. Errors end the program.
#pragma once

#include <memory>

#include "engine/model/llama.h"
#include "tests/benchmarks/sessions/session_options.h"

namespace cascade::bench {

struct RealModel {
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<Llama> llama;
  CascadeGeometry geometry;
  int max_rows = 0;  // of a step
  size_t slot_bytes() const { return llama->SlotBytes(kernels::SlotPart::kAll); }
};

// Up to `max_seqs` sessions run together.
RealModel OpenRealModel(const SessionOptions& options, int num_slots, int max_seqs);

}  // namespace cascade::bench
