// Time per token and resident memory of one session against its age: feeds a text's tokens (over and over if it is
// short) and prints, at each checkpoint, the median time per token over the strides since the last one.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/model/llama.h"
#include "engine/text/vocabulary.h"
#include "kernels/cpu_backend.h"
#include "tests/benchmarks/or_die.h"
#include "tests/support/session_runner.h"

namespace {

using cascade::bench::OrDie;

double ResidentMiB() {
  std::ifstream statm("/proc/self/statm");
  long size = 0, resident = 0;
  statm >> size >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

}  // namespace

int main(int argc, char** argv) {
  std::string model, text;
  int64_t tokens = 200000, cache_tokens = 1024, every = 10000;
  int threads = 0;
  CLI::App app("Time per token and memory of one session against its age");
  app.add_option("--model", model)->required();
  app.add_option("--text", text)->required();
  app.add_option("--tokens", tokens, "to feed")->capture_default_str();
  app.add_option("--cache-tokens", cache_tokens, "C")->capture_default_str();
  app.add_option("--every", every, "tokens between two lines")->capture_default_str();
  app.add_option("--threads", threads, "0: all")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  auto source = OrDie(cascade::OpenModel(model));
  const auto geometry = OrDie(cascade::MakeGeometry({.cache_tokens = cache_tokens}, source->config().max_positions));
  auto backend = OrDie(cascade::kernels::CreateCpuBackend({.num_threads = threads}));
  auto llama = OrDie(cascade::Llama::Create(*source, geometry, cascade::kernels::DType::kF16, 1, 256, *backend));
  std::stringstream content;
  content << std::ifstream(text).rdbuf();
  const std::vector<int32_t> book = OrDie(OrDie(cascade::CreateTokenizer(source->vocabulary()))->Encode(content.str(), false));

  cascade::test::SessionRunner runner(*llama, geometry, 0, 256);
  std::printf("%s, %s, %s\n", backend->Description().c_str(), source->config().name.c_str(), geometry.ToString().c_str());
  std::printf("%12s %16s %14s %12s\n", "tokens seen", "us per token", "resident MiB", "strides");
  std::vector<double> strides;
  int64_t next = every;
  size_t at = 0;
  while (runner.plan().tokens_seen() < tokens) {
    std::vector<int32_t> ids;  // up to the end of a stride
    for (int i = runner.plan().TokensUntilCut(); i > 0; --i, at = (at + 1) % book.size()) ids.push_back(book[at]);
    const auto begin = std::chrono::steady_clock::now();
    runner.Feed(ids);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    if (runner.plan().tokens_seen() > geometry.num_sinks) strides.push_back(took.count() / static_cast<double>(ids.size()));
    if (runner.plan().tokens_seen() >= next && !strides.empty()) {
      std::nth_element(strides.begin(), strides.begin() + static_cast<long>(strides.size() / 2), strides.end());
      std::printf("%12ld %16.1f %14.1f %12zu\n", static_cast<long>(runner.plan().tokens_seen()), strides[strides.size() / 2],
                  ResidentMiB(), strides.size());
      std::fflush(stdout);
      strides.clear();
      next += every;
    }
  }
  return 0;
}
