#include "engine/model/llama.h"

#include <algorithm>
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
using kernels::TensorView;
using kernels::WeightId;

namespace {
// Rows of logits held at once: 64 rows of a 128k vocabulary are 32 MiB.
constexpr int kLogitRows = 64;

using LoadedWeights = std::unordered_map<std::string, WeightId>;

// All weights of the architecture, one after the other: while one is packed the disk reads the next (1.3 GB that are
// not in the page cache: 3 s, which is what reading them takes, against 10 s without), and what has been packed leaves
// memory, so that a model is not there twice.
absl::StatusOr<LoadedWeights> LoadWeights(const ModelSource& source, kernels::Backend& backend) {
  const std::vector<ExpectedWeight> expected = ExpectedWeights(source.config());
  LoadedWeights loaded;
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string& name = expected[i].name;
    if (i + 1 < expected.size()) source.PrefetchWeight(expected[i + 1].name);
    const absl::StatusOr<HostWeight> weight = source.FindWeight(name);
    if (!weight.ok()) return weight.status();
    const absl::StatusOr<WeightId> id = backend.LoadWeight(*weight);
    if (!id.ok()) return absl::Status(id.status().code(), absl::StrCat(name, ": ", id.status().message()));
    source.ReleaseWeight(name);
    loaded.emplace(name, *id);
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
  const ModelConfig& config = source.config();
  auto llama = std::unique_ptr<Llama>(new Llama(config, backend));

  absl::StatusOr<LoadedWeights> loaded = LoadWeights(source, backend);
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
  const auto allocate = [&](int64_t rows, int64_t cols, TensorView& view) {
    if (!status.ok()) return;
    absl::StatusOr<TensorView> allocated = backend.Allocate(rows, cols);
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
  allocate(max_rows, config.hidden, act.x);
  allocate(max_rows, config.hidden, act.h);
  allocate(max_rows, q_width, act.q);
  allocate(max_rows, q_width, act.a);
  allocate(max_rows, kv_width, act.k);
  allocate(max_rows, kv_width, act.v);
  allocate(max_rows, config.ffn, act.gate);
  allocate(max_rows, config.ffn, act.up);
  allocate(logit_rows, config.hidden, act.picked);
  allocate(logit_rows, config.vocabulary, act.logits);
  if (!status.ok()) return status;

  if (status = backend.CreateCaches(MakeCacheShape(config, geometry, kv_type), num_slots, max_rows); !status.ok()) {
    return status;
  }
  return llama;
}

int Llama::vocabulary() const { return config_.vocabulary; }

absl::Status Llama::Forward(const ForwardBatch& batch, ForwardResult& result) {
  const Weights& w = *weights_;
  const int64_t rows = static_cast<int64_t>(batch.ids.size());
  CASCADE_CHECK(rows >= 1 && rows <= activations_->x.rows);
  const TensorView x = activations_->x.Rows(rows), h = activations_->h.Rows(rows);
  const TensorView q = activations_->q.Rows(rows), k = activations_->k.Rows(rows), v = activations_->v.Rows(rows);
  const TensorView a = activations_->a.Rows(rows);
  const TensorView gate = activations_->gate.Rows(rows), up = activations_->up.Rows(rows);
  const auto linear = [&](TensorView in, std::initializer_list<LinearTarget> targets) {
    backend_.Linear(in, std::span<const LinearTarget>(targets.begin(), targets.size()));
  };

  backend_.BeginStep(batch.slices);
  backend_.Embed(w.token_embd, batch.ids, x);
  for (int i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = w.layers[i];
    backend_.RmsNorm(x, layer.attn_norm, config_.rms_eps, h);
    linear(h, {{layer.q, q, /*accumulate=*/false, layer.q_bias},
               {layer.k, k, /*accumulate=*/false, layer.k_bias},
               {layer.v, v, /*accumulate=*/false, layer.v_bias}});
    backend_.AppendKv(i, k, v);
    backend_.Attend(i, q, a);
    linear(a, {{layer.attn_output, x, /*accumulate=*/true}});

    backend_.RmsNorm(x, layer.ffn_norm, config_.rms_eps, h);
    linear(h, {{layer.ffn_gate, gate}, {layer.ffn_up, up}});
    backend_.SiluMul(gate, up);
    linear(gate, {{layer.ffn_down, x, /*accumulate=*/true}});
  }

  // Logits only for rows that somebody wants, a few at a time.
  const auto logits_of = [&](std::span<const int32_t> wanted) {
    const TensorView picked = activations_->picked.Rows(static_cast<int64_t>(wanted.size()));
    const TensorView logits = activations_->logits.Rows(static_cast<int64_t>(wanted.size()));
    backend_.GatherRows(x, wanted, picked);
    backend_.RmsNorm(picked, w.output_norm, config_.rms_eps, picked);
    linear(picked, {{w.output, logits}});
    return logits;
  };
  const size_t chunk = static_cast<size_t>(activations_->logits.rows);
  const size_t vocabulary = static_cast<size_t>(config_.vocabulary);
  result.logits.resize(batch.logit_rows.size() * vocabulary);
  for (size_t begin = 0; begin < batch.logit_rows.size(); begin += chunk) {
    const auto wanted = std::span(batch.logit_rows).subspan(begin, std::min(chunk, batch.logit_rows.size() - begin));
    backend_.CopyToHost(logits_of(wanted),
                        std::span(result.logits).subspan(begin * vocabulary, wanted.size() * vocabulary));
  }
  result.scores.resize(batch.score_rows.size());
  for (size_t begin = 0; begin < batch.score_rows.size(); begin += chunk) {
    const auto wanted = std::span(batch.score_rows).subspan(begin, std::min(chunk, batch.score_rows.size() - begin));
    backend_.ScoreTargets(logits_of(wanted), std::span(batch.score_targets).subspan(begin, wanted.size()),
                          std::span(result.scores).subspan(begin, wanted.size()));
  }
  if (!batch.closes.empty()) backend_.CloseStrides(batch.closes);
  return backend_.Finish();
}

void Llama::ClearSlot(int slot) { backend_.ClearSlot(slot); }

absl::StatusOr<kernels::HeadContents> Llama::ReadHead(int slot, int layer, int kv_head) {
  return backend_.ReadHead(slot, layer, kv_head);
}

}  // namespace cascade
