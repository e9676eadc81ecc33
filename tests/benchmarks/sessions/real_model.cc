#include "tests/benchmarks/sessions/real_model.h"

#include <cstdio>

#include "kernels/cpu_backend.h"
#include "kernels/cuda_backend.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/letter_tokenizer.h"

namespace cascade::bench {

RealModel OpenRealModel(const SessionOptions& options, int num_slots, int max_seqs) {
  const auto random = options.cuda() ? RandomWeights::kOnDevice : RandomWeights::kInHost;
  const std::unique_ptr<ModelSource> source = OrDie(OpenModel(options.model, random));
  RealModel model;
  model.max_rows = options.cuda() ? 2048 : 64;
  model.geometry = OrDie(MakeModelGeometry(options.geometry, source->config()));
  model.backend = options.cuda() ? OrDie(kernels::CreateCudaBackend({.compute = kernels::DType::kBF16}))
                                 : OrDie(kernels::CreateCpuBackend({.num_threads = options.threads}));
  model.llama = OrDie(Llama::Load(*source, model.max_rows, *model.backend));
  Check(model.llama->CreateCaches(model.geometry, options.cuda() ? kernels::DType::kBF16 : kernels::DType::kF16,
                                  num_slots));
  model.llama->SetEndIds({});
  Check(model.llama->WarmUp(model.geometry, max_seqs, LetterTokenizer().vocabulary_size()));
  std::printf("\n%s; %s; %s\n", source->config().name.c_str(), model.backend->Description().c_str(),
              model.geometry.ToString().c_str());
  return model;
}

}  // namespace cascade::bench
