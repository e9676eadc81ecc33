// What predicted scores change, on a model's real activations: the loss over a text, who stays, and how good their
// certificates are; exact and predicted, and plain float32 on the CPU fed with the same queries, keys and values.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/llama.h"
#include "engine/text/vocabulary.h"
#include "kernels/cpu_backend.h"
#include "kernels/cuda_backend.h"
#include "tests/benchmarks/or_die.h"
#include "tests/support/session_runner.h"

namespace cascade::bench {
namespace {

using kernels::TensorView;

// Does what `primary` does, and repeats what happens to caches on `shadow`, if there is one, with the same values.
class ShadowedBackend final : public kernels::Backend {
 public:
  ShadowedBackend(kernels::Backend& primary, kernels::Backend* shadow) : primary_(primary), shadow_(shadow) {}

  const kernels::ScoreCertificates& certificates() const { return certificates_; }  // of all steps

  std::string Description() const override { return primary_.Description(); }
  absl::StatusOr<kernels::WeightId> LoadWeight(const kernels::HostWeight& weight) override {
    return primary_.LoadWeight(weight);
  }
  absl::StatusOr<TensorView> Allocate(int64_t rows, int64_t cols, kernels::Precision precision) override {
    return primary_.Allocate(rows, cols, precision);
  }
  absl::Status CreateCaches(const kernels::CacheShape& shape, int num_slots, int max_rows) override {
    if (shadow_ != nullptr) {
      kernels::CacheShape wide = shape;
      wide.kv_type = kernels::DType::kF32;
      Check(shadow_->CreateCaches(wide, num_slots, max_rows));
      const int64_t kv_width = int64_t{shape.num_kv_heads} * shape.head_dim;
      q_ = OrDie(shadow_->Allocate(max_rows, kv_width * shape.group, kernels::Precision::kFull));
      out_ = OrDie(shadow_->Allocate(max_rows, kv_width * shape.group, kernels::Precision::kFull));
      k_ = OrDie(shadow_->Allocate(max_rows, kv_width, kernels::Precision::kFull));
      v_ = OrDie(shadow_->Allocate(max_rows, kv_width, kernels::Precision::kFull));
    }
    return primary_.CreateCaches(shape, num_slots, max_rows);
  }
  size_t CacheBytesPerSlot(const kernels::CacheShape& shape) const override {
    return primary_.CacheBytesPerSlot(shape);
  }
  void ClearSlot(int slot) override {
    primary_.ClearSlot(slot);
    if (shadow_ != nullptr) shadow_->ClearSlot(slot);
  }
  absl::Status CopySlot(int from, int to) override {
    if (shadow_ != nullptr) Check(shadow_->CopySlot(from, to));
    return primary_.CopySlot(from, to);
  }
  std::string SlotLayout() const override { return primary_.SlotLayout(); }
  size_t SlotBytes(kernels::SlotPart part) const override { return primary_.SlotBytes(part); }
  absl::StatusOr<std::unique_ptr<kernels::HostMemory>> AllocateHost(size_t bytes) override {
    return primary_.AllocateHost(bytes);
  }
  std::unique_ptr<kernels::SlotCopy> ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) override {
    return primary_.ReadSlot(slot, part, host);
  }
  std::unique_ptr<kernels::SlotCopy> WriteSlot(int slot, kernels::SlotPart part,
                                               std::span<const std::byte> host) override {
    return primary_.WriteSlot(slot, part, host);
  }
  absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) override {
    return primary_.ReadHead(slot, layer, kv_head);
  }
  void BeginStep(const kernels::StepInput& input) override {
    primary_.BeginStep(input);
    if (shadow_ != nullptr) shadow_->BeginStep(input);
  }
  bool BeginOps(int) override {
    if (shadow_ != nullptr) shadow_->BeginOps(-1);
    return primary_.BeginOps(-1);
  }
  void EndOps() override {
    primary_.EndOps();
    if (shadow_ != nullptr) shadow_->EndOps();
  }
  void EndStep() override {
    primary_.EndStep();
    if (shadow_ != nullptr) shadow_->EndStep();
  }
  absl::Status WaitStep(std::vector<int32_t>& sampled) override {
    if (shadow_ != nullptr) Check(shadow_->WaitStep(sampled));
    return primary_.WaitStep(sampled);
  }
  kernels::ScoreCertificates TakeScoreCertificates() override {
    const kernels::ScoreCertificates step = primary_.TakeScoreCertificates();
    certificates_.heads += step.heads;
    certificates_.rejected += step.rejected;
    certificates_.worst = std::max(certificates_.worst, step.worst);
    return step;
  }
  absl::Status Finish() override {
    if (shadow_ != nullptr) Check(shadow_->Finish());
    return primary_.Finish();
  }
  void Embed(kernels::WeightId table, TensorView out) override { primary_.Embed(table, out); }
  void RmsNorm(TensorView x, kernels::WeightId gain, float eps, TensorView out) override {
    primary_.RmsNorm(x, gain, eps, out);
  }
  void Linear(TensorView x, std::span<const kernels::LinearTarget> targets) override { primary_.Linear(x, targets); }
  void SiluMul(TensorView gate, TensorView up) override { primary_.SiluMul(gate, up); }
  void AppendKv(int layer, TensorView k, TensorView v) override {
    primary_.AppendKv(layer, k, v);
    if (shadow_ != nullptr) shadow_->AppendKv(layer, Copy(k, k_), Copy(v, v_));
  }
  void Attend(int layer, TensorView q, TensorView out) override {
    primary_.Attend(layer, q, out);
    if (shadow_ != nullptr) shadow_->Attend(layer, Copy(q, q_), out_.Rows(q.rows));
  }
  void CloseStrides(std::span<const kernels::Close> closes) override {
    primary_.CloseStrides(closes);
    if (shadow_ != nullptr) shadow_->CloseStrides(closes);
  }
  void GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) override {
    primary_.GatherRows(x, rows, out);
  }
  void ScoreTargets(TensorView logits, std::span<const int32_t> targets,
                    std::span<kernels::TokenScore> scores) override {
    primary_.ScoreTargets(logits, targets, scores);
  }
  void Sample(TensorView logits, int vocabulary, int first) override { primary_.Sample(logits, vocabulary, first); }
  void CopyToHost(TensorView x, std::span<float> host) override { primary_.CopyToHost(x, host); }
  void CopyFromHost(std::span<const float> host, TensorView x) override { primary_.CopyFromHost(host, x); }

 private:
  TensorView Copy(TensorView from, TensorView to) {
    host_.resize(static_cast<size_t>(from.rows * from.cols));
    primary_.CopyToHost(from, host_);  // 16-bit values: waited for
    shadow_->CopyFromHost(host_, to.Rows(from.rows));
    return to.Rows(from.rows);
  }

  kernels::Backend& primary_;
  kernels::Backend* const shadow_;
  kernels::ScoreCertificates certificates_;
  TensorView q_, k_, v_, out_;
  std::vector<float> host_;
};

struct Options {
  std::string model, text;
  int64_t tokens = 32768;
  int64_t shadow_tokens = 0;
  GeometryOptions geometry;
  std::vector<float> limits = {kernels::CudaOptions{}.certificate_limit};
  int max_rows = 1024;
};

using Survivors = std::vector<std::set<int64_t>>;  // [layers * KV heads]

Survivors SurvivorsOf(kernels::Backend& backend, const CascadeGeometry& geometry, const CascadePlan& plan,
                      const ModelConfig& config) {
  Survivors all;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    for (int head = 0; head < config.num_kv_heads; ++head) {
      std::set<int64_t> tokens;
      for (const HeldToken& token : HeldTokens(geometry, plan, OrDie(backend.ReadHead(0, layer, head)))) {
        if (token.sub_cache >= 1 && token.sub_cache < geometry.num_sub_caches()) tokens.insert(token.token);
      }
      all.push_back(std::move(tokens));
    }
  }
  return all;
}

// Share of what was chosen (all sub-caches but the newest) that the other has not.
double Differing(const Survivors& a, const Survivors& b) {
  size_t all = 0, missing = 0;
  for (size_t head = 0; head < a.size(); ++head) {
    for (const int64_t token : a[head]) {
      ++all;
      missing += b[head].count(token) == 0;
    }
  }
  return all == 0 ? 0 : static_cast<double>(missing) / static_cast<double>(all);
}

void Measure(const Options& options, const ModelSource& source, const CascadeGeometry& geometry,
             std::span<const int32_t> ids, kernels::CudaOptions cuda, bool shadowed, const std::string& name) {
  const std::unique_ptr<kernels::Backend> device = OrDie(kernels::CreateCudaBackend(cuda));
  std::unique_ptr<kernels::Backend> plain;
  if (shadowed) plain = OrDie(kernels::CreateCpuBackend({.activations = kernels::Activations::kFloat32}));
  ShadowedBackend backend(*device, plain.get());
  const auto model = OrDie(Llama::Create(source, geometry, kernels::DType::kBF16, 1, options.max_rows, backend));
  test::SessionRunner runner(*model, geometry, 0, options.max_rows);
  const std::vector<kernels::TokenScore> scores = runner.Score(ids);
  double loss = 0;
  for (size_t i = 0; i + 1 < scores.size(); ++i) loss -= scores[i].logprob;
  const kernels::ScoreCertificates& certificates = backend.certificates();
  std::printf("%-22s %6zu tokens  loss %.5f", name.c_str(), ids.size(), loss / static_cast<double>(ids.size() - 1));
  if (certificates.heads > 0) {
    std::printf("  rejected %5.2f %% of %lld, worst certificate %.4f",
                100.0 * static_cast<double>(certificates.rejected) / static_cast<double>(certificates.heads),
                static_cast<long long>(certificates.heads), certificates.worst);
  }
  if (shadowed) {
    const Survivors own = SurvivorsOf(*device, geometry, runner.plan(), source.config());
    std::printf("  chosen otherwise than in float32: %.3f %%",
                100 * Differing(own, SurvivorsOf(*plain, geometry, runner.plan(), source.config())));
  }
  std::printf("\n");
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("What predicted scores change, on a model's real activations (CUDA)");
  app.add_option("MODEL", options.model)->required();
  app.add_option("TEXT", options.text, "a file")->required();
  app.add_option("--tokens", options.tokens)->check(CLI::PositiveNumber);
  app.add_option("--float32-tokens", options.shadow_tokens, "also beside float32 on the CPU, over so many tokens");
  app.add_option("--cache-tokens", options.geometry.cache_tokens);
  app.add_option("--sub-caches", options.geometry.num_sub_caches);
  app.add_option("--stride", options.geometry.stride);
  app.add_option("--selection", options.geometry.selection);
  app.add_option("--limit", options.limits, "certificate limits")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  const std::unique_ptr<ModelSource> source = OrDie(OpenModel(options.model));
  const CascadeGeometry geometry = OrDie(MakeModelGeometry(options.geometry, source->config()));
  std::ifstream file(options.text, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.empty()) Check(absl::NotFoundError(options.text + ": no text"));
  const std::unique_ptr<Tokenizer> tokenizer = OrDie(CreateTokenizer(source->vocabulary()));
  std::vector<int32_t> ids = OrDie(tokenizer->Encode(text, false));
  ids.resize(std::min(ids.size(), static_cast<size_t>(options.tokens)));
  std::printf("%s\n", geometry.ToString().c_str());
  for (const bool shadowed : {false, true}) {
    std::span<const int32_t> some = ids;
    if (shadowed) some = some.first(std::min(some.size(), static_cast<size_t>(options.shadow_tokens)));
    if (some.size() < 2) continue;
    Measure(options, *source, geometry, some, {.score_kernel = kernels::ScoreKernel::kExact}, shadowed, "exact");
    for (const float limit : options.limits) {
      Measure(options, *source, geometry, some,
              {.score_kernel = kernels::ScoreKernel::kFast, .certificate_limit = limit}, shadowed,
              "fast, limit " + std::to_string(limit));
    }
  }
  return 0;
}

}  // namespace
}  // namespace cascade::bench

int main(int argc, char** argv) { return cascade::bench::Main(argc, argv); }
