// What a session costs that comes back after its process was killed: by its image and the journal's rest, and by the
// journal alone.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>

#include "tests/benchmarks/bench_sessions.h"
#include "tests/benchmarks/or_die.h"
#include "tests/benchmarks/sessions/durable_engine.h"
#include "tests/benchmarks/sessions/figures.h"
#include "tests/benchmarks/sessions/plain_files.h"
#include "tests/benchmarks/sessions/sections.h"
#include "tests/benchmarks/sessions/storage_model.h"

namespace cascade::bench {
namespace {

// While a session lives it reads as fast as a large device does; images have to keep up with that.
constexpr double kTokensPerSecond = 40000;

// Runs `life` in a process of its own, which is killed at its end.
void LiveAndDie(const std::function<void()>& life) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) Check(absl::InternalError("fork"));
  if (pid == 0) {
    life();
    raise(SIGKILL);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    Check(absl::InternalError("the process that was to be killed has ended by itself"));
  }
}

class Recovery {
 public:
  Recovery(const SessionOptions& options, const SlotSizes& sizes)
      : options_(options), sizes_(sizes), scratch_(options), folder_(scratch_.Path("data")) {}

  void Live(int64_t tokens) {
    LiveAndDie([&] {
      StorageModel model(ModelOptions(kTokensPerSecond));
      DurableEngine engine(DurableOptions(sizes_.geometry, 2, 256), model, folder_);
      const bool first = FileSizes(folder_, ".journal").empty();
      const std::string id = first ? NewSession(*engine, Durability::kJournal) : engine.FoundId(0);
      ReadTokens(*engine, id, tokens);
    });
  }

  struct Back {
    double seconds = 0;  // of the first turn, to its first token
    int64_t replayed = 0;
    int64_t position = 0;
  };
  // Of a copy: the folder stays as the killed process has left it.
  Back ComeBack(bool images) {
    const std::string copy = scratch_.Path("copy");
    std::filesystem::remove_all(copy);
    std::filesystem::copy(folder_, copy);
    for (const auto& entry : std::filesystem::directory_iterator(copy)) {
      if (!images && entry.path().extension() == ".image") std::filesystem::remove(entry.path());
    }
    StorageModel model(ModelOptions(0));
    DurableEngine engine(DurableOptions(sizes_.geometry, 2, 256), model, copy);
    const std::string id = engine.FoundId(0);
    Back back;
    back.seconds = RunTurn(*engine, IdsTurn(id, 1, 2)).first_token;
    back.replayed = engine->metrics().replayed_tokens.load();
    back.position = OrDie(engine->GetSession(id)).position;
    return back;
  }

 private:
  StorageModelOptions ModelOptions(double rate) const {
    return {
        .num_slots = 2, .slot_bytes = sizes_.slot_bytes, .score_bytes = sizes_.score_bytes, .tokens_per_second = rate};
  }

  const SessionOptions& options_;
  const SlotSizes& sizes_;
  ScratchFolder scratch_;
  const std::string folder_;
};

}  // namespace

void MeasureRecovery(const SessionOptions& options, const SlotSizes& sizes) {
  Recovery recovery(options, sizes);
  const int bound = 4 * (sizes.geometry.cache_tokens() + sizes.geometry.stride);
  PrintTitle(Format("recovery after %ld tokens and SIGKILL, without arithmetic; at most %d tokens should be read again",
                    static_cast<long>(options.tokens), bound));
  recovery.Live(options.tokens);
  // Then it is killed at any distance from its newest image.
  std::mt19937 random(1);
  Samples seconds, replayed;
  for (int round = 0; round < options.rounds; ++round) {
    const Recovery::Back back = recovery.ComeBack(/*images=*/true);
    seconds.Add(back.seconds);
    replayed.Add(static_cast<double>(back.replayed));
    recovery.Live(1 + static_cast<int64_t>(random() % static_cast<unsigned>(bound)));
  }
  PrintFigure("image and journal: tokens read again", replayed, "tokens");
  PrintTime("image and journal: the first turn's first token", seconds);
  Samples all_seconds, all_replayed;
  for (int round = 0; round < std::min(3, options.rounds); ++round) {
    const Recovery::Back back = recovery.ComeBack(/*images=*/false);
    all_seconds.Add(back.seconds);
    all_replayed.Add(static_cast<double>(back.replayed));
  }
  PrintFigure("journal alone: tokens read again", all_replayed, "tokens");
  PrintTime("journal alone: the first turn's first token", all_seconds);
}

}  // namespace cascade::bench
