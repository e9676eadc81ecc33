// Decode attention on the GPU, in the shapes of an 8B model (8 KV heads of 128, G = 4, 4 sub-caches, full, the open
// stride half full), of many sessions, in GB/s of the keys, values and scores that it has to move. Prefill is
// stride_attention's. Layers are recorded as one graph; the caches of all layers together do not fit into the L2 cache.
// What the device reaches at best is measured by the same program. Before that, one step's results are compared with
// those of kernels that do it plainly in float32; `verify` as an argument ends there.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/attention_decode.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/step_graphs.h"
#include "kernels/cuda_backend.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kKvHeads = 8, kGroup = 4, kHeadDim = 128, kSinks = 4, kRings = 4;
constexpr int kHeads = kKvHeads * kGroup;
constexpr int kRepetitions = 21;
constexpr size_t kWorkingSet = size_t{1} << 30;
constexpr int kMaxLayers = 64;

CacheLayout Layout(int cache_tokens, int num_layers) {
  CacheShape shape;
  shape.num_layers = num_layers;
  shape.num_kv_heads = kKvHeads;
  shape.group = kGroup;
  shape.head_dim = kHeadDim;
  shape.kv_type = DType::kBF16;
  shape.rope.frequency.assign(kHeadDim / 2, 0.0);  // the turns are given
  shape.num_sinks = kSinks;
  shape.ring_slots.assign(kRings, cache_tokens / kRings);
  shape.stride = std::min(cache_tokens / kRings, 4096);
  shape.ring_slots[0] += shape.stride;
  return MakeCacheLayout(shape);
}

// Grid: any. Elements in (-2, 2), as a function of their index.
__global__ void FillElements(uint32_t* pairs, size_t count, uint32_t seed) {
  const size_t threads = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) {
    uint32_t x = (static_cast<uint32_t>(i) + seed) * 2654435761u ^ static_cast<uint32_t>(i >> 32);
    x ^= x >> 15;
    x *= 0x2C1B3C6Du;
    x ^= x >> 13;
    pairs[i] = Pack<Bf16>(static_cast<float>(x & 0xFFFF) * 0x1p-14f - 2, static_cast<float>(x >> 16) * 0x1p-14f - 2);
  }
}

// Grid: [heads, rows], a block for each: probabilities [rows][heads][entries] and outputs, one key after the other.
__global__ void PlainAttention(CachePool pool, StepTables tables, const Bf16* q, float* probabilities, float* out) {
  const CacheLayout& layout = pool.layout;
  const int row = static_cast<int>(blockIdx.y), head = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const unsigned char* block = pool.Block(tables.slices[row].slot, 0, head / kGroup);
  const size_t index = static_cast<size_t>(row) * kHeads + head;
  float* p = probabilities + index * layout.entries;
  __shared__ float query[kHeadDim];
  __shared__ float largest, total;
  for (int e = thread; e < layout.entries; e += threads) p[e] = -1e30f;  // not seen
  for (int s = 0; s < layout.num_segments; ++s) {
    const StepSegment segment = tables.segments[row * layout.num_segments + s];
    const float2* turns = tables.turns + (static_cast<size_t>(row) * layout.num_segments + s) * (kHeadDim / 2);
    __syncthreads();
    for (int i = thread; i < kHeadDim / 2; i += threads) {
      const float x = ToFloat(q[index * kHeadDim + 2 * i]), y = ToFloat(q[index * kHeadDim + 2 * i + 1]);
      query[2 * i] = ToFloat(FromFloat<Bf16>(x * turns[i].x - y * turns[i].y));
      query[2 * i + 1] = ToFloat(FromFloat<Bf16>(x * turns[i].y + y * turns[i].x));
    }
    __syncthreads();
    for (uint32_t i = thread; i < segment.count; i += threads) {
      const int entry = layout.first_entry[s] + static_cast<int>((segment.first_slot + i) % layout.segment_slots[s]);
      const Bf16* key = reinterpret_cast<const Bf16*>(block) + static_cast<size_t>(entry) * layout.row_elements;
      float sum = 0;
      for (int d = 0; d < kHeadDim; ++d) sum += query[d] * ToFloat(key[d]);
      p[entry] = sum / sqrtf(static_cast<float>(kHeadDim));
    }
  }
  __syncthreads();
  if (thread == 0) {
    largest = -1e30f;
    for (int e = 0; e < layout.entries; ++e) largest = fmaxf(largest, p[e]);
    total = 0;
    for (int e = 0; e < layout.entries; ++e) total += expf(p[e] - largest);
  }
  __syncthreads();
  for (int e = thread; e < layout.entries; e += threads) p[e] = expf(p[e] - largest) / total;
  __syncthreads();
  const Bf16* values = reinterpret_cast<const Bf16*>(block + layout.values_offset);
  for (int d = thread; d < kHeadDim; d += threads) {
    float sum = 0;
    for (int e = 0; e < layout.entries; ++e) {
      sum += p[e] * ToFloat(values[static_cast<size_t>(e) * layout.row_elements + d]);
    }
    out[index * kHeadDim + d] = sum;
  }
}

// A pool and the tables of a step whose slices have `rows` rows each. Slice i has slot i.
class Workload {
 public:
  Workload(Stream& stream, const CacheLayout& layout, int num_slices, int rows, int open_tokens)
      : stream_(stream), layout_(layout), num_slices_(num_slices), rows_(rows) {
    std::vector<StepSlice> slices;
    std::vector<StepSegment> segments;
    std::vector<int32_t> row_slices;
    std::mt19937 random(1);
    for (int i = 0; i < num_slices; ++i) {
      const uint32_t slots = layout.segment_slots[1], first = random() % slots;
      const uint32_t count = slots - layout.stride + open_tokens + 1;
      slices.push_back({.slot = i,
                        .first_row = i * rows,
                        .num_rows = rows,
                        .sinks = 0,
                        .first_token = 1 << 20,
                        .open_place = open_tokens,
                        .write_slot = (first + count - 1) % slots,
                        .unused = 0});
      for (int s = 0; s < layout.num_segments; ++s) {
        segments.push_back({.query_position = 0,
                            .first_slot = s == 1 ? first : 0,
                            .count = s == 1 ? count : static_cast<uint32_t>(layout.segment_slots[s]),
                            .grows = s == 1,
                            .unused = 0});
        keys_ += segments.back().count;
      }
      row_slices.insert(row_slices.end(), rows, i);
    }
    std::vector<float2> turns(static_cast<size_t>(num_rows()) * layout.num_segments * kHeadDim / 2);
    for (float2& turn : turns) {
      const float angle = static_cast<float>(random() % 6283) * 1e-3f;
      turn = make_float2(std::cos(angle), std::sin(angle));
    }
    pool_ = {layout, Array<unsigned char>(layout.slot_bytes * num_slices), nullptr, num_slices};
    tables_ = {Copy(slices), Copy(segments),   Copy(std::vector<int32_t>(num_slices, 1)),
               nullptr,      Copy(row_slices), Copy(std::vector<float>(num_rows(), 0.75f)),
               Copy(turns)};
    Fill(pool_.memory, layout.slot_bytes * num_slices);
    q_ = Matrix(kHeads);
    k_ = Matrix(kKvHeads);
    v_ = Matrix(kKvHeads);
    out_ = Matrix(kHeads);
    stream.Synchronize("workload");  // the host's arrays go
  }

  template <class T>
  T* Array(size_t count) {
    absl::StatusOr<T*> array = memory_.AllocateArray<T>("benchmark", count);
    CASCADE_CHECK(array.ok());
    return *array;
  }
  template <class T>
  std::vector<T> ToHost(const T* array, size_t count) {
    std::vector<T> host(count);
    stream_.CopyToHost("benchmark", host.data(), array, count * sizeof(T));
    stream_.Synchronize("benchmark");
    return host;
  }
  int num_rows() const { return num_slices_ * rows_; }
  int64_t keys() const { return keys_; }  // that the slices' first rows see

  Stream& stream_;
  const CacheLayout layout_;
  const int num_slices_, rows_;
  DeviceMemory memory_;
  CachePool pool_;
  StepTables tables_;
  TensorView q_, k_, v_, out_;

 private:
  template <class T>
  const T* Copy(const std::vector<T>& host) {
    T* array = Array<T>(host.size());
    stream_.CopyToDevice("benchmark", array, host.data(), host.size() * sizeof(T));
    return array;
  }
  void Fill(void* memory, size_t bytes) {
    stream_.Launch("benchmark", FillElements, {.grid = 1024, .block = 256}, static_cast<uint32_t*>(memory), bytes / 4,
                   ++seed_ * 77777u);
  }
  TensorView Matrix(int heads) {
    const size_t elements = static_cast<size_t>(num_rows()) * heads * kHeadDim;
    TensorView matrix = {Array<Bf16>(elements), DType::kBF16, num_rows(), int64_t{heads} * kHeadDim};
    Fill(matrix.data, elements * sizeof(Bf16));
    return matrix;
  }

  uint32_t seed_ = 0;
  int64_t keys_ = 0;
};

// Median seconds of what `enqueue` records, and its spread: (largest - smallest) / median.
template <class Function>
std::pair<double, double> Measure(Stream& stream, const Function& enqueue) {
  StepGraphs graphs;
  graphs.BeginRecording(stream, 0);
  enqueue();
  graphs.EndRecording(stream);
  cudaEvent_t begin = nullptr, end = nullptr;
  stream.Check("event", cudaEventCreate(&begin));
  stream.Check("event", cudaEventCreate(&end));
  std::vector<double> seconds;
  for (int i = -3; i < kRepetitions; ++i) {
    stream.Check("event", cudaEventRecord(begin, stream.get()));
    CASCADE_CHECK(graphs.Replay(stream, 0));
    stream.Check("event", cudaEventRecord(end, stream.get()));
    stream.Synchronize("graph");
    float milliseconds = 0;
    stream.Check("event", cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 0) seconds.push_back(milliseconds * 1e-3);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  CASCADE_CHECK(stream.TakeError().ok());
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  return {median, (seconds.back() - seconds.front()) / median};
}

std::unique_ptr<DecodeAttention> Decoder(Workload& work) {
  auto decode = DecodeAttention::Create(work.stream_, work.memory_, work.layout_, work.num_slices_);
  CASCADE_CHECK(decode.ok());
  return *std::move(decode);
}

// Returns whether decode of one layer agrees with PlainAttention.
bool Verify(Stream& stream, int num_slices, int cache_tokens) {
  const CacheLayout layout = Layout(cache_tokens, 1);
  Workload work(stream, layout, num_slices, 1, layout.stride / 2);
  const auto decode = Decoder(work);
  const size_t pool_bytes = layout.slot_bytes * num_slices;
  const std::vector<unsigned char> before = work.ToHost(work.pool_.memory, pool_bytes);
  decode->AppendAndAttend(stream, work.pool_, work.tables_, num_slices, 0, work.q_, work.k_, work.v_, work.out_);
  decode->AddPendingScores(stream);
  const size_t heads = static_cast<size_t>(num_slices) * kHeads;
  float* probabilities = work.Array<float>(heads * layout.entries);
  float* plain = work.Array<float>(heads * kHeadDim);
  stream.Launch("plain", PlainAttention, {.grid = dim3(kHeads, num_slices), .block = 128}, work.pool_, work.tables_,
                static_cast<const Bf16*>(work.q_.data), probabilities, plain);
  const std::vector<unsigned char> after = work.ToHost(work.pool_.memory, pool_bytes);
  const std::vector<uint16_t> out = work.ToHost(static_cast<const uint16_t*>(work.out_.data), heads * kHeadDim);
  const std::vector<float> want = work.ToHost(plain, heads * kHeadDim);
  const std::vector<float> p = work.ToHost(probabilities, heads * layout.entries);
  const std::vector<StepSlice> slices = work.ToHost(work.tables_.slices, num_slices);
  CASCADE_CHECK(stream.TakeError().ok());

  double out_error = 0, out_size = 0, score_error = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const double error = std::abs(std::bit_cast<float>(uint32_t{out[i]} << 16) - want[i]);
    if (!(error <= out_error)) out_error = error;  // a NaN too
    out_size = std::max<double>(out_size, std::abs(want[i]));
  }
  for (size_t head = 0; head < heads; head += kGroup) {
    const size_t block = head / kGroup * layout.block_bytes + layout.scores_offset;
    const float* old_scores = reinterpret_cast<const float*>(before.data() + block);
    const float* new_scores = reinterpret_cast<const float*>(after.data() + block);
    const int fresh = layout.first_entry[1] + static_cast<int>(slices[head / kHeads].write_slot);
    for (int e = layout.first_entry[1]; e < layout.entries; ++e) {
      double mean = 0;
      for (int g = 0; g < kGroup; ++g) mean += p[(head + g) * layout.entries + e] / kGroup;
      const double score = (e == fresh ? 0 : old_scores[e]) + 0.75 * mean;
      const double error = std::abs(new_scores[e] - score) / (1e-3 + std::abs(score));
      if (!(error <= score_error)) score_error = error;
    }
  }
  const bool same = out_error < 0.01 * out_size && score_error < 1e-4;
  std::printf("verify B=%d C=%d: outputs up to %.3f, error %.2g; scores, relative error %.2g: %s\n", num_slices,
              cache_tokens, out_size, out_error, score_error, same ? "same" : "DIFFERENT");
  return same;
}

// Layers follow each other directly, so that a layer's first reads overlap with the end of the one before, as they do
// with the end of a linear layer in a model.
void BenchmarkDecode(Stream& stream, int num_slices, int cache_tokens, double ceiling) {
  const size_t layer_bytes = Layout(cache_tokens, 1).slot_bytes * num_slices;
  const int layers = static_cast<int>(std::clamp<size_t>(kWorkingSet / layer_bytes, 2, kMaxLayers));
  const CacheLayout layout = Layout(cache_tokens, layers);
  Workload work(stream, layout, num_slices, 1, layout.stride / 2);
  const auto decode = Decoder(work);
  const auto [seconds, spread] = Measure(stream, [&] {
    for (int layer = 0; layer < layers; ++layer) {
      decode->AppendAndAttend(stream, work.pool_, work.tables_, num_slices, layer, work.q_, work.k_, work.v_,
                              work.out_);
    }
    decode->AddPendingScores(stream);
  });
  const double bytes = static_cast<double>(work.keys()) * kKvHeads * (2 * kHeadDim * sizeof(Bf16) + 2 * sizeof(float));
  const double rate = bytes * layers / seconds;
  const DecodePlan plan = PlanDecode(layout, stream.traits(), num_slices);
  std::printf(
      "decode  B=%-3d C=%-6d %9.2f us per layer  %6.0f GB/s  %5.1f %% of reading  spread %.1f %%  (%d layers, %d "
      "splits of %d warps)\n",
      num_slices, cache_tokens, seconds / layers * 1e6, rate * 1e-9, rate / ceiling * 100, spread * 100, layers,
      plan.splits, plan.warps);
}

int Run(bool only_verify) {
  absl::StatusOr<std::unique_ptr<Stream>> stream = Stream::Create();
  if (!stream.ok()) {
    std::fprintf(stderr, "%s\n", stream.status().ToString().c_str());
    return 1;
  }
  // One block per head, and several, which are a cluster or not; logits in shared memory, and in scratch.
  bool same = true;
  for (const auto& [num_slices, cache_tokens] : {std::pair{1, 512}, {40, 2048}, {17, 16384}, {34, 4096}, {34, 16384}}) {
    same = Verify(**stream, num_slices, cache_tokens) && same;
  }
  if (!same) return 1;
  if (only_verify) return 0;
  const absl::StatusOr<DeviceCeilings> ceilings = MeasureCudaCeilings();
  if (!ceilings.ok()) {
    std::fprintf(stderr, "%s\n", ceilings.status().ToString().c_str());
    return 1;
  }
  std::printf("%s: reads %.0f GB/s\n", (*stream)->traits().name.c_str(), ceilings->read_bytes_per_s * 1e-9);
  for (const int num_slices : {1, 16, 64}) {
    for (const int tokens : {2048, 4096, 16384}) {
      BenchmarkDecode(**stream, num_slices, tokens, ceilings->read_bytes_per_s);
    }
  }
  return 0;
}

}  // namespace
}  // namespace cascade::kernels::cuda

int main(int argc, char** argv) {
  return cascade::kernels::cuda::Run(argc > 1 && std::string_view(argv[1]) == "verify");
}
