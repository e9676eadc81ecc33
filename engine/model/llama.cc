#include "engine/model/llama.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/model_weights.h"
#include "kernels/base/check.h"

namespace cascade {

using kernels::HostWeight;
using kernels::LinearTarget;
using kernels::Precision;
using kernels::TensorView;
using kernels::WeightId;

namespace {
// Rows of logits held at once: 64 rows of a 128k vocabulary are 32 MiB.
constexpr int kLogitRows = 64;

using LoadedWeights = std::unordered_map<std::string, WeightId>;

// To how many rows a recorded step is padded: few sizes, because each has its recording, but close ones, because rows
// cost time.
int64_t PaddedRows(int64_t rows) {
  constexpr int64_t kSizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 128};
  for (const int64_t size : kSizes) {
    if (rows <= size) return size;
  }
  return (rows + 31) / 32 * 32;
}

// All weights of the architecture, one after the other: while one is packed the disk reads the next (1.3 GB that are
// not in the page cache: 3 s, which is what reading them takes, against 10 s without), and what has been packed leaves
// memory, so that a model is not there twice.
absl::StatusOr<LoadedWeights> LoadWeights(const ModelSource& source, kernels::Backend& backend,
                                          const std::function<void(int64_t)>& progress) {
  const std::vector<ExpectedWeight> expected = ExpectedWeights(source.config());
  LoadedWeights loaded;
  int64_t bytes = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string& name = expected[i].name;
    if (i + 1 < expected.size()) source.PrefetchWeight(expected[i + 1].name);
    const absl::StatusOr<HostWeight> weight = source.FindWeight(name);
    if (!weight.ok()) return weight.status();
    const absl::StatusOr<WeightId> id = backend.LoadWeight(*weight);
    if (!id.ok())
      return absl::Status(absl::IsDataLoss(id.status()) ? absl::StatusCode::kUnavailable : id.status().code(),
                          absl::StrCat(name, ": ", id.status().message()));
    source.ReleaseWeight(name);
    loaded.emplace(name, *id);
    bytes += static_cast<int64_t>(kernels::RowBytes(weight->type, weight->cols)) * weight->rows;
    if (progress != nullptr) progress(bytes);
  }
  return loaded;
}

}  // namespace

struct Llama::Layer {
  WeightId attn_norm, q, k, v, attn_output, ffn_norm, ffn_gate, ffn_up, ffn_down;
  std::optional<WeightId> q_bias, k_bias, v_bias;  // of models that have them
};

struct Llama::Weights {
  WeightId token_embd, output_norm, output;
  std::vector<Layer> layers;
};

// Shapes with R = max_rows.
struct Llama::Activations {
  TensorView x;         // [R, hidden] residual stream
  TensorView h;         // [R, hidden] normalised
  TensorView q, a;      // [R, heads * head_dim]
  TensorView k, v;      // [R, kv_heads * head_dim]
  TensorView gate, up;  // [R, ffn]
  TensorView picked;    // [min(R, 64), hidden]
  TensorView logits;    // [min(R, 64), vocabulary]
};

absl::Status Model::Forward(const ForwardBatch& batch, ForwardResult& result) {
  if (absl::Status status = Launch(batch); !status.ok()) return status;
  return Collect(result);
}

absl::StatusOr<CascadeGeometry> MakeModelGeometry(const GeometryOptions& options, const ModelConfig& config) {
  absl::StatusOr<CascadeGeometry> geometry = MakeGeometry(options, config.max_positions);
  if (geometry.ok() || config.window == 0 || config.window != config.max_positions) return geometry;
  return absl::Status(geometry.status().code(),
                      absl::StrCat(geometry.status().message(), " (the model attends to a window of ", config.window,
                                   " tokens, which counts as its context)"));
}

kernels::CacheShape MakeCacheShape(const ModelConfig& config, const CascadeGeometry& geometry, kernels::DType kv_type) {
  kernels::CacheShape shape;
  shape.num_layers = config.num_layers;
  shape.num_kv_heads = config.num_kv_heads;
  shape.group = config.num_heads / config.num_kv_heads;
  shape.head_dim = config.head_dim;
  shape.kv_type = kv_type;
  shape.rope = config.rope;
  shape.num_sinks = geometry.num_sinks;
  for (int i = 0; i < geometry.num_sub_caches(); ++i) shape.ring_slots.push_back(geometry.ring_slots(i));
  shape.stride = geometry.stride;
  shape.selection_group = geometry.selection_group;
  shape.selection = geometry.selection;
  shape.reduction = geometry.score_reduction;
  shape.ema_decay = geometry.ema_decay;
  return shape;
}

Llama::Llama(const ModelConfig& config, kernels::Backend& backend)
    : config_(config),
      backend_(backend),
      weights_(std::make_unique<Weights>()),
      activations_(std::make_unique<Activations>()) {}

Llama::~Llama() = default;

absl::StatusOr<std::unique_ptr<Llama>> Llama::Create(const ModelSource& source, const CascadeGeometry& geometry,
                                                     kernels::DType kv_type, int num_slots, int max_rows,
                                                     kernels::Backend& backend) {
  absl::StatusOr<std::unique_ptr<Llama>> llama = Load(source, max_rows, backend);
  if (!llama.ok()) return llama;
  if (absl::Status status = (*llama)->CreateCaches(geometry, kv_type, num_slots); !status.ok()) return status;
  return llama;
}

absl::StatusOr<std::unique_ptr<Llama>> Llama::Load(const ModelSource& source, int max_rows, kernels::Backend& backend,
                                                   const std::function<void(int64_t)>& progress) {
  const ModelConfig& config = source.config();
  auto llama = std::unique_ptr<Llama>(new Llama(config, backend));

  absl::StatusOr<LoadedWeights> loaded = LoadWeights(source, backend, progress);
  if (!loaded.ok()) return loaded.status();
  Weights& w = *llama->weights_;
  w.token_embd = loaded->at("token_embd.weight");
  w.output_norm = loaded->at("output_norm.weight");
  w.output = config.tied_output ? w.token_embd : loaded->at("output.weight");
  w.layers.resize(static_cast<size_t>(config.num_layers));
  for (int i = 0; i < config.num_layers; ++i) {
    Layer& layer = w.layers[i];
    const auto id = [&](const char* name) { return loaded->at(absl::StrCat("blk.", i, ".", name)); };
    layer.attn_norm = id("attn_norm.weight");
    layer.q = id("attn_q.weight");
    layer.k = id("attn_k.weight");
    layer.v = id("attn_v.weight");
    if (config.qkv_bias) {
      layer.q_bias = id("attn_q.bias");
      layer.k_bias = id("attn_k.bias");
      layer.v_bias = id("attn_v.bias");
    }
    layer.attn_output = id("attn_output.weight");
    layer.ffn_norm = id("ffn_norm.weight");
    layer.ffn_gate = id("ffn_gate.weight");
    layer.ffn_up = id("ffn_up.weight");
    layer.ffn_down = id("ffn_down.weight");
  }

  absl::Status status;
  const auto allocate = [&](int64_t rows, int64_t cols, Precision precision, TensorView& view) {
    if (!status.ok()) return;
    absl::StatusOr<TensorView> allocated = backend.Allocate(rows, cols, precision);
    if (!allocated.ok()) {
      status = allocated.status();
      return;
    }
    view = *allocated;
  };
  Activations& act = *llama->activations_;
  const int64_t q_width = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.num_kv_heads} * config.head_dim;
  const int logit_rows = std::min(max_rows, kLogitRows);
  allocate(max_rows, config.hidden, Precision::kFull, act.x);
  allocate(max_rows, config.hidden, Precision::kCompute, act.h);
  allocate(max_rows, q_width, Precision::kCompute, act.q);
  allocate(max_rows, q_width, Precision::kCompute, act.a);
  allocate(max_rows, kv_width, Precision::kCompute, act.k);
  allocate(max_rows, kv_width, Precision::kCompute, act.v);
  allocate(max_rows, config.ffn, Precision::kCompute, act.gate);
  allocate(max_rows, config.ffn, Precision::kCompute, act.up);
  allocate(logit_rows, config.hidden, Precision::kFull, act.picked);
  allocate(logit_rows, config.vocabulary, Precision::kFull, act.logits);
  if (!status.ok()) return status;
  return llama;
}

absl::Status Llama::CreateCaches(const CascadeGeometry& geometry, kernels::DType kv_type, int num_slots) {
  return backend_.CreateCaches(MakeCacheShape(config_, geometry, kv_type), num_slots,
                               static_cast<int>(activations_->x.rows));
}

int Llama::vocabulary() const { return config_.vocabulary; }
void Llama::SetEndIds(std::span<const int32_t> ids) {
  // Recorded steps refer to what the back end made of them.
  if (recorded_vocabulary_ != 0 && std::equal(ids.begin(), ids.end(), end_ids_.begin(), end_ids_.end())) return;
  CASCADE_CHECK(recorded_vocabulary_ == 0);
  end_ids_.assign(ids.begin(), ids.end());
  backend_.SetEndIds(ids);
}
int64_t Llama::max_rows() const { return activations_->x.rows; }
int Llama::max_steps_in_flight() const { return backend_.max_steps_in_flight(); }

absl::Status Llama::Launch(const ForwardBatch& batch) {
  const int64_t rows = static_cast<int64_t>(batch.ids.size());
  CASCADE_CHECK(rows >= 1 && rows <= activations_->x.rows);
  CASCADE_CHECK(batch.samples.size() == batch.sample_rows.size());
  CASCADE_CHECK(static_cast<int>(results_.size()) < max_steps_in_flight());
  absl::StatusOr<std::span<float>> logits = LogitsPlace(batch.logit_rows.size());
  if (!logits.ok()) return logits.status();
  ForwardResult& result = results_.emplace_back();
  result.logits = *logits;
  const int recording = RecordingOf(batch);

  backend_.BeginStep({.slices = batch.slices, .ids = batch.ids, .samples = batch.samples});
  if (backend_.BeginOps(recording)) {
    if (recording >= 0) {
      recorded_vocabulary_ = batch.vocabulary;
      RunLayers(recording);
      SampleAll(recording, batch.vocabulary);
    } else {
      RunLayers(rows);
      RunOutputs(batch, *logits, result);
    }
    backend_.EndOps();
  }
  if (recording >= 0) {  // what was recorded leaves the logits of all rows behind
    const auto vocabulary = static_cast<size_t>(config_.vocabulary);
    for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
      backend_.CopyToHost(activations_->logits.Rows(batch.logit_rows[i], 1),
                          logits->subspan(i * vocabulary, vocabulary));
    }
  }
  if (!batch.closes.empty()) backend_.CloseStrides(batch.closes);
  backend_.EndStep();
  return absl::OkStatus();
}

absl::Status Llama::Collect(ForwardResult& result) {
  CASCADE_CHECK(!results_.empty());
  result = std::move(results_.front());  // vectors keep their memory
  results_.pop_front();
  absl::Status status = backend_.WaitStep(result.sampled);
  result.certificates = backend_.TakeScoreCertificates();
  return status;
}

int Llama::RecordingOf(const ForwardBatch& batch) const {
  const int64_t rows = static_cast<int64_t>(batch.ids.size());
  if (max_steps_in_flight() < 2 || !batch.score_rows.empty()) return -1;
  // Those of more rows are not all there at its end.
  if (!batch.logit_rows.empty() && RecordedRows(rows) > activations_->logits.rows) return -1;
  if (static_cast<int64_t>(batch.slices.size()) != rows || static_cast<int64_t>(batch.sample_rows.size()) != rows) {
    return -1;
  }
  for (int64_t row = 0; row < rows; ++row) {
    if (batch.sample_rows[row] != row) return -1;
  }
  if (recorded_vocabulary_ != 0 && recorded_vocabulary_ != batch.vocabulary) return -1;
  return RecordedRows(rows);
}

// Pinned where a device copies faster and without anybody waiting so; grows, and is never given back: whoever asks once
// asks again.
absl::StatusOr<std::span<float>> Llama::LogitsPlace(size_t rows) {
  if (rows == 0) return std::span<float>();
  logits_places_.resize(static_cast<size_t>(max_steps_in_flight()) + 1);
  std::unique_ptr<kernels::HostMemory>& place = logits_places_[next_logits_place_];
  next_logits_place_ = (next_logits_place_ + 1) % logits_places_.size();
  const size_t floats = rows * static_cast<size_t>(config_.vocabulary);
  if (place == nullptr || place->bytes().size() < floats * sizeof(float)) {
    const size_t room = std::bit_ceil(rows) * static_cast<size_t>(config_.vocabulary) * sizeof(float);
    absl::StatusOr<std::unique_ptr<kernels::HostMemory>> memory = backend_.AllocateHost(room);
    if (!memory.ok()) return memory.status();
    place = *std::move(memory);
  }
  return std::span<float>(reinterpret_cast<float*>(place->bytes().data()), floats);
}

int Llama::RecordedRows(int64_t rows) const {
  return static_cast<int>(std::min(PaddedRows(rows), activations_->x.rows));
}

void Llama::RunLayers(int64_t rows) {
  const Weights& w = *weights_;
  const TensorView x = activations_->x.Rows(rows), h = activations_->h.Rows(rows);
  const TensorView q = activations_->q.Rows(rows), k = activations_->k.Rows(rows), v = activations_->v.Rows(rows);
  const TensorView a = activations_->a.Rows(rows);
  const TensorView gate = activations_->gate.Rows(rows), up = activations_->up.Rows(rows);
  backend_.Embed(w.token_embd, x);
  for (int i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = w.layers[i];
    const LinearTarget qkv[] = {{layer.q, q, /*accumulate=*/false, layer.q_bias},
                                {layer.k, k, /*accumulate=*/false, layer.k_bias},
                                {layer.v, v, /*accumulate=*/false, layer.v_bias}};
    const LinearTarget attn_output = {layer.attn_output, x, /*accumulate=*/true};
    const LinearTarget ffn_down = {layer.ffn_down, x, /*accumulate=*/true};
    backend_.NormLinear(x, layer.attn_norm, config_.rms_eps, h, qkv);
    backend_.AppendAndAttend(i, q, k, v, a);
    backend_.Linear(a, {&attn_output, 1});
    backend_.GatedNormLinear(x, layer.ffn_norm, config_.rms_eps, h, layer.ffn_gate, layer.ffn_up, gate, up);
    backend_.Linear(gate, {&ffn_down, 1});
  }
}

TensorView Llama::LogitsOf(TensorView x) {
  const TensorView logits = activations_->logits.Rows(x.rows);
  const LinearTarget output = {weights_->output, logits};
  backend_.NormLinear(x, weights_->output_norm, config_.rms_eps, activations_->h.Rows(x.rows), {&output, 1});
  return logits;
}

void Llama::SampleAll(int64_t rows, int vocabulary) {
  const int64_t chunk = activations_->logits.rows;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const TensorView x = activations_->x.Rows(begin, std::min(chunk, rows - begin));
    backend_.Sample(LogitsOf(x), vocabulary, static_cast<int>(begin));
  }
}

void Llama::RunOutputs(const ForwardBatch& batch, std::span<float> host_logits, ForwardResult& result) {
  // Logits only for rows that somebody wants, a few at a time.
  const size_t chunk = static_cast<size_t>(activations_->logits.rows);
  const auto by_chunks = [&](std::span<const int32_t> rows, const auto& use) {
    for (size_t begin = 0; begin < rows.size(); begin += chunk) {
      const auto wanted = rows.subspan(begin, std::min(chunk, rows.size() - begin));
      const TensorView picked = activations_->picked.Rows(static_cast<int64_t>(wanted.size()));
      backend_.GatherRows(activations_->x, wanted, picked);
      use(LogitsOf(picked), begin, wanted.size());
    }
  };
  const size_t vocabulary = static_cast<size_t>(config_.vocabulary);
  result.scores.resize(batch.score_rows.size());
  by_chunks(batch.sample_rows, [&](TensorView logits, size_t begin, size_t) {
    backend_.Sample(logits, batch.vocabulary, static_cast<int>(begin));
  });
  by_chunks(batch.score_rows, [&](TensorView logits, size_t begin, size_t count) {
    backend_.ScoreTargets(logits, std::span(batch.score_targets).subspan(begin, count),
                          std::span(result.scores).subspan(begin, count));
  });
  by_chunks(batch.logit_rows, [&](TensorView logits, size_t begin, size_t count) {
    backend_.CopyToHost(logits, host_logits.subspan(begin * vocabulary, count * vocabulary));
  });
}

void Llama::ClearSlot(int slot) { backend_.ClearSlot(slot); }

absl::Status Llama::CopySlot(int from, int to) { return backend_.CopySlot(from, to); }

std::string Llama::SlotLayout() const { return backend_.SlotLayout(); }

size_t Llama::SlotBytes(kernels::SlotPart part) const { return backend_.SlotBytes(part); }

absl::StatusOr<std::unique_ptr<kernels::HostMemory>> Llama::AllocateHost(size_t bytes) {
  return backend_.AllocateHost(bytes);
}

std::unique_ptr<kernels::SlotCopy> Llama::ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) {
  return backend_.ReadSlot(slot, part, host);
}

std::unique_ptr<kernels::SlotCopy> Llama::WriteSlot(int slot, kernels::SlotPart part, std::span<const std::byte> host) {
  return backend_.WriteSlot(slot, part, host);
}

absl::StatusOr<kernels::HeadContents> Llama::ReadHead(int slot, int layer, int kv_head) {
  return backend_.ReadHead(slot, layer, kv_head);
}

}  // namespace cascade
