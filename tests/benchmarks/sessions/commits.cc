// What a turn's durability costs it: short turns of one and of many sessions at once, the kinds in turn.
#include <cstdio>
#include <map>
#include <thread>
#include <utility>
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

constexpr int kTurnTokens = 8;  // read, and as many written
constexpr std::pair<Durability, const char*> kKinds[] = {
    {Durability::kNone, "none"}, {Durability::kJournal, "journal"}, {Durability::kImage, "image"}};

struct Cost {
  Samples turns_per_second, ms_per_turn, syncs_per_turn;
  Samples journal_bytes;  // per turn
};

// All sessions at once, each turn after turn, for some seconds.
void RunTurns(DurableEngine& engine, Durability durability, int sessions, double seconds, Cost& cost) {
  std::vector<std::string> ids;
  for (int i = 0; i < sessions; ++i) {
    ids.push_back(NewSession(*engine, durability));
    RunTurn(*engine, IdsTurn(ids.back(), kTurnTokens, kTurnTokens));
  }
  std::vector<Samples> times(ids.size());
  const auto journal_bytes = [&] { return OrDie(engine->GetSession(ids.front())).journal_bytes; };
  const int64_t syncs = engine.directory().syncs(), bytes = journal_bytes();
  const double begin = Now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < ids.size(); ++i) {
    threads.emplace_back([&, i] {
      while (Now() - begin < seconds) times[i].Add(RunTurn(*engine, IdsTurn(ids[i], kTurnTokens, kTurnTokens)).end);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double spent = Now() - begin;
  double turns = 0;
  Samples medians;
  for (const Samples& each : times) {
    turns += static_cast<double>(each.size());
    medians.Add(1e3 * each.Median());
  }
  cost.turns_per_second.Add(turns / spent);
  cost.ms_per_turn.Add(medians.Median());
  cost.syncs_per_turn.Add(static_cast<double>(engine.directory().syncs() - syncs) / turns);
  cost.journal_bytes.Add(static_cast<double>(journal_bytes() - bytes) / static_cast<double>(times.front().size()));
  for (const std::string& id : ids) Check(engine->DeleteSession(id));
}

}  // namespace

void MeasureCommits(const SessionOptions& options, const SlotSizes& sizes) {
  ScratchFolder scratch(options);
  constexpr int kMany = 16;
  StorageModel model({.num_slots = kMany + 1, .slot_bytes = sizes.slot_bytes, .score_bytes = sizes.score_bytes});
  DurableEngine engine(DurableOptions(sizes.geometry, kMany + 1, 256), model, scratch.Path("data"));
  PlainLog log(scratch.Path("log"));
  const std::vector<std::byte> image(sizes.slot_bytes, std::byte{0x5A});
  std::map<std::pair<int, Durability>, Cost> costs;
  Samples plain_append, plain_image;
  for (int round = 0; round < options.rounds; ++round) {
    for (const int sessions : {1, kMany}) {
      for (const auto& [durability, name] : kKinds) {
        RunTurns(engine, durability, sessions, options.seconds, costs[{sessions, durability}]);
      }
    }
    const auto bytes = static_cast<size_t>(costs[{1, Durability::kJournal}].journal_bytes.Median());
    Samples appends;
    for (int i = 0; i < 200; ++i) appends.Add(log.AppendDurably(std::span(image).first(bytes)));
    plain_append.Add(appends.Median());
    for (int i = 0; i < 4; ++i) {
      std::remove(scratch.Path("image").c_str());
      plain_image.Add(WritePlainFile(scratch.Path("image"), image));
    }
  }
  PrintTitle(Format("the journal's cost: turns of %d tokens read and %d written, without arithmetic", kTurnTokens,
                    kTurnTokens));
  for (const int sessions : {1, kMany}) {
    for (const auto& [durability, name] : kKinds) {
      const Cost& cost = costs[{sessions, durability}];
      const std::string who = Format("%d session%s, %s", sessions, sessions == 1 ? "" : "s", name);
      PrintFigure(who, cost.turns_per_second, "turns/s", Format("%.2f syncs per turn", cost.syncs_per_turn.Median()));
      PrintFigure(who + ": one turn", cost.ms_per_turn, "ms");
    }
  }
  PrintTime(Format("plain append of a turn's %.0f bytes, and fdatasync",
                   costs[{1, Durability::kJournal}].journal_bytes.Median()),
            plain_append);
  PrintTime("plain file of an image's bytes, and fdatasync", plain_image, static_cast<double>(image.size()));
}

}  // namespace cascade::bench
