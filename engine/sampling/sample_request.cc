#include "engine/sampling/sample_request.h"

#include "engine/sampling/counter_random.h"

namespace cascade {

kernels::SampleRequest MakeSampleRequest(const SamplingParams& sampling, uint64_t seed, uint64_t position) {
  kernels::SampleRequest request;
  request.temperature = sampling.temperature;
  request.top_k = sampling.top_k;
  request.top_p = sampling.top_p;
  request.min_p = sampling.min_p;
  request.u = CounterRandomUniform(seed, position);
  return request;
}

}  // namespace cascade
