#include "server/serving_stack.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu_backend.h"
#include "kernels/cuda_backend.h"
#include "server/capacity.h"
#include "server/chat_template_choice.h"
#include "server/convert.h"
#include "server/version.h"

namespace cascade {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

std::string Text(const absl::Status& status) { return {status.message().data(), status.message().size()}; }

kernels::Activations ActivationsOf(const ServerConfig& config) {
  if (config.dtype == "int8") return kernels::Activations::kInt8;
  return config.float32() ? kernels::Activations::kFloat32 : kernels::Activations::kInt16;
}

absl::StatusOr<std::unique_ptr<kernels::Backend>> OpenDevice(const ServerConfig& config) {
  const bool cuda = config.device == "cuda" || (config.device == "auto" && kernels::CudaDeviceCount() > 0);
  absl::StatusOr<std::unique_ptr<kernels::Backend>> backend =
      cuda ? kernels::CreateCudaBackend()
           : kernels::CreateCpuBackend({static_cast<int>(config.threads), ActivationsOf(config)});
  if (backend.ok()) return backend;
  return ExitError(ExitCode::kDevice, absl::StrCat("--device ", config.device, ": ", Text(backend.status())));
}

kernels::DType CacheType(const ServerConfig& config) {
  const bool wide = config.kv_cache_dtype == "float32" || (config.kv_cache_dtype == "auto" && config.float32());
  return wide ? kernels::DType::kF32 : kernels::DType::kF16;
}

// kModel for what the file says, kConfig for what the operator chose, kDevice for what the machine has not.
absl::StatusOr<std::unique_ptr<Llama>> LoadModel(const ModelSource& source, const CascadeGeometry& geometry,
                                                 kernels::DType kv_type, int num_slots, int max_rows,
                                                 kernels::Backend& backend) {
  auto model = Llama::Create(source, geometry, kv_type, num_slots, max_rows, backend);
  if (model.ok()) return model;
  const ExitCode code = absl::IsResourceExhausted(model.status()) ? ExitCode::kDevice : ExitCode::kModel;
  return ExitError(code, absl::StrCat("the model cannot be loaded: ", Text(model.status())));
}

EngineOptions ToEngineOptions(const ServerConfig& config, const ModelConfig& model, const CascadeGeometry& geometry,
                              int num_slots, size_t bytes_per_slot) {
  EngineOptions options;
  options.geometry = geometry;
  options.num_slots = num_slots;
  options.cache_bytes_per_slot = bytes_per_slot;
  options.num_layers = model.num_layers;
  options.num_kv_heads = model.num_kv_heads;
  options.max_num_seqs = static_cast<int>(std::min<int64_t>(config.max_num_seqs, num_slots));
  options.max_num_batched_tokens = static_cast<int>(config.max_num_batched_tokens);
  options.max_num_queued_requests = static_cast<int>(config.max_num_queued_reqs);
  options.default_max_tokens = config.default_max_tokens;
  options.max_prompt_bytes = config.max_prompt_bytes;
  options.session_ttl = std::chrono::seconds(config.session_ttl);
  return options;
}

v1::ServerInfo MakeInfo(const ServerConfig& config, const ModelConfig& model, const EngineOptions& options,
                        kernels::DType kv_type, const ServingStack& stack) {
  v1::ServerInfo info;
  info.set_version(kVersion);
  info.set_model(config.served_model_name.empty() ? model.name : config.served_model_name);
  info.set_architecture(model.architecture);
  info.set_parameters(model.parameters);
  info.set_vocabulary_size(model.vocabulary);
  info.set_num_layers(model.num_layers);
  info.set_num_kv_heads(model.num_kv_heads);
  info.set_max_position_embeddings(model.max_positions);
  info.set_device(stack.backend->Description());
  info.set_dtype(config.dtype == "auto" ? "int16" : config.dtype);
  info.set_kv_cache_dtype(kv_type == kernels::DType::kF32 ? "float32" : "float16");
  *info.mutable_geometry() = ToWire(options.geometry);
  info.set_session_bytes(static_cast<int64_t>(options.cache_bytes_per_slot));
  info.set_model_bytes(model.weight_bytes);
  info.set_max_num_sessions(options.num_slots - 1);
  info.set_max_num_seqs(options.max_num_seqs);
  info.set_max_num_batched_tokens(options.max_num_batched_tokens);
  info.set_default_max_tokens(options.default_max_tokens);
  info.set_max_prompt_bytes(options.max_prompt_bytes);
  info.set_has_chat_template(stack.chat_template != nullptr);
  info.set_sessions_take_messages(stack.chat_template != nullptr && stack.chat_template->sessions().ok());
  return info;
}

void LogStack(const v1::ServerInfo& info, const CascadeGeometry& geometry) {
  spdlog::info("model: {}, {:.1f} M parameters, {:.1f} MiB of weights, context {}", info.model(),
               static_cast<double>(info.parameters()) / 1e6, static_cast<double>(info.model_bytes()) / kMiB,
               info.max_position_embeddings());
  spdlog::info("device: {}", info.device());
  spdlog::info("cache: {}, {} keys and values", geometry.ToString(), info.kv_cache_dtype());
  spdlog::info("sessions: {} fit, {:.1f} MiB each; {} run together", info.max_num_sessions(),
               static_cast<double>(info.session_bytes()) / kMiB, info.max_num_seqs());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServingStack>> BuildServingStack(const ServerConfig& config) {
  auto stack = std::make_unique<ServingStack>();

  auto backend = OpenDevice(config);
  if (!backend.ok()) return backend.status();
  stack->backend = *std::move(backend);

  // The weights are copied in another layout, so the file is unmapped at the end of this function.
  const auto source = OpenModel(config.model);
  if (!source.ok()) return ExitError(ExitCode::kModel, absl::StrCat("--model: ", Text(source.status())));
  const ModelConfig& model_config = (*source)->config();

  auto tokenizer = CreateTokenizer((*source)->vocabulary());
  if (!tokenizer.ok()) {
    return ExitError(ExitCode::kModel, absl::StrCat("--model: ", config.model, ": ", Text(tokenizer.status())));
  }
  stack->tokenizer = *std::move(tokenizer);
  auto chat_template = OpenChatTemplate(config.chat_template, (*source)->chat_template(), *stack->tokenizer,
                                        Clock::Real());
  if (!chat_template.ok()) return chat_template.status();
  stack->chat_template = *std::move(chat_template);

  const auto geometry = MakeModelGeometry(config.geometry, model_config);
  if (!geometry.ok()) return ExitError(ExitCode::kConfig, Text(geometry.status()));
  const kernels::DType kv_type = CacheType(config);
  const size_t slot_bytes = stack->backend->CacheBytesPerSlot(MakeCacheShape(model_config, *geometry, kv_type));
  const int64_t memory = config.cache_memory_bytes > 0 ? config.cache_memory_bytes : AvailableMemoryBytes() / 4;
  const auto num_slots = PlanSlots(memory, slot_bytes, config.max_num_sessions);
  if (!num_slots.ok()) return num_slots.status();

  auto model = LoadModel(**source, *geometry, kv_type, *num_slots,
                         static_cast<int>(config.max_num_batched_tokens), *stack->backend);
  if (!model.ok()) return model.status();
  stack->model = *std::move(model);

  const EngineOptions options = ToEngineOptions(config, model_config, *geometry, *num_slots, slot_bytes);
  auto engine = Engine::Create(options, *stack->model, *stack->tokenizer, stack->chat_template.get(), Clock::Real(),
                               RandomSource::System());
  if (!engine.ok()) return ExitError(ExitCode::kConfig, Text(engine.status()));
  stack->engine = *std::move(engine);
  stack->info = MakeInfo(config, model_config, options, kv_type, *stack);
  LogStack(stack->info, *geometry);
  return stack;
}

}  // namespace cascade
