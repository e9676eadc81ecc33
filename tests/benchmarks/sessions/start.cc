// How long an engine takes to serve when its folder has many sessions.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "tests/benchmarks/bench_sessions.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/durable_engine.h"
#include "tests/benchmarks/sessions/figures.h"
#include "tests/benchmarks/sessions/plain_files.h"
#include "tests/benchmarks/sessions/sections.h"
#include "tests/benchmarks/sessions/storage_model.h"

namespace cascade::bench {
namespace {

constexpr int kThreads = 16;

// Each with a turn, and parked: a journal and an image.
void MakeSessions(const EngineOptions& options, Model& model, const std::string& folder, int count) {
  DurableEngine engine(options, model, folder, /*durable=*/false);
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (next.fetch_add(1) < count) {
        RunTurn(*engine, IdsTurn(NewSession(*engine, Durability::kJournal), 32, 8));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine->StopAdmission();
  engine->Drain(SteadyTime::max());
}

}  // namespace

void MeasureStart(const SessionOptions& options, const SlotSizes& sizes) {
  ScratchFolder scratch(options);
  const std::string folder = scratch.Path("data");
  // Small slots: images are not read at the start, and so many large ones would not fit.
  StorageModel model({.num_slots = kThreads + 1});
  const EngineOptions engine_options = DurableOptions(sizes.geometry, kThreads + 1, 256);
  PrintTitle(Format("start with %d sessions with a journal and an image, without arithmetic", options.found));
  MakeSessions(engine_options, model, folder, options.found);
  sync();
  for (const bool cached : {true, false}) {
    Samples serving, turn_begun, turn_ended;
    for (int round = 0; round < options.rounds; ++round) {
      if (!cached) ForgetCached(folder, "");
      const double begin = Now();
      DurableEngine engine(engine_options, model, folder);
      serving.Add(Now() - begin);
      const auto index = static_cast<size_t>(round) * 7919 % static_cast<size_t>(options.found);
      const FinishedTurn turn = RunTurn(*engine, IdsTurn(engine.FoundId(index), 8, 8));
      turn_begun.Add(Now() - begin - turn.end + turn.first_token);
      turn_ended.Add(Now() - begin);
    }
    const char* const where = cached ? "files cached" : "files not cached";
    PrintTime(Format("until it serves, %s", where), serving);
    PrintTime(Format("until a found session's first token, %s", where), turn_begun);
    PrintTime(Format("until that turn is acknowledged, %s", where), turn_ended);
  }
}

}  // namespace cascade::bench
