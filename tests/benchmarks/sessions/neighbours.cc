// What many parked sessions cost the few that are active: two engines take turns on the same model and slots, one with
// parked sessions and one without.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "tests/benchmarks/bench_sessions.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/durable_engine.h"
#include "tests/benchmarks/sessions/figures.h"
#include "tests/benchmarks/sessions/real_model.h"
#include "tests/benchmarks/sessions/sections.h"

namespace cascade::bench {
namespace {

constexpr int kActive = 4;
constexpr int kSlots = kActive + 1;  // one stays for one-shot requests

struct Speed {
  double tokens_per_second = 0;  // all together, from the time that all of them write to the end of the first
  double cpu_ms = 0;             // of the process, per token, from the turns' begin to their end
};

double ProcessCpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The sessions are gone afterwards, and the slots free for the other engine.
Speed DecodeTogether(Engine& engine, int tokens) {
  struct Active {
    std::string id;
    std::shared_ptr<TokenStream> stream;
    std::vector<double> times;  // of its tokens
  };
  std::vector<Active> all(kActive);
  for (Active& active : all) active.id = NewSession(engine, Durability::kJournal);
  const double cpu = ProcessCpuSeconds();
  for (Active& active : all) active.stream = OrDie(engine.Submit(IdsTurn(active.id, 16, tokens)));
  std::vector<std::thread> threads;
  for (Active& active : all) {
    threads.emplace_back([&active] {
      for (bool finished = false; !finished;) {
        const TurnDelta delta = active.stream->Pop();
        Check(delta.status);
        finished = delta.finished;
        active.times.insert(active.times.end(), delta.token_ids.size(), Now());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Speed speed{.cpu_ms = 1e3 * (ProcessCpuSeconds() - cpu) / (kActive * tokens)};
  double begin = 0, end = 1e300;
  for (const Active& active : all) {
    begin = std::max(begin, active.times.front());
    end = std::min(end, active.times.back());
  }
  int64_t count = 0;
  for (const Active& active : all) {
    for (const double time : active.times) count += time > begin && time <= end ? 1 : 0;
    Check(engine.DeleteSession(active.id));
  }
  speed.tokens_per_second = static_cast<double>(count) / (end - begin);
  return speed;
}

// The first one reads as much as a slot holds; the others begin as its forks, with its image, go on by themselves, and
// make room for each other as sessions of a server do.
void MakeParked(Engine& engine, const RealModel& model, int count) {
  const std::string first = NewSession(engine, Durability::kJournal);
  ReadTokens(engine, first, model.geometry.slots());
  Check(engine.ParkSession(first, ParkTarget::kDisk).status());
  std::vector<std::string> ids = {first};
  while (static_cast<int>(ids.size()) < count) {
    ids.push_back(OrDie(engine.ForkSession(first, "", std::nullopt)).id);
    RunTurn(engine, IdsTurn(ids.back(), 4, 2));
  }
  for (const std::string& id : ids) Check(engine.ParkSession(id, ParkTarget::kAny).status());
}

}  // namespace

void MeasureNeighbours(const SessionOptions& options) {
  ScratchFolder scratch(options);
  const RealModel model = OpenRealModel(options, kSlots, kActive);
  EngineOptions engine_options = DurableOptions(model.geometry, kSlots, model.max_rows);
  engine_options.max_num_seqs = kActive;
  DurableEngine alone(engine_options, *model.llama, scratch.Path("alone"));
  engine_options.host_cache_bytes = options.host_cache_bytes;
  DurableEngine beside(engine_options, *model.llama, scratch.Path("beside"));
  PrintTitle(
      Format("%d active sessions beside %d parked ones of %zu bytes", kActive, options.parked, model.slot_bytes()));
  const double begin = Now();
  MakeParked(*beside, model, options.parked);
  const Metrics& metrics = beside->metrics();
  std::printf("  parked: %d in host memory, %d on disk, made in %.1f s (%ld moves out, %ld back in)\n",
              metrics.sessions_parked_host.load(), metrics.sessions_parked_disk.load(), Now() - begin,
              static_cast<long>(metrics.parks.load()), static_cast<long>(metrics.restores.load()));
  sync();
  DecodeTogether(*alone, options.generate);
  DecodeTogether(*beside, options.generate);
  Samples without, with, cost, cpu_without, cpu_with, cpu_cost;
  for (int round = 0; round < options.rounds; ++round) {
    // The two in turn, and in turn who is first: the machine's speed drifts.
    const bool first = round % 2 == 0;
    Speed parked;
    if (!first) parked = DecodeTogether(*beside, options.generate);
    const Speed bare = DecodeTogether(*alone, options.generate);
    if (first) parked = DecodeTogether(*beside, options.generate);
    without.Add(bare.tokens_per_second);
    with.Add(parked.tokens_per_second);
    cost.Add(100 * std::log(bare.tokens_per_second / parked.tokens_per_second));
    cpu_without.Add(bare.cpu_ms);
    cpu_with.Add(parked.cpu_ms);
    cpu_cost.Add(100 * std::log(parked.cpu_ms / bare.cpu_ms));
  }
  PrintFigure("without", without, "tokens/s");
  PrintFigure("with", with, "tokens/s");
  PrintMean("slower, round by round", cost, "%");
  PrintFigure("CPU time of a token, without", cpu_without, "ms");
  PrintFigure("CPU time of a token, with", cpu_with, "ms");
  PrintMean("more of it, round by round", cpu_cost, "%");
}

}  // namespace cascade::bench
