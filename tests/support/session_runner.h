// Drives one session of a Model without an engine: cuts the ids where sinks end and strides close, one slice per step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"

namespace cascade::test {

class SessionRunner {
 public:
  SessionRunner(Model& model, const CascadeGeometry& geometry, int slot, int max_slice);

  // scores[i] is of ids[i + 1] under the logits of ids[i]; the last has only top_id and top_margin.
  std::vector<kernels::TokenScore> Score(std::span<const int32_t> ids);
  // Logits after the last id.
  std::vector<float> Feed(std::span<const int32_t> ids);
  // Feeds `prompt`, then `count` greedy tokens at most, until one of `end_ids` (which is included).
  std::vector<int32_t> Greedy(std::span<const int32_t> prompt, int count, std::span<const int32_t> end_ids);

  const CascadePlan& plan() const { return plan_; }
  std::vector<HeldToken> Held(int layer, int kv_head);

 private:
  void Step(std::span<const int32_t> ids, std::span<const int32_t> targets, bool last);

  Model& model_;
  const CascadeGeometry& geometry_;
  int slot_;
  int max_slice_;
  CascadePlan plan_;
  ForwardResult result_;
};

}  // namespace cascade::test
