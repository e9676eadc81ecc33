// What keeping sessions costs: parking, images, the journal, start and recovery, each beside what plain calls take for
// the same bytes, measured in the same run.
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "engine/model/llama.h"
#include "kernels/cpu_backend.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/sections.h"

namespace cascade::bench {
namespace {

// On the CPU, whatever the device: the sizes differ by padding alone, and no device is opened before a fork.
SlotSizes SizesOf(const SessionOptions& options) {
  const std::unique_ptr<ModelSource> source = OrDie(OpenModel(options.model, RandomWeights::kInHost));
  SlotSizes sizes{.geometry = OrDie(MakeModelGeometry(options.geometry, source->config()))};
  const kernels::CacheShape shape = MakeCacheShape(source->config(), sizes.geometry, kernels::DType::kF16);
  sizes.slot_bytes = OrDie(kernels::CreateCpuBackend({.num_threads = 1}))->CacheBytesPerSlot(shape);
  sizes.score_bytes = sizeof(float) * static_cast<size_t>(sizes.geometry.slots()) *
                      static_cast<size_t>(shape.num_layers) * static_cast<size_t>(shape.num_kv_heads);
  std::printf("%s; %s; a slot of %.1f MiB\n", source->config().name.c_str(), sizes.geometry.ToString().c_str(),
              static_cast<double>(sizes.slot_bytes) / (1 << 20));
  return sizes;
}

int Main(int argc, char** argv) {
  SessionOptions options;
  if (const auto exit = ParseSessionOptions(argc, argv, options); exit.has_value()) return *exit;
  const SlotSizes sizes = SizesOf(options);
  if (options.Wants("recovery")) MeasureRecovery(options, sizes);
  if (options.Wants("image-bytes")) MeasureImageBytes(options, sizes);
  if (options.Wants("commits")) MeasureCommits(options, sizes);
  if (options.Wants("start")) MeasureStart(options, sizes);
  if (options.Wants("parking")) MeasureParking(options);
  if (options.Wants("neighbours")) MeasureNeighbours(options);
  return 0;
}

}  // namespace

ScratchFolder::ScratchFolder(const SessionOptions& options) : path_(options.data_dir + "/session_bench-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) Check(absl::InternalError("--data-dir: a folder cannot be made in it"));
}
ScratchFolder::~ScratchFolder() { std::filesystem::remove_all(path_); }

}  // namespace cascade::bench

int main(int argc, char** argv) { return cascade::bench::Main(argc, argv); }
