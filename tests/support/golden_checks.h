// The goldens of the demo model and what counts as agreement (cache.md, section 7E). Used through the library and
// through a running server.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "engine/cache/cascade_geometry.h"

namespace cascade::test {

// Rounding of the arithmetic under test; the numbers are measured room, not wishes.
struct GoldenTolerance {
  double mean_loss = 0;          // of a cascading run, nats
  double stride_loss = 0;        // of any stride
  double head_survivors = 0;     // share of each head's survivors
  double all_survivors = 0;      // share over all heads
  double dense_loss = 0;         // float32: per token; else mean absolute
  bool dense_loss_per_token = false;
  double margin = 0;             // a top-1 must agree where the reference's margin exceeds this
};
GoldenTolerance Float32Tolerance();
// 16-bit activations and half-precision keys and values: cascades as bf16's room, dense losses near float32's.
GoldenTolerance Half16Tolerance();
GoldenTolerance Int8Tolerance();
// bfloat16 keys, values and activations.
GoldenTolerance Bf16Tolerance();

struct CascadeGolden {
  std::vector<int32_t> ids;
  CascadeGeometry geometry;
  double mean_loss = 0;
  std::vector<double> loss_by_stride;
  struct Head {
    int layer = 0;
    int kv_head = 0;
    std::set<int64_t> retained;
  };
  std::vector<Head> heads;
};
// name: default, halving, paper, paper_max, window.
CascadeGolden ReadCascadeGolden(const std::string& name);

struct DenseGolden {
  std::vector<int32_t> ids;
  std::vector<double> nll;      // [ids - 1]
  std::vector<int32_t> top1;    // [ids]
  std::vector<double> margin;   // [ids]
};
struct GreedyGolden {
  std::string user;             // the last user message
  std::string rendered;
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> output_ids;
  std::vector<double> margins;
};
std::vector<DenseGolden> ReadDenseGoldens();
std::vector<GreedyGolden> ReadGreedyGoldens();

// GoogleTest expectations. nll[i] is the loss of ids[i + 1]; held(layer, kv_head) gives the tokens in sub-caches.
void ExpectCascadeAgrees(const CascadeGolden& golden, const std::vector<double>& nll,
                         const std::function<std::set<int64_t>(int layer, int kv_head)>& held,
                         const GoldenTolerance& tolerance);
void ExpectDenseAgrees(const DenseGolden& golden, const std::vector<double>& nll, const std::vector<int32_t>& top1,
                       const GoldenTolerance& tolerance);
void ExpectGreedyAgrees(const GreedyGolden& golden, const std::vector<int32_t>& output_ids,
                        const GoldenTolerance& tolerance);

}  // namespace cascade::test
